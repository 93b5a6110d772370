//! Parameters of v1, parsed with the error texts of Jaeger.

mod search;
mod values;

pub(super) use search::{Search, json_tags, search};
pub(super) use values::{
    all, boolean, duration, integer, invalid, millis, rfc3339, unable_to_parse,
};
