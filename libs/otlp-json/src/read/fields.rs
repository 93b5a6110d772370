//! The frame of the decoder: a value is read *into* a target, so that repeated keys append to
//! lists, merge messages and replace scalars.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Something that can be filled from a JSON value.
pub(super) trait Field {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error>;
}

/// A message: filled member by member. `null` leaves it as it is.
pub(super) trait Object: Default {
    /// What an error calls it.
    const EXPECTED: &'static str;

    /// Reads the value of `key`, or skips it if the key is unknown.
    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// The seed that reads into a field.
pub(super) struct Into<'t, T>(pub(super) &'t mut T);

impl<'de, T: Field> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.read(json)
    }
}

/// Reads the next value of `map` into `target`; errors name the field.
pub(super) fn value<'de, A: MapAccess<'de>, T: Field>(
    map: &mut A,
    name: &'static str,
    target: &mut T,
) -> Result<(), A::Error> {
    map.next_value_seed(Into(target)).map_err(|error| in_field(name, &error))
}

/// Skips the next value.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Puts a field in front of the path that an error names. The position stays at the end of the
/// text, where `serde_json` finds it again.
fn in_field<E: Error>(name: &str, error: &impl fmt::Display) -> E {
    let text = error.to_string();
    let separator = match text.split_once(": ") {
        // The text starts with the path of an inner field.
        Some((path, _)) if !path.contains(' ') => {
            if path.starts_with('[') {
                ""
            } else {
                "."
            }
        }
        _ => ": ",
    };
    E::custom(format_args!("{name}{separator}{text}"))
}

impl<T: Object> Field for T {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(ObjectVisitor(self))
    }
}

struct ObjectVisitor<'t, T>(&'t mut T);

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            self.0.member(&key, &mut map)?;
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'de>(Cow<'de, str>);

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Key<'de>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

/// A message that may be absent; a repeated one is merged.
impl<T: Object> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(ObjectVisitor(self.get_or_insert_default()))
    }
}

/// A list of messages; a repeated one is appended.
impl<T: Object> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(ListVisitor(self))
    }
}

struct ListVisitor<'t, T>(&'t mut Vec<T>);

impl<'de, T: Object> Visitor<'de> for ListVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let mut item = T::default();
            let next = list.next_element_seed(Into(&mut item));
            match next.map_err(|error| in_field(&format!("[{index}]"), &error))? {
                Some(()) => self.0.push(item),
                None => break,
            }
        }
        Ok(())
    }
}
