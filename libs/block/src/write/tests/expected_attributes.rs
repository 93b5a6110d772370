//! Attribute lists as the schema has them.

use super::expected::{Node, list, text};
use super::read_back::Leaf;
use super::samples::{Attributes, Value, encoded};
use crate::write::json::put_any_value;

pub(super) fn attribute_list(is_v5: bool, attributes: &Attributes) -> Node {
    list(is_v5, attributes.iter().map(|(key, value)| attribute(is_v5, key, value)).collect())
}

fn attribute(is_v5: bool, key: &str, value: &Value) -> Node {
    let same_type = |elements: &[Value]| {
        let scalar = |value: &Value| {
            matches!(value, Value::Text(_) | Value::Int(_) | Value::Double(_) | Value::Bool(_))
        };
        elements
            .windows(2)
            .all(|pair| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]))
            && elements.iter().all(scalar)
    };
    let (is_array, elements, unsupported) = match value {
        Value::Array(elements) if same_type(elements) => (true, elements.clone(), false),
        Value::Array(_) | Value::Bytes(_) | Value::Unset => (false, Vec::new(), true),
        scalar => (false, vec![scalar.clone()], false),
    };
    let mut lists: [Vec<Node>; 4] = Default::default();
    for element in elements {
        match element {
            Value::Text(value) => lists[0].push(text(&value)),
            Value::Int(value) => lists[1].push(Node::Leaf(Leaf::Integer(value))),
            Value::Double(value) => lists[2].push(Node::Leaf(Leaf::Double(value.to_bits()))),
            Value::Bool(value) => lists[3].push(Node::Leaf(Leaf::Boolean(value))),
            _ => panic!("no scalar"),
        }
    }
    let [texts, integers, doubles, booleans] = lists.map(|values| list(is_v5, values));
    let json = if unsupported {
        let mut json = Vec::new();
        put_any_value(&mut json, &encoded(value));
        text(&json)
    } else {
        Node::Null
    };
    let is_array = Node::Leaf(Leaf::Boolean(is_array));
    Node::Group(vec![text(key.as_bytes()), is_array, texts, integers, doubles, booleans, json])
}
