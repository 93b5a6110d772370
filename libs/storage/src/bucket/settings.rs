//! Where the bucket is and how to talk to it.

mod azure;
mod gcs;
mod http;
mod s3;

use std::path::PathBuf;

pub use azure::{AzureCredentials, AzureSettings};
pub use gcs::GcsSettings;
pub use http::{DEFAULT_PART_BYTES, HttpSettings, MIN_PART_BYTES, RetrySettings};
pub use s3::{Addressing, S3Encryption, S3Settings};

/// Which store, and its settings.
#[derive(Debug, Clone)]
pub enum BucketSettings {
    /// A directory; created when missing.
    Local {
        /// The root; keys are paths below it.
        path: PathBuf,
    },
    /// S3 or something that speaks its protocol.
    S3(Box<S3Settings>),
    /// Google Cloud Storage.
    Gcs(Box<GcsSettings>),
    /// Azure Blob Storage.
    Azure(Box<AzureSettings>),
}
