//! OTLP/JSON: traces of OTLP as JSON, read into the protobuf messages and written from them.
//!
//! It is not the JSON mapping of protobuf: ids are hex, and enums are written as numbers.
#![warn(missing_docs)]

mod read;
#[cfg(test)]
mod round_trip_tests;
mod write;

pub use read::{
    JsonError, decode_export_request, outside_strings, read_export_request, read_trace_file,
};
pub use write::OtlpJson;
