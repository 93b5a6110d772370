//! Attribute values as the file stores them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tactus_model::any_value::{
    AnyValueRef, DecodedValue, array_elements, decode, encode, key_values,
};
use tactus_model::{AttributeList, SpanBatch, ValueType};

use super::{Node, list};

/// The attributes of one owner that have no column yet.
pub(super) struct Attributes<'b> {
    left: Vec<(&'b [u8], ValueType, AnyValueRef<'b>)>,
}

/// All attributes of an owner.
pub(super) fn split<'b>(
    batch: &'b SpanBatch,
    list: &AttributeList,
    owner: usize,
) -> Attributes<'b> {
    let left = list.of(owner).map(|attribute| {
        let key = batch.strings.get(attribute.key);
        (key, attribute.value_type, attribute.value(&batch.strings))
    });
    Attributes { left: left.collect() }
}

impl Attributes<'_> {
    /// Takes the value of a key if it has this type.
    pub(super) fn take(&mut self, key: &str, value_type: ValueType) -> Option<Node> {
        let wanted = |&(found, its_type, _): &(&[u8], _, _)| {
            found == key.as_bytes() && its_type == value_type
        };
        let place = self.left.iter().position(wanted)?;
        match self.left.remove(place).2 {
            AnyValueRef::String(text) => Some(Node::Bytes(text.to_vec())),
            AnyValueRef::Int(number) => Some(Node::Word(number)),
            _ => None,
        }
    }

    pub(super) fn take_string(&mut self, key: &str) -> Option<Node> {
        self.take(key, ValueType::String)
    }

    /// The list of those that are left.
    pub(super) fn generic(self) -> Node {
        let pairs = self.left.into_iter().map(|(key, _, value)| {
            let mut fields = vec![Node::Bytes(key.to_vec())];
            fields.extend((0..6).map(|_| Node::Null));
            let (place, node) = match value {
                AnyValueRef::Unset => return Node::Many(fields),
                AnyValueRef::String(text) => (1, Node::Bytes(text.to_vec())),
                AnyValueRef::Int(number) => (2, Node::Word(number)),
                AnyValueRef::Double(number) => (3, Node::Double(number)),
                AnyValueRef::Bool(flag) => (4, Node::Bool(flag)),
                AnyValueRef::Encoded(message) => match decode(message).unwrap() {
                    DecodedValue::KeyValues(_) => (5, Node::Bytes(stored_json(value).into())),
                    DecodedValue::Array(_) => (6, Node::Bytes(stored_json(value).into())),
                    // Bytes have no column.
                    _ => return Node::Many(fields),
                },
            };
            fields[place] = node;
            Node::Many(fields)
        });
        list(pairs.collect())
    }
}

/// The AnyValue message of a value.
pub(super) fn message_of(value: AnyValueRef<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    encode(&mut message, value);
    message
}

/// A value as protobuf JSON of an AnyValue.
pub(super) fn stored_json(value: AnyValueRef<'_>) -> String {
    as_json(decode(&message_of(value)).unwrap()).to_string()
}

fn as_json(value: DecodedValue<'_>) -> Value {
    match value {
        DecodedValue::Unset => json!({}),
        DecodedValue::String(text) => json!({ "stringValue": String::from_utf8_lossy(text) }),
        DecodedValue::Bool(flag) => json!({ "boolValue": flag }),
        DecodedValue::Int(number) => json!({ "intValue": number.to_string() }),
        DecodedValue::Double(number) => json!({ "doubleValue": number }),
        DecodedValue::Bytes(bytes) => json!({ "bytesValue": STANDARD.encode(bytes) }),
        DecodedValue::Array(elements) => {
            let elements = array_elements(elements).map(|element| as_json(element.unwrap()));
            json!({ "arrayValue": { "values": elements.collect::<Vec<_>>() } })
        }
        DecodedValue::KeyValues(pairs) => {
            let pairs = key_values(pairs).map(|pair| {
                let (key, value) = pair.unwrap();
                json!({ "key": String::from_utf8_lossy(key), "value": as_json(value) })
            });
            json!({ "kvlistValue": { "values": pairs.collect::<Vec<_>>() } })
        }
    }
}
