use tactus_model::any_value::{AnyValueRef, encode, encode_array};
use tactus_model::wire::put_message_field;

use super::*;

fn json(message: &[u8]) -> String {
    let mut out = Vec::new();
    put_any_value(&mut out, message);
    String::from_utf8(out).unwrap()
}

fn key_values(pairs: &[(&str, AnyValueRef<'_>)]) -> Vec<u8> {
    let mut list = Vec::new();
    for (key, value) in pairs {
        let (mut pair, mut encoded) = (Vec::new(), Vec::new());
        put_message_field(&mut pair, 1, key.as_bytes());
        encode(&mut encoded, *value);
        put_message_field(&mut pair, 2, &encoded);
        put_message_field(&mut list, 1, &pair);
    }
    let mut message = Vec::new();
    put_message_field(&mut message, 6, &list);
    message
}

#[test]
fn lists_and_mixed_arrays_read_as_the_format_says() {
    assert_eq!(
        json(&key_values(&[("k", AnyValueRef::String(b"v"))])),
        r#"{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}"#
    );
    let mixed = encode_array([AnyValueRef::String(b"a"), AnyValueRef::Int(1)].into_iter());
    assert_eq!(json(&mixed), r#"{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":"1"}]}}"#);
}

#[test]
fn every_type_has_its_notation() {
    let mut bytes = Vec::new();
    put_message_field(&mut bytes, 7, &[0xff, 0xfe, 0]);
    let elements = [
        AnyValueRef::Bool(true),
        AnyValueRef::Double(1.5),
        AnyValueRef::Double(2.0),
        AnyValueRef::Double(f64::NEG_INFINITY),
        AnyValueRef::Double(1e300),
        AnyValueRef::Unset,
        AnyValueRef::Encoded(&bytes),
        AnyValueRef::Int(i64::MIN),
    ];
    assert_eq!(
        json(&encode_array(elements.into_iter())),
        concat!(
            r#"{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5},"#,
            r#"{"doubleValue":2},{"doubleValue":"-Infinity"},{"doubleValue":1e300},{},"#,
            r#"{"bytesValue":"//4A"},{"intValue":"-9223372036854775808"}]}}"#
        )
    );
}

#[test]
fn strings_are_escaped_and_empty_lists_have_no_values() {
    let text = AnyValueRef::String(b"\"\\\n\x01\xff\xc3\xa4");
    assert_eq!(
        json(&encode_array(std::iter::once(text))),
        "{\"arrayValue\":{\"values\":[{\"stringValue\":\"\\\"\\\\\\n\\u0001\u{fffd}ä\"}]}}"
    );
    assert_eq!(json(&key_values(&[])), r#"{"kvlistValue":{}}"#);
    assert_eq!(json(&[]), "{}");
}
