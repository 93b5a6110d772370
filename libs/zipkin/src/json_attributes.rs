//! Attributes as a JSON object in a text, as annotations and links carry them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use tactus_model::wire::MAX_DEPTH;
use tactus_proto::lossy;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::{AnyValue, ArrayValue, KeyValue, KeyValueList};

use crate::keyed::Keyed;

/// The members of an object; `None` if `text` is anything else, or nested too deeply to be stored. Numbers without
/// fraction and exponent are integers.
pub(crate) fn parse(text: &[u8]) -> Option<Vec<KeyValue>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Depth(0).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value.value {
        Some(Value::KvlistValue(list)) => Some(list.values),
        _ => None,
    }
}

/// The object of these attributes.
pub(crate) fn write(attributes: &[KeyValue]) -> String {
    to_text(&Object(attributes))
}

/// The JSON of an array or key-value list; of anything else too.
pub(crate) fn write_value(value: &Value) -> String {
    to_text(&Json(Some(value)))
}

fn to_text(value: &impl Serialize) -> String {
    // Keys are strings and nothing else here can fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads a value that is within so many objects and arrays.
#[derive(Clone, Copy)]
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = AnyValue;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<AnyValue, D::Error> {
        // The object around all is not a value: its members are the attributes.
        if self.0 > MAX_DEPTH + 1 {
            return Err(D::Error::custom("values are nested too deeply"));
        }
        json.deserialize_any(self).map(|value| AnyValue { value })
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::BoolValue(value)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::IntValue(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(match i64::try_from(number) {
            Ok(number) => Value::IntValue(number),
            Err(_) => Value::DoubleValue(number as f64),
        }))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::DoubleValue(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let depth = Self(self.0 + 1);
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(depth)? {
            values.push(value);
        }
        Ok(Some(Value::ArrayValue(ArrayValue { values })))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let depth = Self(self.0 + 1);
        let mut members = Keyed::default();
        while let Some(key) = map.next_key::<String>()? {
            members.set(Bytes::from(key), map.next_value_seed(depth)?);
        }
        let members = members.into_entries().into_iter();
        let values = members.map(|(key, value)| KeyValue { key, value: Some(value) }).collect();
        Ok(Some(Value::KvlistValue(KeyValueList { values })))
    }
}

struct Object<'a>(&'a [KeyValue]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for KeyValue { key, value } in self.0 {
            let value = value.as_ref().and_then(|value| value.value.as_ref());
            map.serialize_entry(&lossy(key), &Json(value))?;
        }
        map.end()
    }
}

struct Json<'a>(Option<&'a Value>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_unit(),
            Some(Value::StringValue(text)) => serializer.serialize_str(&lossy(text)),
            Some(Value::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Value::IntValue(number)) => serializer.serialize_i64(*number),
            Some(Value::DoubleValue(number)) if number.is_finite() => {
                serializer.serialize_f64(*number)
            }
            // JSON has no numbers for these.
            Some(Value::DoubleValue(number)) => serializer.collect_str(number),
            Some(Value::BytesValue(bytes)) => serializer.serialize_str(&STANDARD.encode(bytes)),
            Some(Value::KvlistValue(list)) => Object(&list.values).serialize(serializer),
            Some(Value::ArrayValue(array)) => {
                let mut list = serializer.serialize_seq(Some(array.values.len()))?;
                for value in &array.values {
                    list.serialize_element(&Json(value.value.as_ref()))?;
                }
                list.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_model::any_value::{self, classify};

    use super::*;

    #[test]
    fn objects_read_and_write_with_types_and_order() {
        let text = r#"{"b":1,"a":"x","c":[1.0,-2,null,true],"d":{"e":18446744073709551615}}"#;
        let attributes = parse(text.as_bytes()).unwrap();
        assert_eq!(attributes.len(), 4);
        let expected = r#"{"b":1,"a":"x","c":[1.0,-2,null,true],"d":{"e":1.8446744073709552e+19}}"#;
        assert_eq!(write(&attributes), expected);
    }

    #[test]
    fn anything_but_one_object_is_none() {
        for text in ["", "[]", "1", "{} {}", "{", r#"{"a":}"#, "{\"a\":\"\u{1}\"}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b" {} "), Some(Vec::new()));
        assert_eq!(parse("{\"a\":".repeat(1_000_000).as_bytes()), None);
    }

    #[test]
    fn values_are_read_as_deep_as_they_are_stored() {
        let value = |value| AnyValue { value: Some(value) };
        let key = Bytes::from_static(b"a");
        let attribute = |value| vec![KeyValue { key: key.clone(), value: Some(value) }];
        let array = |inner| value(Value::ArrayValue(ArrayValue { values: vec![inner] }));
        let object = |inner| value(Value::KvlistValue(KeyValueList { values: attribute(inner) }));
        let empty = value(Value::ArrayValue(ArrayValue::default()));
        for levels in [MAX_DEPTH, MAX_DEPTH + 1] {
            for bottom in [&value(Value::IntValue(1)), &empty] {
                for arrays in [0, 1, levels] {
                    let nested = (0..levels).fold(bottom.clone(), |inner, level| {
                        if level < arrays { array(inner) } else { object(inner) }
                    });
                    let message = nested.encode_to_vec();
                    let is_stored = any_value::decode(&message).and_then(classify).is_ok();
                    let text = write(&attribute(nested));
                    assert_eq!(is_stored, levels == MAX_DEPTH, "{text}");
                    assert_eq!(parse(text.as_bytes()).is_some(), is_stored, "{text}");
                }
            }
        }
    }

    #[test]
    fn values_without_a_json_form_become_text() {
        let double = |number| write_value(&Value::DoubleValue(number));
        assert_eq!(double(f64::NAN), "\"NaN\"");
        assert_eq!(double(f64::NEG_INFINITY), "\"-inf\"");
        assert_eq!(write_value(&Value::BytesValue(Bytes::from_static(&[0xff]))), "\"/w==\"");
        assert_eq!(write_value(&Value::StringValue(Bytes::from_static(b"\xffa"))), "\"\u{fffd}a\"");
    }
}
