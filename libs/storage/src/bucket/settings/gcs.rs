//! A bucket of Google Cloud Storage.

use std::collections::BTreeMap;

use super::http::{HttpSettings, RetrySettings};
use crate::error::{Error, Result};

/// Settings of a bucket of Google Cloud Storage. Credentials are found by Google's rules: the file
/// of `GOOGLE_APPLICATION_CREDENTIALS`, that of `gcloud`, the machine's service account.
#[derive(Debug, Clone, PartialEq)]
pub struct GcsSettings {
    /// Bucket name; required.
    pub bucket: String,
    /// Put in front of every key; slashes at its ends do not matter.
    pub prefix: String,
    /// Other endpoint than Google's, with or without a scheme; a path such as `/storage/v1/` is
    /// ignored. Empty: `STORAGE_EMULATOR_HOST` if that is set.
    pub endpoint: String,
    /// No credentials; plain HTTP, or HTTPS with any certificate where `endpoint` says so.
    pub insecure: bool,
    /// Part size of uploads, in bytes; at least 5 MiB is used.
    pub chunk_buffer_bytes: u64,
    /// Parts of one object in flight.
    pub upload_concurrency: usize,
    /// `Cache-Control` of every object.
    pub cache_control: String,
    /// Metadata of every object.
    pub metadata: BTreeMap<String, String>,
    /// Connections, repetitions, hedging.
    pub http: HttpSettings,
}

impl Default for GcsSettings {
    fn default() -> Self {
        let retry = RetrySettings { max_retries: 3, ..RetrySettings::default() };
        Self {
            bucket: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            insecure: false,
            chunk_buffer_bytes: 10 << 20,
            upload_concurrency: 3,
            cache_control: String::new(),
            metadata: BTreeMap::new(),
            http: HttpSettings { retry, ..HttpSettings::default() },
        }
    }
}

impl GcsSettings {
    /// Refuses settings that can never work, as `Error::Invalid`.
    pub fn validate(&self) -> Result<()> {
        if self.bucket.is_empty() {
            return Err(Error::invalid("gcs bucket_name", "no bucket name"));
        }
        if self.bucket.contains('/') {
            return Err(Error::invalid("gcs bucket_name", "a bucket name holds no slash"));
        }
        self.http.validate()
    }
}
