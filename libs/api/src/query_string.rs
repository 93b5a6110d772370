//! The parameters of a URL.

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
}
