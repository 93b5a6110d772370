//! Where the bucket is and how to talk to it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// Smallest part that S3 takes in a multipart upload, except the last.
pub const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;
/// Part size when none is configured.
pub const DEFAULT_PART_BYTES: u64 = 8 * 1024 * 1024;

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
}

/// How the bucket's name gets into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// Virtual host for the known clouds, path for everything else.
    #[default]
    Auto,
    /// `https://bucket.endpoint/key`.
    VirtualHost,
    /// `https://endpoint/bucket/key`.
    Path,
}

/// Server-side encryption of what is written.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum S3Encryption {
    /// What the bucket does by default.
    #[default]
    None,
    /// SSE-S3.
    S3,
    /// SSE-KMS; an empty id means the account's default key.
    Kms {
        /// Key id or ARN.
        key_id: String,
    },
    /// SSE-C.
    Customer {
        /// The key, 32 bytes.
        key: Vec<u8>,
    },
}

impl fmt::Debug for S3Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::S3 => "S3",
            Self::Kms { .. } => "Kms",
            Self::Customer { .. } => "Customer(<secret>)",
        })
    }
}

/// Bounds on repeating a request that failed for a passing reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Repetitions after the first attempt; 0 turns them off.
    pub max_retries: usize,
    /// First pause; each further one is longer.
    pub initial_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// No repetition starts after this time since the first attempt.
    pub total_timeout: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_retries: 10,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(1),
            total_timeout: Duration::from_secs(60),
        }
    }
}

/// Settings of an S3 bucket. Empty strings mean "not set", as in the configuration file.
#[derive(Clone, PartialEq)]
pub struct S3Settings {
    /// Bucket name; required.
    pub bucket: String,
    /// Put in front of every key; slashes at its ends do not matter.
    pub prefix: String,
    /// `host[:port]`; empty means AWS. A scheme is accepted and then overrides `insecure`.
    pub endpoint: String,
    /// Empty: taken from an AWS endpoint name, else `us-east-1`.
    pub region: String,
    /// Static key; with `secret_key` empty too, the credential chain is used.
    pub access_key: String,
    /// Static secret.
    pub secret_key: String,
    /// Token that goes with temporary static keys.
    pub session_token: String,
    /// Plain HTTP.
    pub insecure: bool,
    /// Path or virtual-host style.
    pub addressing: Addressing,
    /// Use AWS's dual-stack host names; only when `endpoint` is empty.
    pub dual_stack: bool,
    /// PEM file with certificates to trust besides the system's.
    pub tls_ca_path: Option<PathBuf>,
    /// Accept any certificate.
    pub tls_insecure_skip_verify: bool,
    /// Part size of multipart uploads, at least [`MIN_PART_BYTES`]; 0 means
    /// [`DEFAULT_PART_BYTES`]. Grows by itself for files of more than 9000 parts.
    pub part_size_bytes: u64,
    /// Parts of one file in flight: it and the part size bound the memory of an upload.
    pub upload_concurrency: usize,
    /// Start a second read when the first has not answered after this long; `None` turns it off.
    pub hedge_at: Option<Duration>,
    /// Reads in flight for one request when hedging, the first included.
    pub hedge_up_to: usize,
    /// Object tags to write.
    pub tags: BTreeMap<String, String>,
    /// Object metadata to write.
    pub metadata: BTreeMap<String, String>,
    /// Storage class to write with.
    pub storage_class: String,
    /// Server-side encryption.
    pub encryption: S3Encryption,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Time for one attempt, from sending it to the last byte of the answer.
    pub request_timeout: Duration,
    /// Bounds on repetitions.
    pub retry: RetrySettings,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: String::new(),
            endpoint: String::new(),
            region: String::new(),
            access_key: String::new(),
            secret_key: String::new(),
            session_token: String::new(),
            insecure: false,
            addressing: Addressing::Auto,
            dual_stack: false,
            tls_ca_path: None,
            tls_insecure_skip_verify: false,
            part_size_bytes: 0,
            upload_concurrency: 3,
            hedge_at: None,
            hedge_up_to: 2,
            tags: BTreeMap::new(),
            metadata: BTreeMap::new(),
            storage_class: String::new(),
            encryption: S3Encryption::None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry: RetrySettings::default(),
        }
    }
}

impl fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Settings")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("insecure", &self.insecure)
            .field("addressing", &self.addressing)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl S3Settings {
    /// Refuses settings that can never work, as `Error::Invalid`.
    pub fn validate(&self) -> Result<()> {
        if self.bucket.is_empty() {
            return Err(Error::invalid("s3 bucket", "no bucket name"));
        }
        if self.bucket.contains('/') {
            return Err(Error::invalid("s3 bucket", "a bucket name holds no slash"));
        }
        if self.access_key.is_empty() != self.secret_key.is_empty() {
            return Err(Error::invalid("s3 credentials", "access_key and secret_key go together"));
        }
        if self.part_size_bytes != 0 && self.part_size_bytes < MIN_PART_BYTES {
            let reason = format!("{} is less than 5 MiB", self.part_size_bytes);
            return Err(Error::invalid("s3 part_size", reason));
        }
        if let S3Encryption::Customer { key } = &self.encryption
            && key.len() != 32
        {
            return Err(Error::invalid("s3 sse encryption_key", "must be 32 bytes"));
        }
        if self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(Error::invalid("s3 timeout", "must be positive"));
        }
        Ok(())
    }

    /// Part size for a file of `file_bytes`, so that it has at most 9000 parts (S3 takes 10000).
    pub(crate) fn part_bytes(&self, file_bytes: u64) -> u64 {
        let configured =
            if self.part_size_bytes == 0 { DEFAULT_PART_BYTES } else { self.part_size_bytes };
        configured.max(file_bytes.div_ceil(9000))
    }
}
