//! Zipkin's formats of spans: JSON, protobuf and Thrift, and the way between them and OTLP.
//!
//! ```text
//! body --Format::detect, decode--> bytes of an ExportTraceServiceRequest    what senders post
//! ResourceSpans --spans_from_otlp, write_spans--> JSON                      what the query API answers
//! ```
//!
//! A request is decoded span by span, so that damage is found before much is allocated, and text is
//! a slice of the body wherever the format allows it. Text is not necessarily UTF-8: it is carried as
//! it came. One span that breaks a rule refuses the request, as the caller cannot be told of one.
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
pub use v2::write_spans;

#[cfg(test)]
mod tests;
