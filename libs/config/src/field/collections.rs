//! Lists, maps and optional fields.

use super::{Field, Reader, Row};
use crate::yaml::{Content, Node, Value, join};
use std::collections::BTreeMap;

/// A list; of texts also one comma separated text. The list replaces the default as a whole.
impl<T: Field + Default> Field for Vec<T> {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        match &node.content {
            Content::List(items) => {
                *self = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let mut value = T::default();
                        reader.entry(&index.to_string(), item, &mut value);
                        value
                    })
                    .collect();
            }
            Content::Scalar(scalar) => match T::split(&scalar.text) {
                Some(items) => *self = items,
                None => reader.mismatch(node, &Self::kind()),
            },
            Content::Map(_) => reader.mismatch(node, &Self::kind()),
        }
    }

    fn show(&self) -> Value {
        Value::List(self.iter().map(Field::show).collect())
    }

    fn kind() -> String {
        format!("list of {}", T::kind())
    }

    fn outline(&self, path: &str, meaning: &'static str, rows: &mut Vec<Row>) {
        let default = crate::yaml::inline(&self.show());
        rows.push(Row { path: path.to_owned(), kind: Self::kind(), default, meaning });
        outline_items::<T>(&format!("{path}[]"), rows);
    }
}

/// A map; keys are text. Entries of the file are added to the default's.
impl<T: Field + Default> Field for BTreeMap<String, T> {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        for (key, value) in
            reader.entries(node, |key, _| format!("key {:?} already set in map", key.text))
        {
            let mut item = T::default();
            reader.entry(&key.text, value, &mut item);
            self.insert(key.text.clone(), item);
        }
    }

    fn show(&self) -> Value {
        Value::Map(self.iter().map(|(key, value)| (key.clone(), value.show())).collect())
    }

    fn kind() -> String {
        format!("map of {}", T::kind())
    }

    fn outline(&self, path: &str, meaning: &'static str, rows: &mut Vec<Row>) {
        let default = crate::yaml::inline(&self.show());
        rows.push(Row { path: path.to_owned(), kind: Self::kind(), default, meaning });
        outline_items::<T>(&join(path, "<name>"), rows);
    }
}

/// A field that can be absent; a value is read over the type's default.
impl<T: Field + Default> Field for Option<T> {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        self.get_or_insert_with(T::default).read(node, reader);
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Field::show)
    }

    fn kind() -> String {
        format!("optional {}", T::kind())
    }

    fn outline(&self, path: &str, meaning: &'static str, rows: &mut Vec<Row>) {
        let default = crate::yaml::inline(&self.show());
        rows.push(Row { path: path.to_owned(), kind: Self::kind(), default, meaning });
        outline_items::<T>(path, rows);
    }
}

/// Rows for the keys of an item, if an item has keys.
fn outline_items<T: Field + Default>(path: &str, rows: &mut Vec<Row>) {
    let before = rows.len();
    T::default().outline(path, "", rows);
    if rows.get(before).is_some_and(|row| row.path == path) {
        rows.remove(before);
    }
}
