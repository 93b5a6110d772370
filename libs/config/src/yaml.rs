//! YAML text to a tree that remembers line numbers, and back.
//!
//! The tree keeps scalars as written: whether `017` is a number, a text or an error is decided by
//! the field that reads it. That is how Go's YAML reader works, and it is the reason why this is
//! not serde: serde sees values before it knows what the field wants, forgets lines, and stops at
//! the first error. The parser crate is named in this file only.

mod compose;
mod emit;
mod lenient;
mod scalar;

pub use compose::parse_alone;
pub(crate) use compose::{has_second_document, parse};
pub use emit::emit;
pub(crate) use emit::inline;
pub(crate) use scalar::{Resolved, parse_int, resolve};

/// What to say of a file with [`has_second_document`].
pub(crate) const SECOND_DOCUMENT: &str =
    "the file has a second document, after a line ---: only the first is read";

/// A text that is not YAML; lines and columns count from one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {line}: {cause}")]
pub struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) column: Option<usize>,
    pub(crate) cause: String,
}

impl SyntaxError {
    pub(crate) fn new(line: usize, cause: &str) -> Self {
        Self { line, column: None, cause: cause.to_owned() }
    }

    /// Where in the text, without a word of it: `line 3, column 7`.
    pub fn place(&self) -> String {
        match self.column {
            Some(column) => format!("line {}, column {column}", self.line),
            None => format!("line {}", self.line),
        }
    }
}

/// The first document of a text, as values: plain scalars as YAML 1.1 has them, numbers as they are written.
///
/// Errors: the text is not YAML; the message names the line.
pub fn read(text: &str) -> Result<Value, String> {
    parse(text).map(|node| node.to_value()).map_err(|error| error.to_string())
}

/// One node of a document with the line it starts on (0 for nodes that no text stands behind).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub(crate) line: usize,
    pub(crate) content: Content,
}

/// What a node holds. Mappings keep duplicates: only the reader knows how to name them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A scalar as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Neither quoted nor tagged as a string: may be a number, a boolean or null.
    pub(crate) plain: bool,
    /// What stands in the file, where variables made the text.
    pub(crate) written: Option<String>,
}

impl Scalar {
    pub(crate) fn new(text: &str, plain: bool) -> Self {
        Self { text: text.to_owned(), plain, written: None }
    }
}

/// A mapping key; keys are always read as text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Came in by `<<`, so an explicit key of the same name is no duplicate.
    pub(crate) merged: bool,
}

/// For those who read a file of their own by hand.
impl Node {
    /// The line on which it starts, from one.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The keys and values of a mapping, in order, keys that stand twice twice; `None` of anything else.
    pub fn pairs(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Node)>> {
        Some(self.entries()?.iter().map(|(key, node)| (key.text.as_str(), node)))
    }

    /// The values of a list; `None` of anything else.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(items) => Some(items),
            Content::Scalar(_) | Content::Map(_) => None,
        }
    }

    /// A scalar as it is written, also one that could be a number; `None` of anything else and of null.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(scalar) if !self.is_null() => Some(&scalar.text),
            _ => None,
        }
    }

    /// True for `~`, `null` or nothing.
    pub fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if resolve(scalar) == Resolved::Null)
    }
}

impl Node {
    /// A scalar that did not come from a file.
    pub(crate) fn scalar(text: &str, plain: bool) -> Self {
        Self { line: 0, content: Content::Scalar(Scalar::new(text, plain)) }
    }

    /// A mapping that did not come from a file.
    pub(crate) fn map(line: usize, entries: Vec<(Key, Node)>) -> Self {
        Self { line, content: Content::Map(entries) }
    }

    /// The tree as it can be written again: numbers and variables as they stand in the file.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::List(items) => Value::List(items.iter().map(Node::to_value).collect()),
            Content::Map(entries) => {
                let value = |(key, node): &(Key, Node)| (key.text.clone(), node.to_value());
                Value::Map(entries.iter().map(value).collect())
            }
            Content::Scalar(scalar) => scalar_value(scalar),
        }
    }

    /// The entries of a mapping, else nothing.
    pub(crate) fn entries(&self) -> Option<&Vec<(Key, Node)>> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// The entries of a mapping, else nothing.
    pub(crate) fn entries_mut(&mut self) -> Option<&mut Vec<(Key, Node)>> {
        match &mut self.content {
            Content::Map(entries) => Some(entries),
            Content::Scalar(_) | Content::List(_) => None,
        }
    }

    /// The value of `key` if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }

    /// The value of `key` if this is a mapping that has it.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries_mut()?.iter_mut().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }
}

impl Key {
    /// A key that did not come from a file.
    pub(crate) fn new(text: &str, line: usize) -> Self {
        Self { text: text.to_owned(), line, merged: false }
    }
}

fn scalar_value(scalar: &Scalar) -> Value {
    match (&scalar.written, scalar.plain) {
        (Some(written), true) => Value::Verbatim(written.clone()),
        // Without the quotes a number in the variable would become one.
        (Some(written), false) => Value::Verbatim(emit::quoted(written)),
        (None, _) => match resolve(scalar) {
            Resolved::Null => Value::Null,
            Resolved::Bool(flag) if scalar.text == flag.to_string() => Value::Bool(flag),
            // Where a text is wanted, `no` is one.
            Resolved::Bool(_) | Resolved::Int(_) | Resolved::Float(_) => {
                Value::Verbatim(scalar.text.clone())
            }
            Resolved::Text => Value::Text(scalar.text.clone()),
        },
    }
}

/// A value of a document, for those who write one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A text, quoted where it needs quotes.
    Text(String),
    /// YAML for one value on one line, written as it is: a number as it stood in a file.
    Verbatim(String),
    /// A list.
    List(Vec<Value>),
    /// A mapping, in order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// With booleans in place of plain words such as `yes`, as Helm reads a file before a template sees its values.
    pub fn with_flags(self) -> Self {
        match self {
            Value::Verbatim(text) => match scalar::flag_of(&text) {
                Some(flag) => Value::Bool(flag),
                None => Value::Verbatim(text),
            },
            Value::List(items) => Value::List(items.into_iter().map(Self::with_flags).collect()),
            Value::Map(entries) => {
                let with_flags = |(key, value): (String, Self)| (key, value.with_flags());
                Value::Map(entries.into_iter().map(with_flags).collect())
            }
            other => other,
        }
    }

    /// What of `self` is not equal to `base`; mappings are compared key by key, all else whole.
    pub(crate) fn difference(&self, base: &Value) -> Option<Value> {
        let (Value::Map(ours), Value::Map(theirs)) = (self, base) else {
            return (self != base).then(|| self.clone());
        };
        let changed: Vec<_> = ours
            .iter()
            .filter_map(|(key, value)| {
                let before = theirs.iter().find(|(name, _)| name == key);
                let change = match before {
                    Some((_, before)) => value.difference(before),
                    None => Some(value.clone()),
                };
                change.map(|change| (key.clone(), change))
            })
            .collect();
        (!changed.is_empty() || ours.is_empty() != theirs.is_empty()).then_some(Value::Map(changed))
    }

    /// Calls `visit` with the dotted path of every leaf below; lists and empty mappings are leaves.
    pub(crate) fn leaves(&self, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        match self {
            Value::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    value.leaves(&join(path, key), visit);
                }
            }
            leaf => visit(path, leaf),
        }
    }
}

/// `path.key`, or `key` at the root.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests;
