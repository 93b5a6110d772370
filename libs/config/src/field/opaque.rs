//! Values that we keep but do not show or do not look into.

use super::{Field, MASK, Reader, resolved};
use crate::yaml::{Content, Node, Resolved, Value};
use std::fmt;

/// A text that no log, debug output or status page shows. Empty means not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: hand it to the part that needs it and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when no secret was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_empty() { "Secret(unset)" } else { "Secret(set)" })
    }
}

impl Field for Secret {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        match &node.content {
            Content::Scalar(scalar) => scalar.text.clone_into(&mut self.0),
            Content::List(_) | Content::Map(_) => reader.mismatch(node, "string"),
        }
    }

    fn show(&self) -> Value {
        Value::Text(if self.is_empty() { String::new() } else { MASK.to_owned() })
    }

    fn kind() -> String {
        "secret".to_owned()
    }
}

/// A part of the configuration that is accepted in any shape because nothing here uses it. It is
/// shown with every text masked, since it may hold credentials.
#[derive(Clone, Default, PartialEq)]
pub struct Opaque(Option<Node>);

impl Opaque {
    /// True if there is something, null apart.
    pub(crate) fn is_set(&self) -> bool {
        self.show() != Value::Null
    }
}

impl fmt::Debug for Opaque {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_some() { "Opaque(set)" } else { "Opaque(unset)" })
    }
}

impl Field for Opaque {
    fn read(&mut self, node: &Node, _reader: &mut Reader) {
        self.0 = Some(node.clone());
    }

    fn show(&self) -> Value {
        self.0.as_ref().map_or(Value::Null, show_node)
    }

    fn kind() -> String {
        "any".to_owned()
    }
}

fn show_node(node: &Node) -> Value {
    match &node.content {
        Content::List(items) => Value::List(items.iter().map(show_node).collect()),
        Content::Map(entries) => Value::Map(
            entries.iter().map(|(key, node)| (key.text.clone(), show_node(node))).collect(),
        ),
        Content::Scalar(_) => match resolved(node) {
            Some(Resolved::Null) | None => Value::Null,
            Some(Resolved::Bool(flag)) => Value::Bool(flag),
            Some(Resolved::Int(_) | Resolved::Float(_) | Resolved::Text) => {
                Value::Text(MASK.to_owned())
            }
        },
    }
}
