//! The basis of the decoder. A value is read *into* a target, so that repeated keys append to lists, merge messages and
//! replace scalars.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::cut_before_position;

/// Most elements of all lists of one span, resource or scope. They are decoded into messages, the smallest of which
/// takes three bytes of text and a hundred bytes of memory.
const MAX_ELEMENTS: usize = 1 << 16;

/// How many more elements there may be in memory.
#[derive(Debug)]
pub(super) struct Room(Cell<usize>);

impl Default for Room {
    fn default() -> Self {
        Self(Cell::new(MAX_ELEMENTS))
    }
}

impl Room {
    /// Counts an element of a list.
    pub(super) fn take<E: Error>(&self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| {
            E::custom(format_args!("more than {MAX_ELEMENTS} elements in one span or resource"))
        })?);
        Ok(())
    }
}

/// Something that can be filled from a JSON value.
pub(super) trait Field {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error>;
}

/// A message, which is filled member by member. `null` does not change it.
pub(super) trait Object: Default {
    /// What an error calls it.
    const EXPECTED: &'static str;

    /// Reads the value of `key`, or skips it if the key is unknown.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        room: &Room,
    ) -> Result<(), A::Error>;
}

/// The seed that reads into a field.
pub(super) struct Into<'t, T>(pub(super) &'t mut T, pub(super) &'t Room);

impl<'de, T: Field> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.read(json, self.1)
    }
}

/// Reads the next value of `map` into `target`; errors name the field.
pub(super) fn value<'de, A: MapAccess<'de>, T: Field>(
    map: &mut A,
    name: &'static str,
    target: &mut T,
    room: &Room,
) -> Result<(), A::Error> {
    map.next_value_seed(Into(target, room)).map_err(|error| in_field(name, &error))
}

/// As [`value`], but `null` leaves the target as it is. Tells whether there was a value.
pub(super) fn value_or_null<'de, A: MapAccess<'de>, T: Field>(
    map: &mut A,
    name: &'static str,
    target: &mut T,
    room: &Room,
) -> Result<bool, A::Error> {
    let mut nullable = Nullable { target, is_read: false };
    value(map, name, &mut nullable, room)?;
    Ok(nullable.is_read)
}

struct Nullable<'t, T> {
    target: &'t mut T,
    is_read: bool,
}

impl<T: Field> Field for Nullable<'_, T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error> {
        self.is_read = json.deserialize_option(NullableVisitor(self.target, room))?;
        Ok(())
    }
}

struct NullableVisitor<'t, T>(&'t mut T, &'t Room);

impl<'de, T: Field> Visitor<'de> for NullableVisitor<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        self.0.read(json, self.1).map(|()| true)
    }
}

/// Skips the next value.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Prepends a field to the path that an error names. The position stays at the end of the text, where `serde_json`
/// finds it again.
fn in_field<E: Error>(name: &str, error: &impl fmt::Display) -> E {
    let text = cut_before_position(error.to_string());
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
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error> {
        json.deserialize_any(ObjectVisitor(self, room))
    }
}

struct ObjectVisitor<'t, T>(&'t mut T, &'t Room);

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
            self.0.member(&key, &mut map, self.1)?;
        }
        Ok(())
    }
}

/// An element of a list. Like any object, except that `null` is not allowed.
struct Element<'t, T>(ObjectVisitor<'t, T>);

impl<'de, T: Object> DeserializeSeed<'de> for Element<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for Element<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Err(E::invalid_type(Unexpected::Unit, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.visit_map(map)
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

/// A message that may be absent. If it occurs again, it is merged.
impl<T: Object> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error> {
        json.deserialize_any(ObjectVisitor(self.get_or_insert_default(), room))
    }
}

/// A list of messages; a repeated one is appended.
impl<T: Object> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error> {
        read_list(json, Some(room), |item| self.push(item))
    }
}

/// Reads a list of messages and passes them on one by one. `room`: counts them; `None`: each counts by itself, because
/// it is gone before the next is read.
pub(super) fn read_list<'de, T: Object, D: Deserializer<'de>>(
    json: D,
    room: Option<&Room>,
    take: impl FnMut(T),
) -> Result<(), D::Error> {
    json.deserialize_any(ListVisitor { room, take, item: PhantomData })
}

struct ListVisitor<'r, T, F> {
    room: Option<&'r Room>,
    take: F,
    item: PhantomData<T>,
}

impl<'de, T: Object, F: FnMut(T)> Visitor<'de> for ListVisitor<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let mut item = T::default();
            let own = Room::default();
            let next = match self.room {
                Some(room) => room
                    .take()
                    .and_then(|()| list.next_element_seed(Element(ObjectVisitor(&mut item, room)))),
                None => list.next_element_seed(Element(ObjectVisitor(&mut item, &own))),
            };
            match next.map_err(|error| in_field(&format!("[{index}]"), &error))? {
                Some(()) => (self.take)(item),
                None => break,
            }
        }
        Ok(())
    }
}
