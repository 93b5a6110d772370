//! The location of a file: a path or a URL.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use reqwest::StatusCode;
use tactus_telemetry::error_text;

/// Where a file is, and the limits on reading it.
#[derive(Debug)]
pub struct Location {
    place: String,
    /// For a URL.
    client: Option<reqwest::Client>,
    max_bytes: u64,
}

/// Why a file cannot be read, worded for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The answer of a server that is no file.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// The file is larger than any real one, for example a disk full of zeros.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// The file or the server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl Location {
    /// A path, or a URL whose server has `fetch_timeout` to answer. Files larger than `max_bytes` are rejected.
    ///
    /// Errors: no client for a URL, worded for the operator.
    pub fn new(place: &str, max_bytes: u64, fetch_timeout: Duration) -> Result<Self, String> {
        let place = place.to_owned();
        if !place.starts_with("http://") && !place.starts_with("https://") {
            return Ok(Self { place, client: None, max_bytes });
        }
        // Without a provider, reqwest would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no TLS provider is installed in this process".to_owned());
        }
        let mut client = reqwest::Client::builder().timeout(fetch_timeout);
        if place.starts_with("http://") {
            // Plain HTTP must work on a machine without certificates, too.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| error_text(&error))?;
        Ok(Self { place, client: Some(client), max_bytes })
    }

    /// The path or URL.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The bytes as they lie there.
    pub async fn read(&self) -> Result<Vec<u8>, ReadError> {
        if let Some(client) = &self.client {
            return self.fetch(client).await;
        }
        // The path is resolved each time, because a mounted ConfigMap is replaced through a symbolic link.
        let (path, max_bytes) = (self.place.clone(), self.max_bytes);
        let read = move || read_bounded(File::open(path).map_err(unreachable)?, max_bytes);
        tokio::task::spawn_blocking(read).await.map_err(unreachable)?
    }

    async fn fetch(&self, client: &reqwest::Client) -> Result<Vec<u8>, ReadError> {
        let failed =
            |error: reqwest::Error| ReadError::Unreachable(error_text(&error.without_url()));
        let mut response = client.get(&self.place).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(ReadError::Status(response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            check_length(&bytes, self.max_bytes)?;
        }
        Ok(bytes)
    }
}

/// Reads everything. Errors: those of the reader, and more than `max_bytes`.
pub fn read_bounded(reader: impl Read, max_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    reader.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreachable)?;
    check_length(&bytes, max_bytes)?;
    Ok(bytes)
}

fn check_length(bytes: &[u8], max_bytes: u64) -> Result<(), ReadError> {
    if bytes.len() as u64 <= max_bytes { Ok(()) } else { Err(ReadError::TooLarge(max_bytes)) }
}

fn unreachable(error: impl std::error::Error) -> ReadError {
    ReadError::Unreachable(error.to_string())
}
