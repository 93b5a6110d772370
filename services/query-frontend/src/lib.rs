//! The query-frontend: the public query APIs, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_query` answers queries, and
//! `tactus_jaeger_zipkin_query` serves the query APIs of Jaeger and Zipkin.
#![warn(missing_docs)]

mod from_config;
pub mod part;
