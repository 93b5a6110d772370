//! The operator's file with limits of tenants: a path or a URL, perhaps gzipped.

use std::io::Read;
use std::time::Duration;

use tactus_config::{Config, PerTenantFile, PerTenantOverrides};

/// No file of limits is larger, unpacked; a disk of zeros is.
const MAX_BYTES: u64 = 64 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the file is.
#[derive(Debug)]
pub(crate) enum Source {
    Path(String),
    Url(String, reqwest::Client),
}

impl Source {
    /// From `overrides.per_tenant_override_config`, which is not empty. Errors: no client for a URL.
    pub(crate) fn new(location: &str) -> Result<Self, String> {
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
        let client = client.build().map_err(|error| tactus_telemetry::error_text(&error))?;
        Ok(Self::Url(location.to_owned(), client))
    }

    /// The bytes as they lie there. Errors: for people.
    pub(crate) async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Path(path) => {
                // By path each time: a mounted ConfigMap is swapped by its symbolic link.
                let path = path.clone();
                let read = move || {
                    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
                    bounded(file)
                };
                tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
            }
            Self::Url(url, client) => fetch(client, url).await,
        }
    }

    /// Unpacked, expanded and parsed. Errors: for people.
    pub(crate) fn parse(
        &self,
        bytes: &[u8],
        config: &Config,
        expand_env: bool,
    ) -> Result<PerTenantFile, String> {
        let (Self::Path(name) | Self::Url(name, _)) = self;
        let unpacked = if name.ends_with(".gz") {
            bounded(flate2::read::MultiGzDecoder::new(bytes))?
        } else {
            bytes.to_vec()
        };
        let mut text = String::from_utf8(unpacked).map_err(|error| error.to_string())?;
        if expand_env {
            let env = |name: &str| std::env::var(name).ok();
            text = tactus_config::expand(&text, env).map_err(|error| error.to_string())?;
        }
        PerTenantOverrides::parse(&text, config).map_err(|error| error.to_string())
    }
}

fn bounded(reader: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    check_length(bytes.len() as u64)?;
    Ok(bytes)
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| tactus_telemetry::error_text(&error.without_url());
    let mut response = client.get(url).send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        check_length(bytes.len() as u64)?;
    }
    Ok(bytes)
}

fn check_length(bytes: u64) -> Result<(), String> {
    if bytes <= MAX_BYTES { Ok(()) } else { Err(format!("more than {MAX_BYTES} bytes")) }
}
