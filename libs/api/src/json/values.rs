//! Attribute values, from OTLP protobuf bytes.

use std::collections::HashMap;

use tactus_model::any_value::{DecodedValue, array_elements, decode, decode_key_value, key_values};
use tactus_model::bytes_to_hex;
use tactus_model::wire::{FieldValue, MAX_DEPTH, Reader, WireError};

use super::JsonWriter;

/// Writes the field `attributes` of a message whose field `number` repeats KeyValue; nothing without any.
pub(crate) fn write_attributes(
    json: &mut JsonWriter,
    message: &[u8],
    number: u32,
) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    let mut any = false;
    while let Some((field, value)) = reader.next_field()? {
        if let (true, FieldValue::Bytes(pair)) = (field == number, value) {
            if !any {
                json.key("attributes").begin_list();
                any = true;
            }
            write_key_value(json, pair)?;
        }
    }
    if any {
        json.end_list();
    }
    Ok(())
}

fn write_key_value(json: &mut JsonWriter, pair: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(pair);
    let (mut key, mut any_value): (&[u8], Option<&[u8]>) = (b"", None);
    while let Some((field, content)) = reader.next_field()? {
        match field {
            1 => key = content.bytes(1)?,
            2 => any_value = Some(content.bytes(2)?),
            _ => {}
        }
    }
    json.begin_object();
    json.attribute_key(key);
    if let Some(message) = any_value {
        json.key("value");
        write_any_value(json, decode(message)?, 0)?;
    }
    json.end_object();
    Ok(())
}

/// Writes an AnyValue message. Errors: malformed, or nested too deeply.
fn write_any_value(
    json: &mut JsonWriter,
    value: DecodedValue<'_>,
    depth: usize,
) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::Depth);
    }
    json.begin_object();
    match value {
        DecodedValue::Unset => {}
        DecodedValue::String(text) => {
            json.key("stringValue").string(text);
        }
        DecodedValue::Bool(value) => {
            json.key("boolValue").bool(value);
        }
        DecodedValue::Int(value) => {
            json.key("intValue").wide(value);
        }
        DecodedValue::Double(value) => {
            json.key("doubleValue").double(value);
        }
        DecodedValue::Bytes(bytes) => {
            json.key("bytesValue").base64(bytes);
        }
        DecodedValue::Array(elements) => {
            json.key("arrayValue").begin_object();
            if !elements.is_empty() {
                json.key("values").begin_list();
                for element in array_elements(elements) {
                    write_any_value(json, element?, depth + 1)?;
                }
                json.end_list();
            }
            json.end_object();
        }
        DecodedValue::KeyValues(pairs) => {
            json.key("kvlistValue").begin_object();
            if !pairs.is_empty() {
                json.key("values").begin_list();
                for pair in key_values(pairs) {
                    let (key, value) = pair?;
                    json.begin_object();
                    json.attribute_key(key);
                    json.key("value");
                    write_any_value(json, value, depth + 1)?;
                    json.end_object();
                }
                json.end_list();
            }
            json.end_object();
        }
    }
    json.end_object();
    Ok(())
}

/// Writes the attributes of a message as plain members of the open object, without the key `without`.
pub(crate) fn write_flat_attributes(
    json: &mut JsonWriter,
    message: &[u8],
    number: u32,
    without: &[u8],
) -> Result<(), WireError> {
    let mut members = Members::default();
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next_field()? {
        if let (true, FieldValue::Bytes(pair)) = (field == number, value) {
            let (key, any_value) = decode_key_value(pair)?;
            if key != without || without.is_empty() {
                members.set(key, decode(any_value)?);
            }
        }
    }
    members.write(json, 0)
}

/// Members of a JSON object, in the order of their first values. Readers of JSON may refuse an object that has a key twice, so the
/// last value of a key is the only one.
#[derive(Default)]
struct Members<'a> {
    list: Vec<(&'a [u8], DecodedValue<'a>)>,
    places: HashMap<&'a [u8], usize>,
}

impl<'a> Members<'a> {
    fn set(&mut self, key: &'a [u8], value: DecodedValue<'a>) {
        let place = *self.places.entry(key).or_insert(self.list.len());
        match self.list.get_mut(place) {
            Some((_, before)) => *before = value,
            None => self.list.push((key, value)),
        }
    }

    fn write(self, json: &mut JsonWriter, depth: usize) -> Result<(), WireError> {
        for (key, value) in self.list {
            json.data_key(key);
            write_plain(json, value, depth)?;
        }
        Ok(())
    }
}

fn write_plain(
    json: &mut JsonWriter,
    value: DecodedValue<'_>,
    depth: usize,
) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::Depth);
    }
    match value {
        DecodedValue::Unset => json.raw("null"),
        DecodedValue::String(text) => json.string(text),
        DecodedValue::Bool(value) => json.bool(value),
        DecodedValue::Int(value) => json.integer(value),
        DecodedValue::Double(value) => json.double(value),
        DecodedValue::Bytes(bytes) => json.string(bytes_to_hex(bytes).as_bytes()),
        DecodedValue::Array(elements) => {
            json.begin_list();
            for element in array_elements(elements) {
                write_plain(json, element?, depth + 1)?;
            }
            json.end_list();
        }
        DecodedValue::KeyValues(pairs) => {
            let mut members = Members::default();
            for pair in key_values(pairs) {
                let (key, value) = pair?;
                members.set(key, value);
            }
            json.begin_object();
            members.write(json, depth + 1)?;
            json.end_object();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tactus_proto::otlp::{self, AnyValue, KeyValue, KeyValueList, Resource, any_value};

    use super::*;

    fn value(value: any_value::Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn resource() -> Vec<u8> {
        use any_value::Value::*;
        let pair = |key: &'static str, value| KeyValue { key: key.into(), value };
        let strings = ["a", "b"].map(|text| value(StringValue(text.into())));
        let list = KeyValueList { values: vec![pair("k", Some(value(BoolValue(false))))] };
        let attributes = vec![
            pair("s", Some(value(StringValue("".into())))),
            pair("i", Some(value(IntValue(-1)))),
            pair("d", Some(value(DoubleValue(0.5)))),
            pair("y", Some(value(BytesValue(vec![0xff].into())))),
            pair("a", Some(value(ArrayValue(otlp::ArrayValue { values: strings.to_vec() })))),
            pair("e", Some(value(ArrayValue(otlp::ArrayValue { values: vec![] })))),
            pair("l", Some(value(KvlistValue(list)))),
            pair("n", Some(AnyValue { value: None })),
            pair("x", None),
        ];
        Resource { attributes, ..Resource::default() }.encode_to_vec()
    }

    #[test]
    fn typed_attributes_show_the_member_that_is_set() {
        let mut json = JsonWriter::default();
        json.begin_object();
        write_attributes(&mut json, &resource(), 1).unwrap();
        json.end_object();
        assert_eq!(
            String::from_utf8(json.finish()).unwrap(),
            concat!(
                r#"{"attributes":[{"key":"s","value":{"stringValue":""}},{"key":"i","value":{"intValue":"-1"}},"#,
                r#"{"key":"d","value":{"doubleValue":0.5}},{"key":"y","value":{"bytesValue":"/w=="}},"#,
                r#"{"key":"a","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}},"#,
                r#"{"key":"e","value":{"arrayValue":{}}},"#,
                r#"{"key":"l","value":{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":false}}]}}},"#,
                r#"{"key":"n","value":{}},{"key":"x"}]}"#
            )
        );
    }

    #[test]
    fn flat_attributes_are_plain_json() {
        let mut json = JsonWriter::default();
        json.begin_object();
        write_flat_attributes(&mut json, &resource(), 1, b"s").unwrap();
        json.end_object();
        assert_eq!(
            String::from_utf8(json.finish()).unwrap(),
            r#"{"i":-1,"d":0.5,"y":"ff","a":["a","b"],"e":[],"l":{"k":false},"n":null,"x":null}"#
        );
    }

    #[test]
    fn key_that_is_there_twice_is_one_member_with_the_last_value() {
        let int = |number| AnyValue { value: Some(any_value::Value::IntValue(number)) };
        let pair = |key: &'static str, value| KeyValue { key: key.into(), value: Some(value) };
        let list = KeyValueList { values: vec![pair("k", int(3)), pair("k", int(4))] };
        let list = AnyValue { value: Some(any_value::Value::KvlistValue(list)) };
        let attributes = vec![
            pair("twice", int(1)),
            pair("l", list),
            pair("once", int(5)),
            pair("twice", int(2)),
        ];
        let resource = Resource { attributes, ..Resource::default() }.encode_to_vec();
        let mut json = JsonWriter::default();
        json.begin_object();
        write_flat_attributes(&mut json, &resource, 1, b"").unwrap();
        json.end_object();
        let text = String::from_utf8(json.finish()).unwrap();
        assert_eq!(text, r#"{"twice":2,"l":{"k":4},"once":5}"#);
    }
}
