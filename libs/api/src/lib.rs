//! The public query API as a client sees it: parameters in, JSON or protobuf out, errors as texts.
//!
//! - [`request`] parses and checks parameters, and [`job`] compiles requests between services.
//! - [`trace`] and [`search`] combine partial answers; [`metrics`] has the messages of series.
//! - [`live_tail`] has the parameters of a live tail, for both ends.
//! - [`explain`] explains how a query was run.
//! - [`json`] writes the messages of `tempopb` by the protobuf-JSON rules that clients rely on: names and their order,
//!   64-bit numbers as strings, zero values left out.
//!
//! Nothing here does I/O, or knows where an answer comes from.
#![warn(missing_docs)]

mod error;
pub mod explain;
pub mod job;
pub mod json;
pub mod live_tail;
mod logfmt;
pub mod metrics;
mod query_string;
pub mod request;
pub mod search;
pub mod trace;
pub mod trace_job;
mod window;

pub use error::{Error, Result};
pub(crate) use logfmt::parse_logfmt;
pub use query_string::QueryParams;
pub use request::Encoding;
pub use window::{RequestedRange, Window, WindowRules};
