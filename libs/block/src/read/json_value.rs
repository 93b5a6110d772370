//! Converts `ValueUnsupported`, an AnyValue as protobuf JSON, back to the encoded message.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use tactus_model::ValueType;
use tactus_model::any_value::{AnyValueRef, classify, decode, encode};
use tactus_model::wire::put_message_field;

/// The type and the encoded AnyValue of a JSON text; `None` if it is not the protobuf JSON of an AnyValue.
///
/// Accepts what protobuf JSON parsers must accept: integers as strings or numbers, either base64 alphabet with or
/// without padding, original field names. Ignores unknown fields beside a known one.
pub(crate) fn parse(text: &[u8]) -> Option<(ValueType, Vec<u8>)> {
    let value: Value = match has(text, b"oubleValue") || has(text, b"ouble_value") {
        true => serde_json::from_slice(&with_quoted_numbers(text)).ok()?,
        false => serde_json::from_slice(text).ok()?,
    };
    let mut message = Vec::new();
    put_any_value(value.as_object()?, &mut message)?;
    let value_type = decode(&message).and_then(classify).ok()?;
    Some((value_type, message))
}

fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Puts the numbers of the text into quotes. Otherwise the JSON parser would round long numbers, and each compaction
/// could change them again.
fn with_quoted_numbers(text: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 16);
    let (mut is_string, mut is_number, mut is_escaped) = (false, false, false);
    for &byte in text {
        let belongs = matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let starts = matches!(byte, b'0'..=b'9' | b'-') && !is_string;
        if starts && !is_number || is_number && !belongs {
            quoted.push(b'"');
            is_number = !is_number;
        }
        quoted.push(byte);
        if byte == b'"' && !is_escaped {
            is_string = !is_string;
        }
        is_escaped = is_string && byte == b'\\' && !is_escaped;
    }
    if is_number {
        quoted.push(b'"');
    }
    quoted
}

fn field<'j>(object: &'j Map<String, Value>, camel: &str, snake: &str) -> Option<&'j Value> {
    object.get(camel).or_else(|| object.get(snake)).filter(|value| !value.is_null())
}

/// The JSON parser's own limit on nesting bounds the recursion.
fn put_any_value(object: &Map<String, Value>, out: &mut Vec<u8>) -> Option<()> {
    if let Some(text) = field(object, "stringValue", "string_value") {
        encode(out, AnyValueRef::String(text.as_str()?.as_bytes()));
    } else if let Some(flag) = field(object, "boolValue", "bool_value") {
        encode(out, AnyValueRef::Bool(flag.as_bool()?));
    } else if let Some(number) = field(object, "intValue", "int_value") {
        let number = number.as_i64().or_else(|| number.as_str()?.parse().ok())?;
        encode(out, AnyValueRef::Int(number));
    } else if let Some(number) = field(object, "doubleValue", "double_value") {
        encode(out, AnyValueRef::Double(double(number)?));
    } else if let Some(array) = field(object, "arrayValue", "array_value") {
        let mut elements = Vec::new();
        for element in values(array)? {
            let mut message = Vec::new();
            put_any_value(element.as_object()?, &mut message)?;
            put_message_field(&mut elements, 1, &message);
        }
        put_message_field(out, 5, &elements);
    } else if let Some(list) = field(object, "kvlistValue", "kvlist_value") {
        let mut pairs = Vec::new();
        for pair in values(list)? {
            put_message_field(&mut pairs, 1, &key_value(pair.as_object()?)?);
        }
        put_message_field(out, 6, &pairs);
    } else if let Some(text) = field(object, "bytesValue", "bytes_value") {
        let text = text.as_str()?.trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()?;
        put_message_field(out, 7, &bytes);
    } else if object.values().any(|value| !value.is_null()) {
        return None;
    }
    Some(())
}

/// The `values` of an array or key-value list; none if the field is missing.
fn values(list: &Value) -> Option<&[Value]> {
    match list.as_object()?.get("values") {
        None | Some(Value::Null) => Some(&[]),
        Some(values) => values.as_array().map(Vec::as_slice),
    }
}

fn key_value(pair: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    if let Some(key) = pair.get("key") {
        put_message_field(&mut message, 1, key.as_str()?.as_bytes());
    }
    if let Some(value) = field(pair, "value", "value") {
        let mut any_value = Vec::new();
        put_any_value(value.as_object()?, &mut any_value)?;
        put_message_field(&mut message, 2, &any_value);
    }
    Some(message)
}

fn double(number: &Value) -> Option<f64> {
    match number.as_str() {
        None => number.as_f64(),
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(text) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_model::any_value::{DecodedValue, array_elements, encode_array, key_values};

    #[test]
    fn lists_bytes_and_mixed_arrays_are_kept() {
        let (value_type, message) =
            parse(br#"{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}"#)
                .unwrap();
        assert_eq!(value_type, ValueType::Other);
        let DecodedValue::KeyValues(pairs) = decode(&message).unwrap() else { panic!("no list") };
        let pairs: Vec<_> = key_values(pairs).map(Result::unwrap).collect();
        assert_eq!(pairs, [(&b"k"[..], DecodedValue::String(b"v"))]);

        let (value_type, message) =
            parse(br#"{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":"1"}]}}"#).unwrap();
        assert_eq!(value_type, ValueType::Other);
        let DecodedValue::Array(elements) = decode(&message).unwrap() else { panic!("no array") };
        let elements: Vec<_> = array_elements(elements).map(Result::unwrap).collect();
        assert_eq!(elements, [DecodedValue::String(b"a"), DecodedValue::Int(1)]);

        let (value_type, message) = parse(br#"{"bytesValue":"_-8="}"#).unwrap();
        assert_eq!(value_type, ValueType::Other);
        assert_eq!(decode(&message), Ok(DecodedValue::Bytes(&[0xff, 0xef])));
    }

    #[test]
    fn scalars_and_nothing_are_read_too() {
        assert_eq!(parse(b"{}"), Some((ValueType::Unset, Vec::new())));
        let int = parse(br#"{"intValue":-7}"#).unwrap();
        assert_eq!(decode(&int.1), Ok(DecodedValue::Int(-7)));
        let double = parse(br#"{"doubleValue":"-Infinity"}"#).unwrap();
        assert_eq!(decode(&double.1), Ok(DecodedValue::Double(f64::NEG_INFINITY)));
        let empty = parse(br#"{"arrayValue":{}}"#).unwrap();
        assert_eq!(empty, (ValueType::EmptyArray, encode_array(std::iter::empty())));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1",
            "[]",
            r#"{"intValue":"x"}"#,
            r#"{"arrayValue":[]}"#,
            r#"{"bytesValue":"%"}"#,
            r#"{"values":[]}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(&[vec![b'['; 10_000], vec![b']'; 10_000]].concat()), None);
    }

    #[test]
    fn quotes_go_around_numbers_only() {
        let cases = [
            (r#"{"doubleValue":-1.5e+3}"#, r#"{"doubleValue":"-1.5e+3"}"#),
            (r#"[1, 2 ,"3"]"#, r#"["1", "2" ,"3"]"#),
            (r#"{"a\"1":"\\","b":0}"#, r#"{"a\"1":"\\","b":"0"}"#),
            ("7", r#""7""#),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&with_quoted_numbers(text.as_bytes())), expected);
        }
    }

    proptest! {
        #[test]
        fn doubles_are_exact(bits in any::<u64>(), number in any::<i64>(), text in "[ -~]{0,8}") {
            let double = f64::from_bits(bits);
            prop_assume!(double.is_finite());
            let json = serde_json::json!({ "arrayValue": { "values": [
                { "doubleValue": double }, { "intValue": number }, { "stringValue": text },
                { "boolValue": true }, { "intValue": number.to_string() },
            ] } });
            let (_, message) = parse(json.to_string().as_bytes()).unwrap();
            let DecodedValue::Array(elements) = decode(&message).unwrap() else { panic!("no array") };
            let elements: Vec<_> = array_elements(elements).map(Result::unwrap).collect();
            let expected = [
                DecodedValue::Double(double), DecodedValue::Int(number), DecodedValue::String(text.as_bytes()),
                DecodedValue::Bool(true), DecodedValue::Int(number),
            ];
            prop_assert_eq!(elements, expected);
        }

        #[test]
        fn arbitrary_text_never_panics(text in r#"[{}\[\]":,a-z0-9]{0,60}"#) {
            let _ = parse(text.as_bytes());
        }
    }
}
