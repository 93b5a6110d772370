//! Writes the conditions of a search as TraceQL. The result looks as if a person had written it, because people read and edit it.

use std::fmt::Write as _;

use form_urlencoded::Serializer;

/// A TraceQL string in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// An attribute of a scope. If the scope is empty, it is the attribute of the span or of its resource.
pub(super) fn attribute(scope: &str, key: &str) -> String {
    let is_plain = key.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    if is_plain { format!("{scope}.{key}") } else { format!("{scope}.{}", quoted(key)) }
}

/// A condition that an attribute has this value. A link contains only its text, so it is compared in each type that it may have.
pub(super) fn equals(attribute: &str, value: &str) -> String {
    let as_text = format!("{attribute} = {}", quoted(value));
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // TraceQL does not accept larger numbers.
    let is_number = is_digits(whole) && is_digits(part) && whole.len() <= 18;
    if is_number || value == "true" || value == "false" {
        return format!("({as_text} || {attribute} = {value})");
    }
    as_text
}

/// A condition that a field has this text, in upper or lower case.
pub(super) fn equals_any_case(field: &str, text: &str) -> String {
    let has_case = |char: char| char.is_lowercase() || char.is_uppercase();
    if !text.chars().any(has_case) {
        return format!("{field} = {}", quoted(text));
    }
    let mut pattern = "(?i)".to_owned();
    for char in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(char) {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    format!("{field} =~ {}", quoted(&pattern))
}

/// One filter with all conditions.
pub(super) fn filter(conditions: &[String]) -> String {
    if conditions.is_empty() {
        return "{ }".to_owned();
    }
    format!("{{ {} }}", conditions.join(" && "))
}

/// True for a duration such as `1.5s`, `100ms` or `1h30m`, which is also TraceQL.
pub(super) fn is_duration(text: &str) -> bool {
    let known = |unit: &str| ["ns", "us", "µs", "ms", "s", "m", "h"].contains(&unit);
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
        let unit =
            &digits[..digits.find(|char: char| char.is_ascii_digit()).unwrap_or(digits.len())];
        if digits.len() == rest.len()
            || !rest.starts_with(|char: char| char.is_ascii_digit())
            || !known(unit)
        {
            return false;
        }
        rest = &digits[unit.len()..];
    }
    !text.is_empty()
}

/// True for a number and a unit, such as `1h` or `2d`, but not for `custom`.
pub(super) fn is_lookback(text: &str) -> bool {
    seconds_of(text).is_some()
}

/// Seconds of a number and a unit.
pub(super) fn seconds_of(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        b'w' => 604_800,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

/// Query parameters of one of our pages.
pub(super) struct Parameters(Serializer<'static, String>);

impl Parameters {
    pub(super) fn new() -> Self {
        Self(Serializer::new(String::new()))
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.append_pair(name, value);
    }

    /// Adds the time range in seconds. The start is rounded down and the end up, so that the range is never empty.
    pub(super) fn add_range(&mut self, from_micros: Option<u64>, to_micros: Option<u64>) {
        let from = from_micros.map(|from| from / 1_000_000);
        let to = to_micros.map(|to| to.div_ceil(1_000_000).max(from.map_or(0, |from| from + 1)));
        for (name, seconds) in [("from", from), ("to", to)] {
            if let Some(seconds) = seconds {
                self.add(name, &seconds.to_string());
            }
        }
    }

    /// The address of a page with these parameters.
    pub(super) fn of(mut self, page: &str) -> String {
        let query = self.0.finish();
        let mut address = page.to_owned();
        if !query.is_empty() {
            let _ = write!(address, "?{query}");
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_in_each_type_that_they_may_have_had() {
        assert_eq!(equals(".a", "x"), r#".a = "x""#);
        for value in ["500", "-1", "1.5", "true"] {
            assert_eq!(equals(".a", value), format!(r#"(.a = "{value}" || .a = {value})"#));
        }
        for value in ["1.", ".5", "--1", "1e9", "", "-", "1.2.3", "99999999999999999999"] {
            assert_eq!(equals(".a", value), format!(r#".a = "{value}""#));
        }
    }

    #[test]
    fn keys_that_are_no_names_are_quoted() {
        assert_eq!(attribute("", "http.status_code"), ".http.status_code");
        assert_eq!(attribute("resource", "a b"), r#"resource."a b""#);
        assert_eq!(attribute("", "9lives"), r#"."9lives""#);
    }

    #[test]
    fn names_in_any_case_are_matched_as_they_are_written() {
        assert_eq!(
            equals_any_case("name", r#"get /a.b(c) "d""#),
            r#"name =~ "(?i)get /a\\.b\\(c\\) \"d\"""#
        );
        assert_eq!(equals_any_case("name", "42"), r#"name = "42""#);
    }

    #[test]
    fn lookbacks_are_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("2d", 172_800)] {
            assert_eq!(seconds_of(text), Some(seconds));
        }
        for text in ["custom", "h", "", "+1h", "1hh", "99999999999999999999w", "1é"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }
}
