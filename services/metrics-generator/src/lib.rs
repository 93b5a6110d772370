//! The metrics generator: series of Prometheus from spans.
//!
//! Spans of a tenant go through its processors ([`engine`]), which count into the tenant's [`registry`]; a collection hands
//! the series of the registry to a [`series::Sink`]: to remote write, or to the page that is scraped.

pub mod engine;
pub mod page;
pub mod registry;
pub mod remote_write;
pub mod series;
