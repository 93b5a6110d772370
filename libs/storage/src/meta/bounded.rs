//! A JSON value that is dropped if it has too many parts, because in memory a value with many empty strings takes ten
//! times its text.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Parts of a value: elements, and keys of objects. The lists of a block that many pushes went into have some ten thousand.
const MAX_PARTS: u32 = 256 << 10;

/// Reads a value; `None` if it has too many parts.
pub(super) struct BoundedValue {
    parts_left: Cell<u32>,
}

impl BoundedValue {
    pub(super) fn new() -> Self {
        Self { parts_left: Cell::new(MAX_PARTS) }
    }
}

impl<'de> DeserializeSeed<'de> for BoundedValue {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        let value = Part(&self.parts_left).deserialize(deserializer)?;
        Ok((self.parts_left.get() > 0).then_some(value))
    }
}

struct Part<'a>(&'a Cell<u32>);

impl Part<'_> {
    /// True if there is room for another one.
    fn count(&self) -> bool {
        self.0.set(self.0.get().saturating_sub(1));
        self.0.get() > 0
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while self.count() {
            match list.next_element_seed(Part(self.0))? {
                Some(value) => values.push(value),
                None => return Ok(values.into()),
            }
        }
        drop(values);
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while self.count() {
            match map.next_key::<String>()? {
                Some(key) => drop(values.insert(key, map.next_value_seed(Part(self.0))?)),
                None => return Ok(values.into()),
            }
        }
        drop(values);
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Value> {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = BoundedValue::new().deserialize(&mut json).unwrap();
        json.end().unwrap();
        value
    }

    #[test]
    fn value_is_what_was_written() {
        for text in [
            "null",
            "true",
            "-7",
            "18446744073709551615",
            "0.5",
            r#""a\"b""#,
            r#"[[],[1,"x",null],{}]"#,
            r#"{"a":{"b":[{}]},"c":""}"#,
        ] {
            assert_eq!(read(text), Some(serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn value_of_too_many_parts_is_read_over() {
        let many = |part: &str| vec![part; MAX_PARTS as usize].join(",");
        for text in [
            format!("[{}]", many(r#""""#)),
            format!("[[{}],1]", many("{}")),
            format!("{{{}}}", many(r#""a":1"#)),
            format!(r#"{{"a":[{}],"b":[{{"c":1}}]}}"#, many("[]")),
        ] {
            assert_eq!(read(&text), None);
        }
        let fits = vec!["1"; MAX_PARTS as usize - 2].join(",");
        assert!(read(&format!("[{fits}]")).is_some());
    }
}
