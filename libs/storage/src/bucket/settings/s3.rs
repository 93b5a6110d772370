//! An S3 bucket.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::http::{HttpSettings, MIN_PART_BYTES};
use crate::error::{Error, Result};

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
        /// Encryption context, a JSON object of texts; empty means none.
        context: String,
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

/// Settings of an S3 bucket. Empty strings mean "not set", as in the configuration file.
#[derive(Clone, PartialEq)]
pub struct S3Settings {
    /// Bucket name; required.
    pub bucket: String,
    /// Put in front of every key; slashes at its ends do not matter.
    pub prefix: String,
    /// `host[:port]`; empty means AWS. A scheme is accepted and then overrides `insecure`.
    pub endpoint: String,
    /// Empty: taken from an AWS endpoint name, with AWS from `AWS_REGION`, else `us-east-1`.
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
    /// PEM file with certificates to trust instead of the system's.
    pub tls_ca_path: Option<PathBuf>,
    /// PEM file with a certificate to show to the server, and that of its key.
    pub tls_client: Option<(PathBuf, PathBuf)>,
    /// Refuse servers that speak nothing newer than TLS 1.2.
    pub tls_1_3_only: bool,
    /// Accept any certificate.
    pub tls_insecure_skip_verify: bool,
    /// Part size of multipart uploads, at least [`MIN_PART_BYTES`]; 0 means
    /// [`DEFAULT_PART_BYTES`]. Grows by itself for files of more than 9000 parts.
    pub part_size_bytes: u64,
    /// Parts of one file in flight: it and the part size bound the memory of an upload.
    pub upload_concurrency: usize,
    /// Object tags to write.
    pub tags: BTreeMap<String, String>,
    /// Object metadata to write.
    pub metadata: BTreeMap<String, String>,
    /// Storage class to write with.
    pub storage_class: String,
    /// Server-side encryption.
    pub encryption: S3Encryption,
    /// Connections, repetitions, hedging.
    pub http: HttpSettings,
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
            tls_client: None,
            tls_1_3_only: false,
            tls_insecure_skip_verify: false,
            part_size_bytes: 0,
            upload_concurrency: 3,
            tags: BTreeMap::new(),
            metadata: BTreeMap::new(),
            storage_class: String::new(),
            encryption: S3Encryption::None,
            http: HttpSettings::default(),
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
            .field("http", &self.http)
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
        self.http.validate()
    }
}
