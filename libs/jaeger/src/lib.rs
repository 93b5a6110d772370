//! Jaeger's formats of spans (Thrift, protobuf and JSON), and conversions from and to OTLP.
#![warn(missing_docs)]

pub mod adjust;
pub mod agent;
#[cfg(test)]
mod damage_tests;
pub mod from_otlp;
pub mod json;
pub mod span;
#[cfg(test)]
mod testing;
pub mod thrift;
pub mod to_otlp;
pub mod zipkincore;
