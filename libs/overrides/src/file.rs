//! The operator's file with limits of tenants, which may be gzipped.

use std::time::Duration;

use tactus_config::{Config, PerTenantFile, PerTenantOverrides};
use tactus_operator_files::{Content, Location, WatchedFile, read_bounded};

/// The largest file after decompression. A real one is smaller; a disk full of zeros is not.
const MAX_BYTES: u64 = 64 << 20;
/// Limit of a request for the file.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The file at `overrides.per_tenant_override_config`, which must not be empty. Errors: no client for a URL.
pub(crate) fn watched(place: &str) -> Result<WatchedFile, String> {
    Location::new(place, MAX_BYTES, FETCH_TIMEOUT).map(WatchedFile::new)
}

/// Decompresses, expands and parses the file. Errors are worded for people.
pub(crate) fn parse(
    place: &str,
    content: &Content,
    config: &Config,
    expand_env: bool,
) -> Result<PerTenantFile, String> {
    let bytes = content.bytes.as_slice();
    let unpacked = if place.ends_with(".gz") {
        let unpacked = read_bounded(flate2::read::MultiGzDecoder::new(bytes), MAX_BYTES);
        unpacked.map_err(|error| error.to_string())?
    } else {
        bytes.to_vec()
    };
    let mut text = String::from_utf8(unpacked).map_err(|error| error.to_string())?;
    if expand_env {
        let env = |name: &str| std::env::var(name).ok();
        text = tactus_config::expand(&without_comments(&text), env)
            .map_err(|error| error.to_string())?;
    }
    PerTenantOverrides::parse(&text, config).map_err(|error| error.to_string())
}

/// Empties the lines that are comments: what stands in them is not expanded, as in Tempo, which expands this file when it
/// has been read once.
fn without_comments(text: &str) -> String {
    let line = |line: &str| {
        let is_comment = line.trim_start().starts_with('#');
        if is_comment { "\n".to_owned() } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}
