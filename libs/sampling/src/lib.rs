//! Remote sampling: which traces clients are told to sample.
//!
//! [`Strategies`] answers for a service of a tenant, from one of these sources:
//!
//! - [`StrategyFile`]: a file or a URL that is reloaded when it changes. A tenant may have a file of its own.
//! - [`Adaptive`]: probabilities by which each operation sends about a target number of sampled traces per second. It needs the
//!   bucket, where the distributors combine their counts.
//! - none: the default probability.
//!
//! This crate knows no ports. Requests and their tenants belong to the distributor.
#![warn(missing_docs)]

mod adaptive;
mod document;
mod file;
mod json;
mod metrics;
mod strategies;
mod strategy_set;

pub use adaptive::{Adaptive, IsLeader, SampledSpan, SamplerKind};
pub use file::StrategyFile;
pub use json::{EnumForm, to_json};
pub use metrics::Metrics;
pub use strategies::{Provider, Strategies, StrategiesFileOf};
pub use strategy_set::StrategySet;
pub use tactus_proto::jaeger::api_v2::SamplingStrategyResponse as Strategy;

/// Why sampling cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file of strategies is missing or refused.
    #[error("sampling.file.path {path}: {reason}")]
    File {
        /// The file as configured.
        path: String,
        /// What is wrong, and at which field.
        reason: String,
    },
    /// The bucket could not be read or written.
    #[error("object storage")]
    Storage(#[from] tactus_storage::Error),
    /// The bucket did not answer before the interval ended.
    #[error("no answer before the interval ended (sampling.adaptive.calculation_interval)")]
    TooLate,
    /// An object in the bucket does not have the expected content.
    #[error("{key}: {reason}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}
