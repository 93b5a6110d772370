//! The query-frontend: the public query APIs, as a process or as part of one.
//!
//! It reads the configuration and wires: `tactus_query` answers queries, `tactus_jaeger_zipkin_query` those of Jaeger and Zipkin.
#![warn(missing_docs)]

mod from_config;
pub mod part;
