//! Converts `ValueUnsupported`, an AnyValue as protobuf JSON, back to the encoded message.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tactus_model::ValueType;
use tactus_model::any_value::{AnyValueRef, classify, decode, encode};
use tactus_model::wire::put_message_field;

/// The type and the encoded AnyValue of a JSON text; `None` if it is not the protobuf JSON of an AnyValue.
///
/// Accepts what protobuf JSON parsers must accept: integers as strings or numbers, either base64 alphabet with or
/// without padding, original field names. Ignores further fields beside a known one. The message is written while the
/// text is read: lists may have millions of elements, so memory is a few times the message, whatever the elements are.
pub(crate) fn parse(text: &[u8]) -> Option<(ValueType, Vec<u8>)> {
    let mut message = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    Object(AnyValue(&mut message)).deserialize(&mut json).and_then(|()| json.end()).ok()?;
    let value_type = decode(&message).and_then(classify).ok()?;
    Some((value_type, message))
}

/// A member of an AnyValue, by its name in protobuf JSON or in the definition of the message.
#[derive(Clone, Copy, Deserialize)]
enum Member {
    #[serde(rename = "stringValue", alias = "string_value")]
    String,
    #[serde(rename = "boolValue", alias = "bool_value")]
    Bool,
    #[serde(rename = "intValue", alias = "int_value")]
    Int,
    #[serde(rename = "doubleValue", alias = "double_value")]
    Double,
    #[serde(rename = "arrayValue", alias = "array_value")]
    Array,
    #[serde(rename = "kvlistValue", alias = "kvlist_value")]
    KeyValues,
    #[serde(rename = "bytesValue", alias = "bytes_value")]
    Bytes,
    #[serde(other)]
    Unknown,
}

/// An object, read by a visitor that appends what it finds to a message.
struct Object<V>(V);

impl<'de, V: Visitor<'de, Value = ()>> DeserializeSeed<'de> for Object<V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self.0)
    }
}

/// Appends an AnyValue to a message. The JSON parser's own limit on nesting bounds the recursion.
struct AnyValue<'o>(&'o mut Vec<u8>);

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AnyValue")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut is_known, mut has_unknown) = (false, false);
        while let Some(member) = map.next_key::<Member>()? {
            match member {
                _ if is_known => drop(map.next_value::<IgnoredAny>()?),
                Member::Unknown => has_unknown |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
                _ => is_known = put_member(member, &mut map, self.0)?,
            }
        }
        match is_known || !has_unknown {
            true => Ok(()),
            false => Err(A::Error::custom("no member of an AnyValue")),
        }
    }
}

/// Appends a value, unless it is `null`. Returns whether it was there.
fn put_member<'de, A: MapAccess<'de>>(
    member: Member,
    map: &mut A,
    out: &mut Vec<u8>,
) -> Result<bool, A::Error> {
    match member {
        Member::String => {
            let Some(text) = map.next_value::<Option<String>>()? else { return Ok(false) };
            encode(out, AnyValueRef::String(text.as_bytes()));
        }
        Member::Bool => {
            let Some(flag) = map.next_value()? else { return Ok(false) };
            encode(out, AnyValueRef::Bool(flag));
        }
        Member::Int => {
            let Some(number) = map.next_value::<Option<Number<i64>>>()? else { return Ok(false) };
            encode(out, AnyValueRef::Int(number.get()?));
        }
        Member::Double => {
            let Some(number) = map.next_value::<Option<Number<f64>>>()? else { return Ok(false) };
            encode(out, AnyValueRef::Double(number.get()?));
        }
        Member::Array | Member::KeyValues => {
            let mut elements = Vec::new();
            let are_pairs = matches!(member, Member::KeyValues);
            let list = Nullable(Object(List { out: &mut elements, are_pairs }));
            if !map.next_value_seed(list)? {
                return Ok(false);
            }
            put_message_field(out, if are_pairs { 6 } else { 5 }, &elements);
        }
        Member::Bytes => {
            let Some(text) = map.next_value::<Option<String>>()? else { return Ok(false) };
            let text = text.trim_end_matches('=');
            let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
            put_message_field(out, 7, &bytes.map_err(A::Error::custom)?);
        }
        Member::Unknown => return Ok(false),
    }
    Ok(true)
}

/// A number, or its text. Rust reads `NaN`, `Infinity` and `-Infinity` as protobuf JSON writes them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number<T> {
    Number(T),
    Text(String),
}

impl<T: FromStr> Number<T> {
    fn get<E: Error>(self) -> Result<T, E> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text.parse().map_err(|_| E::custom("not a number")),
        }
    }
}

/// What may be `null`, which is left out. Returns whether it was there.
struct Nullable<S>(S);

impl<'de, S: DeserializeSeed<'de, Value = ()>> DeserializeSeed<'de> for Nullable<S> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Nullable<S> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message or null")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        self.0.deserialize(json).map(|()| true)
    }
}

/// Appends the elements of an ArrayValue or a KeyValueList, an object whose only member is `values`.
struct List<'o> {
    out: &'o mut Vec<u8>,
    are_pairs: bool,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { out, are_pairs } = self;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "values" => drop(map.next_value_seed(Nullable(Elements(List { out, are_pairs })))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The array of a [`List`].
struct Elements<'o>(List<'o>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let List { out, are_pairs } = self.0;
        let mut message = Vec::new();
        loop {
            message.clear();
            let found = match are_pairs {
                true => elements.next_element_seed(Object(KeyValue(&mut message)))?,
                false => elements.next_element_seed(Object(AnyValue(&mut message)))?,
            };
            let Some(()) = found else { return Ok(()) };
            put_message_field(out, 1, &message);
        }
    }
}

/// Appends a KeyValue.
struct KeyValue<'o>(&'o mut Vec<u8>);

impl<'de> Visitor<'de> for KeyValue<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key and a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "key" => put_message_field(self.0, 1, map.next_value::<String>()?.as_bytes()),
                "value" => {
                    let mut value = Vec::new();
                    if map.next_value_seed(Nullable(Object(AnyValue(&mut value))))? {
                        put_message_field(self.0, 2, &value);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
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
    fn null_is_left_out_and_further_fields_are_ignored() {
        let nothing = parse(br#"{"stringValue":null,"arrayValue":null}"#).unwrap();
        assert_eq!(nothing, (ValueType::Unset, Vec::new()));
        let text = br#"{"more":[{}],"stringValue":null,"string_value":"a","intValue":"x"}"#;
        assert_eq!(decode(&parse(text).unwrap().1), Ok(DecodedValue::String(b"a")));
        let pair = br#"{"kvlistValue":{"values":[{"key":"k","value":null}],"more":1}}"#;
        let (_, message) = parse(pair).unwrap();
        let DecodedValue::KeyValues(pairs) = decode(&message).unwrap() else { panic!("no list") };
        let pairs: Vec<_> = key_values(pairs).map(Result::unwrap).collect();
        assert_eq!(pairs, [(&b"k"[..], DecodedValue::Unset)]);
        for text in [r#"{"arrayValue":{"values":[null]}}"#, "null", r#"{"stringValue":"a"} 1"#] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
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
