//! The `tags` parameter of the old search: `key=value other="two words"`.

use std::collections::BTreeMap;

/// Why a text is not a list of pairs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogfmtError {
    /// A character is not allowed, or is missing.
    #[error("{problem} at pos {position}")]
    Syntax {
        /// What is wrong.
        problem: &'static str,
        /// Byte position from 1.
        position: usize,
    },
    /// A key occurs twice.
    #[error("tag {0} has been set twice")]
    Duplicate(String),
}

/// Parses pairs separated by blanks. A key without `=` has an empty value; values with blanks, `=` or `"` stand in
/// double quotes, where a backslash keeps the next character, or begins an escape of JSON (`\n`, `\u00fc`).
pub(crate) fn parse_logfmt(text: &str) -> Result<BTreeMap<String, String>, LogfmtError> {
    let mut pairs = BTreeMap::new();
    let mut cursor = Cursor { text, position: 0 };
    while cursor.skip_blanks() {
        let key = cursor.word()?;
        if key.is_empty() {
            return Err(cursor.wrong("unexpected '='"));
        }
        let value = if cursor.accept('=') { cursor.value()? } else { String::new() };
        if pairs.insert(key.clone(), value).is_some() {
            return Err(LogfmtError::Duplicate(key));
        }
    }
    Ok(pairs)
}

struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.position += next.len_utf8();
        Some(next)
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    /// True if there is more.
    fn skip_blanks(&mut self) -> bool {
        while self.peek().is_some_and(|next| next <= ' ') {
            self.next();
        }
        self.peek().is_some()
    }

    fn word(&mut self) -> Result<String, LogfmtError> {
        let start = self.position;
        while let Some(next) = self.peek().filter(|&next| next > ' ' && next != '=') {
            if next == '"' {
                return Err(self.wrong("unexpected '\"'"));
            }
            self.next();
        }
        Ok(self.text[start..self.position].to_owned())
    }

    fn value(&mut self) -> Result<String, LogfmtError> {
        if !self.accept('"') {
            let value = self.word()?;
            return if self.peek() == Some('=') {
                Err(self.wrong("unexpected '='"))
            } else {
                Ok(value)
            };
        }
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("unterminated quoted value")),
                Some('"') => break,
                Some('\\') => match self.next() {
                    None => return Err(self.wrong("unterminated quoted value")),
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('r') => value.push('\r'),
                    Some('b') => value.push('\u{8}'),
                    Some('f') => value.push('\u{c}'),
                    Some('u') => value.push(self.unicode_escape()?),
                    Some(other) => value.push(other),
                },
                Some(other) => value.push(other),
            }
        }
        match self.peek() {
            Some(next) if next > ' ' => {
                Err(self.wrong("unexpected character after a quoted value"))
            }
            _ => Ok(value),
        }
    }

    /// The character of `\u` and four hex digits, or of two of these if it takes a pair of surrogates.
    fn unicode_escape(&mut self) -> Result<char, LogfmtError> {
        let high = self.hex_digits()?;
        let mut units = vec![high];
        if (0xd800..0xdc00).contains(&high) && self.text[self.position..].starts_with("\\u") {
            self.position += 2;
            units.push(self.hex_digits()?);
        }
        let mut decoded = char::decode_utf16(units);
        match (decoded.next(), decoded.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(self.wrong("invalid escape")),
        }
    }

    fn hex_digits(&mut self) -> Result<u16, LogfmtError> {
        let digits = self.text.get(self.position..self.position + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("invalid escape"))?;
        self.position += 4;
        Ok(unit)
    }

    fn wrong(&self, problem: &'static str) -> LogfmtError {
        LogfmtError::Syntax { problem, position: self.position + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_logfmt(text).unwrap().into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn pairs_are_split_at_blanks_outside_quotes() {
        assert_eq!(pairs(""), []);
        assert_eq!(
            pairs(" a=b  c=\"two \\\"words\\\"\" d e= "),
            [pair("a", "b"), pair("c", "two \"words\""), pair("d", ""), pair("e", "")]
        );
        let escaped = r#"a="\u00fc\u2603" b="\ud83d\ude00\b\f\n\/""#;
        assert_eq!(pairs(escaped), [pair("a", "ü☃"), pair("b", "😀\u{8}\u{c}\n/")]);
    }

    #[test]
    fn wrong_pairs_are_refused_with_their_place() {
        let error = |text| parse_logfmt(text).unwrap_err().to_string();
        assert_eq!(error("a=b a=c"), "tag a has been set twice");
        assert_eq!(error("=b"), "unexpected '=' at pos 1");
        assert_eq!(error("a=b=c"), "unexpected '=' at pos 4");
        for escape in
            [r"\u12", r"\u12gh", r"\ud83d", r"\ud83d\u0041", r"\udc00", r"\u+123", r"\uü☃"]
        {
            let text = format!("a=\"{escape}\"");
            let error = parse_logfmt(&text).unwrap_err().to_string();
            assert!(error.starts_with("invalid escape at pos "), "{escape}: {error}");
        }
        assert_eq!(error("a=\"b"), "unterminated quoted value at pos 5");
        assert_eq!(error("a\"b=c"), "unexpected '\"' at pos 2");
        assert_eq!(error("a=\"b\"c"), "unexpected character after a quoted value at pos 6");
    }

    proptest! {
        #[test]
        fn logfmt_never_panics(text in "[ab=\"\\\\ é\n]{0,20}") {
            let _ = parse_logfmt(&text);
        }

        #[test]
        fn quoted_values_read_back(value in "[^\\\\\"]{0,20}") {
            prop_assert_eq!(pairs(&format!("k=\"{value}\"")), [pair("k", &value)]);
        }
    }
}
