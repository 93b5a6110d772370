//! The metrics generator: series of Prometheus from spans.
//!
//! ```text
//! push -> columns -> processors of the tenant (engine) -> its registry --each interval--> queue on disk -> remote write
//!                                                                     `--when asked-----> page that is scraped
//! ```
//!
//! A collection hands the series of the registry to a [`series::Sink`]: to remote write, or to the page.

mod convert;
pub mod engine;
mod error;
pub mod from_config;
mod generator;
mod instance;
mod metrics;
pub mod page;
pub mod part;
mod pool;
pub mod registry;
pub mod remote_write;
pub mod series;
mod service;
mod shared;

pub use error::Error;
