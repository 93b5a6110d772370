//! The settings of a bucket: where it is, and how to reach it.

use std::path::PathBuf;

use tactus_config::sections::object_store::{Azure, Gcs, S3};

/// Which store, and its section of the configuration.
#[derive(Debug, Clone)]
pub enum BucketSettings {
    /// A directory; created when missing.
    Local {
        /// The root; keys are paths below it.
        path: PathBuf,
    },
    /// S3 or something that speaks its protocol.
    S3(Box<S3>),
    /// Google Cloud Storage.
    Gcs(Box<Gcs>),
    /// Azure Blob Storage.
    Azure(Box<Azure>),
}
