//! Lenient JSON: keys in any case, unknown keys, nulls.

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};

/// Parses one JSON document; `Error::Corrupt` with the byte of the line otherwise.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt("json of block meta", error.column() as u64))
}

/// An object whose keys may have any case. Its fields are set one by one.
pub(crate) trait LenientObject: Sized {
    const NAME: &'static str;

    fn empty() -> Self;

    /// Takes the value of `key` (in lower case), or returns false and leaves it untaken.
    fn set<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;

    fn deserialize_lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LenientVisitor(PhantomData))
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: LenientObject> Visitor<'de> for LenientVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::empty();
        while let Some(mut key) = map.next_key::<String>()? {
            key.make_ascii_lowercase();
            if !object.set(&key, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(object)
    }
}

/// The next value; null leaves the field as it was.
pub(crate) fn take<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &mut T,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *field = value;
    }
    Ok(())
}

pub(crate) fn take_time<'de, A: MapAccess<'de>>(
    field: &mut Timestamp,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(text) = map.next_value::<Option<String>>()? {
        *field = text.parse().map_err(de::Error::custom)?;
    }
    Ok(())
}
