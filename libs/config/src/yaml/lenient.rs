//! YAML 1.1 as libyaml reads it, where the parser, which keeps to YAML 1.2, is stricter: the lines of a flow
//! collection or of a quoted text may begin anywhere and with tabs, and a tab may stand between a colon and its value.

/// What the parser says of such text, but also of text that is wrong in both.
const CAUSES: [&str; 7] = [
    "invalid indentation",
    "invalid indentation in flow construct",
    "invalid indentation in quoted scalar",
    "tabs disallowed within this context (block indentation)",
    "tab cannot be used as indentation",
    "while scanning a plain scalar, found a tab",
    "':' must be followed by a valid YAML whitespace",
];

/// A hostile text with a very deep entry and very many lines must not become a huge one.
const MOST_ADDED: usize = 1 << 20;

/// `text`, which the parser refused for this cause, in a form that it may take and that means the same: with other
/// indentation in the lines that begin inside a flow collection or a quoted text, and blanks for tabs after colons. All
/// else stays, so what is wrong with the indentation of a block stays wrong, and lines keep their numbers.
///
/// `None` if there is nothing to change, or if the text is wrong for libyaml as well.
pub(super) fn relaxed(text: &str, cause: &str) -> Option<String> {
    if !CAUSES.contains(&cause) {
        return None;
    }
    let mut walk = Walk {
        text,
        copied: 0,
        out: String::new(),
        indent: None,
        node: None,
        depth: 0,
        place: Place::Between,
    };
    let mut at = text.len() - text.trim_start_matches('\u{feff}').len();
    while at < text.len() {
        at = walk.line(at)?;
    }
    if walk.copied == 0 {
        return None;
    }
    walk.copy_to(text.len());
    Some(walk.out)
}

/// What a byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing, so that anything may begin.
    Between,
    /// A plain scalar.
    Plain,
    /// A scalar in quotes of this kind.
    Quoted(u8),
    /// A literal or folded scalar.
    Literal,
}

struct Walk<'t> {
    text: &'t str,
    /// `out` has the text up to here.
    copied: usize,
    out: String,
    /// Column of the latest entry of a block collection; none outside of all.
    indent: Option<usize>,
    /// Column at which a node of this line began, which may prove to be a key.
    node: Option<usize>,
    /// Flow collections that are open.
    depth: usize,
    place: Place,
}

impl Walk<'_> {
    /// Takes the line that begins at `start`. Returns where the next one does; `None` if there is no use in going on.
    fn line(&mut self, start: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let rest = &bytes[start..];
        let length = rest.iter().position(|&byte| is_break(byte)).unwrap_or(rest.len());
        let end = start + length;
        let next = end + if rest[length..].starts_with(b"\r\n") { 2 } else { 1 };
        let line = &rest[..length];
        let blanks = line.iter().take_while(|&&byte| is_blank(byte)).count();
        let marker = is_marker(line);
        if self.depth > 0 || matches!(self.place, Place::Quoted(_)) {
            if marker {
                return None;
            }
            self.indent_line(start, blanks, blanks == length)?;
            self.scan(start, start + blanks, end);
            return Some(next);
        }
        if blanks == length {
            return Some(next);
        }
        let mut from = start + blanks;
        if marker {
            (self.indent, self.place) = (None, Place::Between);
            from = start + 3;
        } else {
            let spaces = line.iter().take_while(|&&byte| byte == b' ').count();
            let goes_on = self.indent.is_none_or(|indent| spaces > indent);
            match self.place {
                Place::Literal if goes_on => return Some(next),
                Place::Plain if goes_on => {}
                _ => self.place = Place::Between,
            }
        }
        self.node = None;
        if line[0] != b'%' {
            self.scan(start, from, end);
        }
        Some(next)
    }

    /// Indents a line inside a flow collection or a quoted text deeper than the entry that this belongs to. Blanks at
    /// the begin of such a line mean nothing.
    fn indent_line(&mut self, start: usize, blanks: usize, is_empty: bool) -> Option<()> {
        let least = self.indent.map_or(0, |indent| indent + 1);
        let has_tab = self.text.as_bytes()[start..start + blanks].contains(&b'\t');
        if has_tab || (blanks < least && !is_empty) {
            let width = if is_empty { 0 } else { blanks.max(least) };
            self.replace(start, start + blanks, width);
        }
        let most = self.text.len().saturating_mul(2).saturating_add(MOST_ADDED);
        (self.out.len() <= most).then_some(())
    }

    /// Follows what is between `from` and `end`, in the line that begins at `start`.
    fn scan(&mut self, start: usize, from: usize, end: usize) {
        let bytes = &self.text.as_bytes()[..end];
        let mut at = from;
        while at < end {
            let byte = bytes[at];
            let follows = bytes.get(at + 1).copied();
            let is_first = at == from || is_blank(bytes[at - 1]);
            at += match self.place {
                Place::Quoted(b'"') if byte == b'\\' => 2,
                Place::Quoted(b'\'') if byte == b'\'' && follows == Some(b'\'') => 2,
                Place::Quoted(quote) => {
                    if byte == quote {
                        self.place = Place::Between;
                    }
                    1
                }
                Place::Literal => return,
                _ if byte == b'#' && is_first => {
                    self.place = Place::Between;
                    return;
                }
                Place::Plain if self.ends_plain(byte, follows) => {
                    self.place = Place::Between;
                    0
                }
                Place::Plain => 1,
                Place::Between if is_blank(byte) => 1,
                Place::Between => self.token(at, at - start, end),
            };
        }
    }

    /// What begins at `at`, in this column. Returns how many bytes it takes.
    fn token(&mut self, at: usize, column: usize, end: usize) -> usize {
        let rest = &self.text.as_bytes()[at..end];
        let in_flow = self.depth > 0;
        let is_alone = rest.get(1).is_none_or(|&byte| is_blank(byte));
        let node = *self.node.get_or_insert(column);
        match rest[0] {
            b'-' | b'?' if is_alone => {
                if !in_flow {
                    (self.indent, self.node) = (Some(column), None);
                }
                1
            }
            b':' if is_alone || in_flow => {
                if !in_flow {
                    (self.indent, self.node) = (Some(node), None);
                }
                let blanks = rest[1..].iter().take_while(|&&byte| is_blank(byte)).count();
                if rest[1..=blanks].contains(&b'\t') {
                    self.replace(at + 1, at + 1 + blanks, blanks);
                }
                1 + blanks
            }
            quote @ (b'"' | b'\'') => {
                self.place = Place::Quoted(quote);
                1
            }
            b'[' | b'{' => {
                self.depth += 1;
                1
            }
            b']' | b'}' if in_flow => {
                self.depth -= 1;
                1
            }
            b',' if in_flow => 1,
            // An anchor, an alias or a tag.
            b'&' | b'*' | b'!' => {
                let goes_on = |&&byte: &&u8| !(is_blank(byte) || in_flow && is_flow(byte));
                1 + rest[1..].iter().take_while(goes_on).count()
            }
            b'|' | b'>' if !in_flow => {
                self.place = Place::Literal;
                1
            }
            _ => {
                self.place = Place::Plain;
                1
            }
        }
    }

    fn ends_plain(&self, byte: u8, follows: Option<u8>) -> bool {
        let in_flow = self.depth > 0;
        let ends_key = |byte: u8| is_blank(byte) || (in_flow && is_flow(byte));
        (in_flow && is_flow(byte)) || (byte == b':' && follows.is_none_or(ends_key))
    }

    /// Puts this many blanks in the place of a part of the text.
    fn replace(&mut self, start: usize, end: usize, width: usize) {
        self.copy_to(start);
        self.out.extend(std::iter::repeat_n(' ', width));
        self.copied = end;
    }

    fn copy_to(&mut self, end: usize) {
        self.out.push_str(&self.text[self.copied..end]);
        self.copied = end;
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// What ends a plain scalar in a flow collection.
fn is_flow(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

/// Whether the line begins or ends a document.
fn is_marker(line: &[u8]) -> bool {
    (line.starts_with(b"---") || line.starts_with(b"..."))
        && line.get(3).is_none_or(|&byte| is_blank(byte))
}
