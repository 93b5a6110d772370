//! The documents of tenants in the bucket.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tactus_storage::Bucket;
use tactus_storage::block_io::remove_empty_directories;
use tactus_storage::layout::{OVERRIDES_DIRECTORY as DIRECTORY, OVERRIDES_FILE};
use tactus_telemetry::error_text;
use tokio::sync::MutexGuard;

use crate::metrics::Metrics;
use crate::snapshot::Stored;
use crate::user::UserLimits;

/// A larger document is rejected, because parsing it takes many times its size.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 256 << 10;
/// Documents that are read at the same time.
const CONCURRENCY: usize = 16;
/// If reading all documents takes longer than this, a change may be undone until they are read again.
const REMEMBER_WRITES: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Store {
    bucket: Bucket,
    /// When this process last wrote the document of a tenant.
    written: Mutex<HashMap<String, Instant>>,
    turn: tokio::sync::Mutex<()>,
}

/// Why a document was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The document's version differs from the one that the writer named.
    #[error("version does not match")]
    Version,
    /// There is no document.
    #[error("no overrides are set")]
    NotFound,
    /// The document is larger than one may be.
    #[error("overrides of more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    /// The stored object is not a valid document.
    #[error("stored overrides are damaged: {0}")]
    Damaged(String),
    /// The bucket.
    #[error("object storage")]
    Bucket(#[from] tactus_storage::Error),
}

impl Store {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self { bucket, written: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Reads all documents. One that cannot be read stays as in `before`; `None` if they cannot even be listed. If they
    /// exceed `max_bytes` (0: no limit), some are left out: first those of tenants that are not in `before`, the last
    /// ones by name.
    pub(crate) async fn read_all(
        &self,
        before: &BTreeMap<String, Arc<Stored>>,
        max_bytes: u64,
        metrics: &Metrics,
    ) -> Option<BTreeMap<String, Arc<Stored>>> {
        metrics.user_list.inc();
        let mut tenants = self.tenants(metrics).await?;
        tenants.sort_unstable_by(|a, b| {
            let is_new = |tenant: &String| !before.contains_key(tenant);
            is_new(a).cmp(&is_new(b)).then_with(|| a.cmp(b))
        });
        // In a fixed order, so that each process leaves out the same ones each time.
        let mut read = stream::iter(tenants)
            .map(|tenant| async move {
                metrics.user_fetch.with([&tenant]).inc();
                (self.read(&tenant).await, tenant)
            })
            .buffered(CONCURRENCY);
        let (mut found, mut failures) = (BTreeMap::new(), 0);
        let (mut bytes, mut left_out) = (0u64, 0u64);
        while let Some((result, tenant)) = read.next().await {
            let stored = match result {
                Ok(stored) => Some(Arc::new(stored)),
                Err(StoreError::NotFound) => None,
                Err(error) => {
                    failures += 1;
                    metrics.user_fetch_failed.with([&tenant]).inc();
                    let error = error_text(&error);
                    tracing::error!(
                        tenant,
                        error,
                        "limits set by the tenant cannot be read, the old ones stay"
                    );
                    before.get(&tenant).cloned()
                }
            };
            let Some(stored) = stored else { continue };
            let sum = bytes.saturating_add(stored.cost());
            if max_bytes > 0 && sum > max_bytes {
                left_out += 1;
                continue;
            }
            bytes = sum;
            found.insert(tenant, stored);
        }
        if left_out > 0 {
            failures += 1;
            tracing::error!(
                tenants = left_out,
                max_bytes,
                "limits set by tenants are left out, there are too many (limit: overrides.user_configurable_overrides.max_bytes)"
            );
        }
        if failures > 0 {
            metrics.user_reload_failed.inc();
        }
        Some(found)
    }

    /// The tenants that have a document. `None`: they cannot be listed, which is logged.
    async fn tenants(&self, metrics: &Metrics) -> Option<Vec<String>> {
        match self.bucket.list_directories(DIRECTORY).await {
            Ok(tenants) => Some(tenants),
            // A new local store has no directory. Elsewhere a directory is never missing, but the bucket is.
            Err(error) if error.is_not_found() && self.bucket.local_path(DIRECTORY).is_some() => {
                Some(Vec::new())
            }
            Err(error) => {
                metrics.user_reload_failed.inc();
                let error = error_text(&error);
                tracing::error!(error, "limits set by tenants cannot be listed, the old ones stay");
                None
            }
        }
    }

    /// Reads the document of a tenant. Errors: those of [`StoreError`] except `Version`.
    pub(crate) async fn read(&self, tenant: &str) -> Result<Stored, StoreError> {
        let max_bytes = MAX_DOCUMENT_BYTES as u64;
        let (bytes, version) = match self.bucket.get_with_version(&key(tenant), max_bytes).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Err(StoreError::NotFound),
            Err(error) => return Err(error.into()),
        };
        let limits = UserLimits::read(&bytes).map_err(StoreError::Damaged)?;
        Ok(Stored { limits, version, bytes: bytes.len() as u64 })
    }

    /// Waits until this process is making no other change. The next one waits until the result is dropped. Only then it
    /// is known what still fits.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Replaces the version `expected` of the document, or creates it if that is `None`.
    pub(crate) async fn write(
        &self,
        tenant: &str,
        limits: UserLimits,
        expected: Option<&str>,
    ) -> Result<Stored, StoreError> {
        let bytes = Bytes::from(limits.to_json());
        let length = bytes.len();
        if length > MAX_DOCUMENT_BYTES {
            return Err(StoreError::TooLarge);
        }
        let written = self.bucket.put_if_version(&key(tenant), bytes, expected).await?;
        let version = written.ok_or(StoreError::Version)?;
        Ok(Stored { limits, version, bytes: length as u64 })
    }

    /// Deletes the document if it is of this version.
    pub(crate) async fn delete(&self, tenant: &str, expected: &str) -> Result<(), StoreError> {
        match self.bucket.delete_if_version(&key(tenant), expected).await {
            Ok(true) => {
                // Otherwise it is looked into for ever. What another process has just written there stays.
                let directory = format!("{DIRECTORY}/{tenant}");
                remove_empty_directories(&self.bucket, &directory).await?;
                Ok(())
            }
            Ok(false) => Err(StoreError::Version),
            Err(error) if error.is_not_found() => Err(StoreError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    /// Records that a tenant's document has just changed, because a read of all documents that is under way may have
    /// seen the old one.
    pub(crate) fn note_write(&self, tenant: &str) {
        let now = Instant::now();
        let mut written = self.written.lock();
        written.retain(|_, at| now.duration_since(*at) < REMEMBER_WRITES);
        written.insert(tenant.to_owned(), now);
    }

    pub(crate) fn written_since(&self, start: Instant) -> Vec<String> {
        let written = self.written.lock();
        written.iter().filter(|(_, at)| **at >= start).map(|(tenant, _)| tenant.clone()).collect()
    }
}

fn key(tenant: &str) -> String {
    format!("{DIRECTORY}/{tenant}/{OVERRIDES_FILE}")
}
