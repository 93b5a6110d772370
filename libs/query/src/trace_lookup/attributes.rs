//! Builds parts of a TraceQL query from texts of clients.

use serde_json::Value;
use tactus_traceql::{Attribute, AttributeScope, Static, format_float};

/// Texts of longer lists are looked for as texts alone.
const MOST_ELEMENTS: usize = 16;

/// A string literal.
pub fn quoted(text: &str) -> String {
    Static::string(text).to_string()
}

/// An attribute of a scope, whatever characters its name has.
pub fn attribute(scope: AttributeScope, name: &str) -> String {
    Attribute::Named { scope, parent: false, name: name.into() }.to_string()
}

/// A condition that holds if an attribute of one of the scopes has a value whose text is `text`: a string, or the
/// integer, float, boolean or list that is written so.
pub fn equals_text(scopes: &[AttributeScope], name: &str, text: &str) -> String {
    let mut values = vec![quoted(text)];
    values.extend(number(text));
    if matches!(text, "true" | "false") {
        values.push(text.to_owned());
    }
    let mut conditions = Vec::new();
    for &scope in scopes {
        let attribute = attribute(scope, name);
        conditions.extend(values.iter().map(|value| format!("{attribute} = {value}")));
        conditions.extend(no_literal(&attribute, text));
        conditions.extend(elements(&attribute, text));
    }
    format!("({})", conditions.join(" || "))
}

/// That an attribute is the float of this text, if it is one that has no literal. The texts are those that answers show.
fn no_literal(attribute: &str, text: &str) -> Option<String> {
    let largest = format_float(f64::MAX);
    match text {
        // Nothing else differs from itself.
        "NaN" => Some(format!("{attribute} != {attribute}")),
        "+Inf" | "Infinity" | "inf" => Some(format!("{attribute} > {largest}")),
        "-Inf" | "-Infinity" | "-inf" => Some(format!("{attribute} < -{largest}")),
        _ => None,
    }
}

/// That an attribute has the elements of a list, if this is the text of one. TraceQL compares elements, not lists, so the
/// order may be another, and there may be more elements.
fn elements(attribute: &str, text: &str) -> Option<String> {
    let list = text.starts_with('[').then(|| serde_json::from_str::<Vec<Value>>(text).ok())??;
    if list.is_empty() || list.len() > MOST_ELEMENTS {
        return None;
    }
    let literal = |element: &Value| match element {
        Value::String(text) => Some(quoted(text)),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => match number.as_i64() {
            Some(i64::MIN) => Some("minInt".to_owned()),
            Some(whole) => Some(whole.to_string()),
            None => number.as_f64().map(format_float),
        },
        _ => None,
    };
    let conditions = list.iter().map(|one| Some(format!("{attribute} = {}", literal(one)?)));
    Some(format!("({})", conditions.collect::<Option<Vec<_>>>()?.join(" && ")))
}

/// The literal of the number that has exactly this text. The text of a float is that of JavaScript, which Jaeger's answers
/// have, or the same without the plus of an exponent, as in Zipkin's.
fn number(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i64>() {
        let literal = if number == i64::MIN { "minInt".to_owned() } else { text.to_owned() };
        return (number.to_string() == text).then_some(literal);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let size = number.abs();
    let is_plain = size == 0.0 || (1e-6..1e21).contains(&size);
    let is_shown = if is_plain {
        number.to_string() == text
    } else {
        let shown = format!("{number:e}");
        shown == text || size >= 1.0 && shown.replace('e', "e+") == text
    };
    is_shown.then(|| format_float(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_traceql::parse_and_validate;

    use super::*;

    #[test]
    fn number_must_be_written_as_it_is_shown() {
        for (text, expected) in [
            ("500", Some("500")),
            ("-5", Some("-5")),
            ("-9223372036854775808", Some("minInt")),
            ("0500", None),
            ("+5", None),
            ("12.5", Some("12.5")),
            ("500.0", None),
            ("1e3", None),
            ("0.000001", Some("1e-06")),
            ("1e-7", Some("1e-07")),
            ("1e+21", Some("1e+21")),
            ("1e21", Some("1e+21")),
            ("1E21", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("abc", None),
        ] {
            assert_eq!(number(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn text_of_a_value_is_looked_for_in_every_scope() {
        let scopes = [AttributeScope::Span, AttributeScope::Event];
        assert_eq!(
            equals_text(&scopes, "a b", "x`y"),
            "(span.\"a b\" = \"x`y\" || event.\"a b\" = \"x`y\")"
        );
        assert_eq!(equals_text(&[AttributeScope::Link], "k", "1"), "(link.k = `1` || link.k = 1)");
    }

    #[test]
    fn floats_without_a_literal_are_found_by_their_text() {
        let span = [AttributeScope::Span];
        for (text, expected) in [
            ("NaN", "(span.k = `NaN` || span.k != span.k)"),
            ("+Inf", "(span.k = `+Inf` || span.k > 1.7976931348623157e+308)"),
            ("-Infinity", "(span.k = `-Infinity` || span.k < -1.7976931348623157e+308)"),
            ("nan", "(span.k = `nan`)"),
        ] {
            let condition = equals_text(&span, "k", text);
            assert_eq!(condition, expected);
            assert!(parse_and_validate(&format!("{{ {condition} }}")).is_ok(), "{condition}");
        }
    }

    #[test]
    fn lists_are_found_by_their_elements() {
        let span = [AttributeScope::Span];
        let unequal = |text: &str| equals_text(&span, "k", text).contains("&&");
        for (text, expected) in [
            (r#"["a b","c"]"#, "(span.k = `a b` && span.k = `c`)"),
            ("[1, -2.5, 3.0]", "(span.k = 1 && span.k = -2.5 && span.k = 3.0)"),
            ("[-9223372036854775808]", "(span.k = minInt)"),
            ("[true,false]", "(span.k = true && span.k = false)"),
        ] {
            let condition = equals_text(&span, "k", text);
            assert_eq!(condition, format!("(span.k = {} || {expected})", quoted(text)));
            assert!(parse_and_validate(&format!("{{ {condition} }}")).is_ok(), "{condition}");
        }
        let long = format!("[{}1]", "1,".repeat(MOST_ELEMENTS));
        for text in ["[]", "[[1],[2]]", "[1,null]", "[1,", "{\"a\":1}", &long] {
            assert!(!unequal(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_stays_a_literal(name in "\\PC{1,12}", text in any::<String>()) {
            let query = format!(
                "{{ name = {} && {} && {} != nil }}",
                quoted(&text),
                equals_text(&[AttributeScope::Span, AttributeScope::Resource], &name, &text),
                attribute(AttributeScope::Link, &name),
            );
            let parsed = parse_and_validate(&query);
            prop_assert!(parsed.is_ok(), "{query}: {parsed:?}");
        }

        #[test]
        fn number_that_is_shown_is_found(number in any::<f64>(), whole in any::<i64>()) {
            prop_assert!(super::number(&whole.to_string()).is_some());
            if number.is_finite() && (1e-6..1e21).contains(&number.abs()) {
                let literal = super::number(&number.to_string());
                let text = number.to_string();
                prop_assert_eq!(literal.is_some(), true, "{}", text);
            }
        }
    }
}
