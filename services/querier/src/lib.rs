//! The querier, as a process or as part of one.
//!
//! It reads the configuration and wires the parts together: `tactus_query_jobs` runs the jobs of queries, and takes
//! them from the query-frontends.
#![warn(missing_docs)]

pub mod from_config;
pub mod part;
