//! Sections: structs whose fields are keys, declared by one macro.

use super::{Field, ProblemKind, Reader, Row};
use crate::yaml::{Key, Node, Value, join};

/// A struct with one key a field.
pub(crate) trait Section: Sized {
    /// Reads one entry; false when neither the section nor its inlined parts have the key.
    fn read_entry(&mut self, key: &str, node: &Node, reader: &mut Reader) -> bool;

    /// All keys with their values, inlined parts included.
    fn show_entries(&self, out: &mut Vec<(String, Value)>);

    /// The manual's rows of all keys.
    fn outline_entries(&self, path: &str, rows: &mut Vec<Row>);
}

impl<T: Section> Field for T {
    fn read(&mut self, node: &Node, reader: &mut Reader) {
        read_section(self, node, reader);
    }

    fn show(&self) -> Value {
        let mut entries = Vec::new();
        self.show_entries(&mut entries);
        Value::Map(entries)
    }

    fn kind() -> String {
        "section".to_owned()
    }

    fn outline(&self, path: &str, _meaning: &'static str, rows: &mut Vec<Row>) {
        self.outline_entries(path, rows);
    }
}

impl<T: Section> Section for Box<T> {
    fn read_entry(&mut self, key: &str, node: &Node, reader: &mut Reader) -> bool {
        T::read_entry(self, key, node, reader)
    }

    fn show_entries(&self, out: &mut Vec<(String, Value)>) {
        T::show_entries(self, out);
    }

    fn outline_entries(&self, path: &str, rows: &mut Vec<Row>) {
        T::outline_entries(self, path, rows);
    }
}

/// Reads all entries of `node` into `section`, noting unknown and repeated keys.
pub(crate) fn read_section<T: Section>(section: &mut T, node: &Node, reader: &mut Reader) {
    // Made for the first key that is unknown: there may be very many.
    let mut keys = None;
    for (key, value) in reader.entries(node, already_set) {
        if section.read_entry(&key.text, value, reader) {
            continue;
        }
        let proper = key.text.replace('-', "_");
        if reader.dashes_allowed() && is_spelled_twice(node, key, &proper) {
            let text = already_set(&Key::new(&proper, key.line), reader.type_name());
            reader.problem(key, text, ProblemKind::Duplicate);
        } else if reader.dashes_allowed() && section.read_entry(&proper, value, reader) {
            let paths = (join(&reader.path, &key.text), join(&reader.path, &proper));
            reader.dashed.push(paths);
        } else {
            let keys = keys.get_or_insert_with(|| keys_of(section));
            reader.unknown(key, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// Whether a mapping has a key with dashes and, as `proper`, without.
fn is_spelled_twice(node: &Node, key: &Key, proper: &str) -> bool {
    let is_own = |(other, _): &(Key, Node)| other.text == proper && !other.merged;
    key.text != proper && !key.merged && node.entries().is_some_and(|all| all.iter().any(is_own))
}

/// The keys that a section may have, in the order of the manual.
fn keys_of<T: Section>(section: &T) -> Vec<String> {
    let mut rows = Vec::new();
    section.outline_entries("section", &mut rows);
    let mut keys: Vec<String> = rows
        .iter()
        .filter_map(|row| row.path.strip_prefix("section.")?.split(['.', '[']).next())
        .map(str::to_owned)
        .collect();
    keys.dedup();
    keys
}

/// The problem of a section's key that stands twice.
pub(crate) fn already_set(key: &Key, type_name: &str) -> String {
    format!("field {} already set in type {type_name}", key.text)
}

/// Declares sections: `name: Type = default, "meaning";` a key. `name as "key"` when the key is no
/// Rust name; a missing default is the type's. `@inline { … }` parts share the parent's keys.
macro_rules! section {
    ($(
        $(#[$attr:meta])*
        $name:ident {
            $( $field:ident $(as $key:literal)? : $ty:ty $(= $default:expr)?, $meaning:literal; )*
            $( @inline {
                $( $part:ident : $part_ty:ty $(= $part_default:expr)?, $part_meaning:literal; )*
            } )?
        }
    )*) => { $(
        $(#[$attr])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( #[doc = $meaning] pub $field: $ty, )*
            $( $( #[doc = $part_meaning] pub $part: $part_ty, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $crate::field::section!(@default $($default)?), )*
                    $( $( $part: $crate::field::section!(@default $($part_default)?), )* )?
                }
            }
        }

        impl $crate::field::Section for $name {
            fn read_entry(
                &mut self,
                key: &str,
                node: &$crate::yaml::Node,
                reader: &mut $crate::field::Reader,
            ) -> bool {
                $( if key == $crate::field::section!(@key $field $($key)?) {
                    reader.entry(key, node, &mut self.$field);
                    return true;
                } )*
                $( $( if self.$part.read_entry(key, node, reader) {
                    return true;
                } )* )?
                false
            }

            fn show_entries(&self, out: &mut Vec<(String, $crate::yaml::Value)>) {
                $( out.push((
                    $crate::field::section!(@key $field $($key)?).to_owned(),
                    $crate::field::Field::show(&self.$field),
                )); )*
                $( $( self.$part.show_entries(out); )* )?
            }

            fn outline_entries(&self, path: &str, rows: &mut Vec<$crate::field::Row>) {
                $( $crate::field::Field::outline(
                    &self.$field,
                    &$crate::yaml::join(path, $crate::field::section!(@key $field $($key)?)),
                    $meaning,
                    rows,
                ); )*
                $( $( self.$part.outline_entries(path, rows); )* )?
            }
        }
    )* };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

pub(crate) use section;
