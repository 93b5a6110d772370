//! Zipkin's formats of spans (JSON, protobuf and Thrift), and conversions from and to OTLP.
//!
//! ```text
//! body --Format::detect, decode--> bytes of an ExportTraceServiceRequest    what senders post
//! ResourceSpans --spans_from_otlp, write_span--> JSON                       what the query API answers
//! ```
//!
//! A request is decoded span by span, so that damage is found before much is allocated, and text is a slice of the body
//! where the format allows it. Text need not be UTF-8, and is kept as it is. A single invalid span makes the whole
//! request be refused, because the sender cannot be told about a part of it.
#![warn(missing_docs)]

mod decode;
mod error;
mod from_otlp;
mod json;
mod json_attributes;
mod keyed;
mod to_otlp;
mod v1;
pub mod v2;

pub use decode::{Format, MediaType, Version, decode};
use error::check_count;
pub use error::{Error, SpanError};
pub use from_otlp::spans_from_otlp;
pub use to_otlp::DecodeOptions;
pub use v2::write_span;

#[cfg(test)]
mod tests;
