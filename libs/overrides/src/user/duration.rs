//! Durations in JSON: text in Go's grammar, or nanoseconds.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use tactus_config::{GoDuration, parse_go};

#[derive(Deserialize)]
#[serde(untagged, expecting = "a duration such as \"30s\", or nanoseconds")]
enum Spelled {
    Text(String),
    Nanoseconds(i64),
}

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
    match Option::<Spelled>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Spelled::Nanoseconds(nanos)) => Ok(Some(GoDuration(nanos))),
        Some(Spelled::Text(text)) => parse_go(&text).map(Some).map_err(D::Error::custom),
    }
}
