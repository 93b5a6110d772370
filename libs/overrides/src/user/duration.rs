//! Durations in JSON: text in Go's grammar, or nanoseconds.

use std::fmt;

use serde::{Deserializer, Serializer, de::Error, de::Visitor};
use tactus_config::{GoDuration, parse_go};

/// Reads the value directly and not from a copy, so that an error has its position.
struct DurationVisitor;

pub(super) fn serialize<S: Serializer>(
    duration: &Option<GoDuration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.collect_str(duration),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<GoDuration>, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

impl Visitor<'_> for DurationVisitor {
    type Value = Option<GoDuration>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration such as \"30s\", or nanoseconds")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        parse_go(text).map(Some).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, nanos: i64) -> Result<Self::Value, E> {
        Ok(Some(GoDuration(nanos)))
    }

    fn visit_u64<E: Error>(self, nanos: u64) -> Result<Self::Value, E> {
        let too_long = |_| E::custom(format!("{nanos} nanoseconds are too long a duration"));
        i64::try_from(nanos).map(|nanos| Some(GoDuration(nanos))).map_err(too_long)
    }
}
