//! Remote sampling: what clients are told to sample.
//!
//! [`Strategies`] answers for a service of a tenant, from one of
//!
//! - [`StrategyFile`]: a file or a URL, read again when it changes. A tenant may have a file of its own.
//! - [`Adaptive`]: so that each operation sends about as many sampled traces a second as it should. Needs the bucket, where
//!   the distributors put together what each of them counted.
//! - nothing: the default probability.
//!
//! It knows no ports: requests and their tenants are the distributor's.
#![warn(missing_docs)]

pub mod adaptive;
mod document;
mod file;
mod json;
mod metrics;
mod strategies;
mod strategy_set;

pub use adaptive::{Adaptive, IsLeader, SampledSpan, SamplerKind};
pub use document::{DocumentError, parse_document};
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
    /// The bucket.
    #[error("object storage")]
    Storage(#[from] tactus_storage::Error),
    /// What lies in the bucket is not what belongs there.
    #[error("{key}: {reason}")]
    Damaged {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}
