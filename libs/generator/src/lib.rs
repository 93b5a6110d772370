//! The metrics generator: computes Prometheus series from spans.
//!
//! ```text
//! push -> columns -> processors of the tenant (engine) -> its registry --each interval--> remote write (libs/remote-write)
//!                                                                     `--when asked-----> page that is scraped
//! ```
//!
//! A collection passes the series of the registry to a [`tactus_remote_write::series::Sink`]: to remote write, or to
//! the page.
#![warn(missing_docs)]

mod convert;
pub mod engine;
mod error;
mod generator;
mod instance;
mod memory;
mod metrics;
mod page;
mod registry;
mod service;
mod shared;

pub use error::Error;
pub use generator::Generator;
pub use memory::SeriesMemory;
pub use service::Service;
pub use shared::Panicked;
