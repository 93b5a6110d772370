//! Translates RE2 syntax to the syntax of the `regex` crate.
//!
//! They differ where one gives a meaning to what the other takes literally: ASCII or Unicode `\d \w \s \b`, `\Q…\E`,
//! octal escapes, `{` that does not begin a repetition, set operations inside brackets, and flags. Everything else is
//! passed on, and the crate reports other errors.

type Result<T, E = &'static str> = std::result::Result<T, E>;

/// RE2 refuses larger repetition counts.
const MAX_REPEAT: u32 = 1000;

/// Classes that have a name within brackets.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Translates a pattern of RE2 to one of the `regex` crate, which may be put into a group.
///
/// Errors: constructs that only the crate has. The crate reports those that neither has.
pub fn from_re2(pattern: &str) -> Result<String> {
    let mut translated = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut after_repetition = false;
    let mut open_groups = 0_usize;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = repetition(rest)? {
            if after_repetition {
                return Err("invalid nested repetition operator");
            }
            let (operator, after) = rest.split_at(length);
            translated.push_str(operator);
            after_repetition = true;
            rest = after;
            continue;
        }
        after_repetition = false;
        let consumed = match c {
            '\\' => escape(rest, &mut translated)?,
            '[' => bracket(rest, &mut translated)?,
            '{' => {
                translated.push_str("\\{");
                1
            }
            '(' => {
                open_groups += 1;
                group(rest, &mut translated)?
            }
            // Callers put the pattern into a group, which it must not close.
            ')' if open_groups == 0 => return Err("unexpected )"),
            c => {
                open_groups -= usize::from(c == ')');
                translated.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[consumed..];
    }
    Ok(translated)
}

fn push_literal(translated: &mut String, c: char) {
    translated.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
}

/// The escape at the start of `rest`, outside of brackets. Returns its length.
fn escape(rest: &str, translated: &mut String) -> Result<usize> {
    let c = rest[1..].chars().next().ok_or("trailing backslash")?;
    match c {
        'Q' => {
            let text = &rest[2..];
            let end = text.find("\\E");
            let quoted = end.map_or(text, |end| &text[..end]);
            quoted.chars().for_each(|c| push_literal(translated, c));
            return Ok(2 + quoted.len() + if end.is_some() { 2 } else { 0 });
        }
        'd' | 'D' | 'w' | 'W' | 's' | 'S' => translated.push_str(perl_class(c)),
        'b' => translated.push_str("(?-u:\\b)"),
        'B' => translated.push_str("(?-u:\\B)"),
        'A' | 'z' => {
            translated.push('\\');
            translated.push(c);
        }
        'p' | 'P' => return unicode_class(rest, translated),
        _ => {
            let (literal, length) = literal_escape(rest)?;
            push_literal(translated, literal);
            return Ok(length);
        }
    }
    Ok(2)
}

/// `\d` and its kin as a bracket expression.
fn perl_class(c: char) -> &'static str {
    match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => "[\\t\\n\\f\\r ]",
        _ => "[^\\t\\n\\f\\r ]",
    }
}

/// `\pL`, `\p{Greek}`, `\p{^Greek}`. Returns its length.
fn unicode_class(rest: &str, translated: &mut String) -> Result<usize> {
    let mut negated = rest.starts_with("\\P");
    let name = &rest[2..];
    let (name, length) = match name.strip_prefix('{') {
        Some(inner) => {
            let end = inner.find('}').ok_or("invalid character class range")?;
            (&inner[..end], end + 4)
        }
        None => {
            let c = name.chars().next().ok_or("invalid character class range")?;
            (&name[..c.len_utf8()], 2 + c.len_utf8())
        }
    };
    let name = name.strip_prefix('^').inspect(|_| negated = !negated).unwrap_or(name);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err("invalid character class range");
    }
    translated.push_str(if negated { "\\P{" } else { "\\p{" });
    translated.push_str(name);
    translated.push('}');
    Ok(length)
}

/// The character that the escape at the start of `rest` stands for, and the escape's length.
fn literal_escape(rest: &str) -> Result<(char, usize)> {
    const INVALID: &str = "invalid escape sequence";
    let text = &rest[1..];
    let c = text.chars().next().ok_or("trailing backslash")?;
    let simple = match c {
        'a' => '\x07',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '0'..='7' => {
            let digits = text.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
            // A single non-zero digit would be a back-reference.
            if c != '0' && digits == 1 {
                return Err(INVALID);
            }
            let value = u32::from_str_radix(&text[..digits], 8).map_err(|_| INVALID)?;
            return Ok((char::from_u32(value).ok_or(INVALID)?, 1 + digits));
        }
        'x' => {
            let (digits, length) = match text[1..].strip_prefix('{') {
                Some(inner) => {
                    let end = inner.find('}').ok_or(INVALID)?;
                    (&inner[..end], end + 4)
                }
                None => (text.get(1..3).ok_or(INVALID)?, 4),
            };
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(INVALID);
            }
            let value = u32::from_str_radix(digits, 16).map_err(|_| INVALID)?;
            return Ok((char::from_u32(value).ok_or(INVALID)?, length));
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(INVALID),
    };
    Ok((simple, 2))
}

/// The length of the repetition at the start of `rest`: `*`, `+`, `?`, `{n}`, `{n,}` or `{n,m}`, including the `?` that
/// makes it lazy; `None` if there is none. Other braces are literal.
fn repetition(rest: &str) -> Result<Option<usize>> {
    let length = match rest.chars().next() {
        Some('*' | '+' | '?') => 1,
        Some('{') => match counts(&rest[1..])? {
            Some(inner) => inner.len() + 2,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(length + usize::from(rest[length..].starts_with('?'))))
}

/// `n`, `n,` or `n,m` up to the closing brace; `None` if there is something else.
fn counts(text: &str) -> Result<Option<&str>> {
    let Some((inner, _)) = text.split_once('}') else { return Ok(None) };
    let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
    let is_number = |text: &str| {
        let has_leading_zero = text.len() > 1 && text.starts_with('0');
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !has_leading_zero
    };
    if !is_number(low) || !high.is_empty() && !is_number(high) {
        return Ok(None);
    }
    let too_large =
        |text: &str| !text.is_empty() && text.parse::<u32>().map_or(true, |n| n > MAX_REPEAT);
    if too_large(low) || too_large(high) {
        return Err("invalid repeat count");
    }
    Ok(Some(inner))
}

/// `(` or `(?`, whose flags are checked. Returns the length consumed.
fn group(rest: &str, translated: &mut String) -> Result<usize> {
    if let Some(inside) = rest.strip_prefix("(?") {
        let flags = inside.split([')', ':', '<', 'P']).next().unwrap_or(inside);
        if flags.contains(|c| !"imsU-".contains(c)) {
            return Err("invalid or unsupported Perl syntax");
        }
        translated.push_str("(?");
        return Ok(2);
    }
    translated.push('(');
    Ok(1)
}

/// Translates the bracket expression at the start of `rest`. Returns its length.
fn bracket(rest: &str, translated: &mut String) -> Result<usize> {
    const UNCLOSED: &str = "missing closing ]";
    translated.push('[');
    let mut index = 1;
    if rest[index..].starts_with('^') {
        translated.push('^');
        index += 1;
    }
    let mut first = true;
    loop {
        let text = &rest[index..];
        match text.chars().next().ok_or(UNCLOSED)? {
            ']' if !first => {
                translated.push(']');
                return Ok(index + 1);
            }
            '[' if text.starts_with("[:") && text[2..].contains(":]") => {
                let (name, _) = text[2..].split_once(":]").ok_or(UNCLOSED)?;
                if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err("invalid character class range");
                }
                let length = name.len() + 4;
                translated.push_str(&text[..length]);
                index += length;
            }
            '\\' if text[1..].starts_with(['d', 'D', 'w', 'W', 's', 'S']) => {
                translated.push_str(perl_class(text[1..].chars().next().ok_or(UNCLOSED)?));
                index += 2;
            }
            '\\' if text[1..].starts_with(['p', 'P']) => index += unicode_class(text, translated)?,
            _ => index += range(text, translated)?,
        }
        first = false;
    }
}

/// A character or `a-z`. Returns its length.
fn range(text: &str, translated: &mut String) -> Result<usize> {
    let (low, mut length) = character(text)?;
    push_literal(translated, low);
    if let Some(after) = text[length..].strip_prefix('-')
        && !after.starts_with(']')
        && !after.is_empty()
    {
        let (high, high_length) = character(after)?;
        if high < low {
            return Err("invalid character class range");
        }
        translated.push('-');
        push_literal(translated, high);
        length += 1 + high_length;
    }
    Ok(length)
}

fn character(text: &str) -> Result<(char, usize)> {
    match text.chars().next().ok_or("missing closing ]")? {
        '\\' => literal_escape(text),
        c => Ok((c, c.len_utf8())),
    }
}
