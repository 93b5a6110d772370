//! The parameters of a URL, and integers in them with the error texts that clients know.

use std::borrow::Cow;

/// Decoded parameters in their order.
///
/// Of a name that occurs twice the first value counts, and an empty value counts as absent: both as in Go, which the
/// clients were written against. Invalid UTF-8 becomes U+FFFD.
#[derive(Debug, Clone, Default)]
pub struct QueryParams<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> QueryParams<'a> {
    /// Parses what stands behind the `?`, percent-encoded or not. Never fails.
    pub fn parse(query: &'a str) -> Self {
        Self { pairs: form_urlencoded::parse(query.as_bytes()).collect() }
    }

    /// The value of a parameter, unless it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(key, _)| key == name);
        first.map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    }

    /// All parameters as sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

/// Parses a decimal integer of `bits` bits as Go's `strconv.ParseInt` does; `function` names it in the error.
pub(crate) fn parse_int(text: &str, bits: u32, function: &str) -> Result<i64, String> {
    let wrong = |why| format!("strconv.{function}: parsing {text:?}: {why}");
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("invalid syntax"));
    }
    let largest = i64::MAX >> (64 - bits);
    match text.parse::<i64>() {
        Ok(value) if (-largest - 1..=largest).contains(&value) => Ok(value),
        _ => Err(wrong("value out of range")),
    }
}

/// Parses seconds since 1970 that fit 32 bits without a sign.
pub(crate) fn parse_seconds(text: &str) -> Result<u32, String> {
    let value = parse_int(text, 64, "ParseInt")?;
    u32::try_from(value)
        .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: value out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_wins_and_empty_is_absent() {
        let params = QueryParams::parse("a=1&a=2&b=&b=3&c=x%20y+z&%ff=1&d");
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.get("b"), None);
        assert_eq!(params.get("c"), Some("x y z"));
        assert_eq!(params.get("d"), None);
        assert_eq!(params.get("\u{fffd}"), Some("1"));
    }

    #[test]
    fn raw_braces_quotes_and_unicode_are_taken_as_they_are() {
        let params = QueryParams::parse("q={name=\"é\"}");
        assert_eq!(params.get("q"), Some("{name=\"é\"}"));
    }

    #[test]
    fn integers_are_refused_with_the_texts_of_go() {
        assert_eq!(parse_int("-5", 64, "Atoi"), Ok(-5));
        assert_eq!(parse_int("+2147483647", 32, "ParseInt"), Ok(2_147_483_647));
        for (text, expected) in [
            ("x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("", "strconv.ParseInt: parsing \"\": invalid syntax"),
            ("1.5", "strconv.ParseInt: parsing \"1.5\": invalid syntax"),
            ("2147483648", "strconv.ParseInt: parsing \"2147483648\": value out of range"),
        ] {
            assert_eq!(parse_int(text, 32, "ParseInt"), Err(expected.to_owned()));
        }
        assert_eq!(parse_seconds("4294967295"), Ok(u32::MAX));
        assert!(parse_seconds("-1").is_err());
    }
}
