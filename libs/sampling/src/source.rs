//! Where a file of strategies is: a path, or a URL.

use std::io::Read;
use std::time::Duration;

use tactus_telemetry::error_text;

/// No file of strategies is larger; what a URL answers may be.
const MAX_BYTES: u64 = 16 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum Source {
    /// No file: nothing is said about any service.
    Nothing,
    Path(String),
    Url(String, reqwest::Client),
}

impl Source {
    /// Errors: no client for a URL.
    pub(crate) fn new(location: &str) -> Result<Self, String> {
        if location.is_empty() {
            return Ok(Self::Nothing);
        }
        if !location.starts_with("http://") && !location.starts_with("https://") {
            return Ok(Self::Path(location.to_owned()));
        }
        // The client would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no TLS provider is installed in this process".to_owned());
        }
        let mut client = reqwest::Client::builder().timeout(FETCH_TIMEOUT);
        if location.starts_with("http://") {
            // A machine without certificates will do.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| error_text(&error))?;
        Ok(Self::Url(location.to_owned(), client))
    }

    /// The bytes as they lie there. A server that is not available has nothing to say. Errors: for people.
    pub(crate) async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Path(path) => {
                // By path each time: a mounted ConfigMap is swapped by its symbolic link.
                let path = path.clone();
                let read = move || read_bounded(&path);
                tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
            }
            Self::Url(url, client) => fetch(client, url).await,
        }
    }
}

fn read_bounded(path: &str) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    check_length(bytes.len())?;
    Ok(bytes)
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| error_text(&error.without_url());
    let mut response = client.get(url).send().await.map_err(failed)?;
    match response.status() {
        reqwest::StatusCode::OK => {}
        reqwest::StatusCode::SERVICE_UNAVAILABLE => return Ok(b"null".to_vec()),
        status => return Err(format!("the server answers {status}")),
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        check_length(bytes.len())?;
    }
    Ok(bytes)
}

fn check_length(bytes: usize) -> Result<(), String> {
    if bytes as u64 <= MAX_BYTES { Ok(()) } else { Err(format!("more than {MAX_BYTES} bytes")) }
}
