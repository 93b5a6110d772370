//! The query APIs of Jaeger and Zipkin: each request becomes one to the query-frontend, and each answer is converted to
//! what their clients expect.
//!
//! They are on the main port, below `/jaeger` and `/zipkin`, and on ports of their own.
#![warn(missing_docs)]

mod call;
mod chunks;
mod indent;
mod jaeger;
mod jaeger_grpc;
mod listeners;
mod not_utf8;
pub mod part;
mod sending;
mod services;
mod zipkin;

#[cfg(test)]
mod tests;

pub use jaeger_grpc::WriteSpans;
