//! OTLP/JSON: reads traces in the JSON of OTLP into protobuf messages.
//!
//! It differs from the JSON mapping of protobuf: ids are hexadecimal, and enums are written as numbers.
#![warn(missing_docs)]

mod read;

pub use read::{
    JsonError, decode_export_request, outside_strings, read_export_request, read_trace_file,
};
