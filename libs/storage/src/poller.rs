//! Learns what blocks there are: lists the bucket, or reads the index that another process wrote.
//!
//! Whatever goes wrong with a tenant, its previous list stays. A meta that cannot be parsed hides
//! only its own block, is counted and logged.

mod build;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};

use crate::block_io;
use crate::blocklist::{Blocklist, TenantBlocks};
use crate::bucket::Bucket;
use crate::error::{Error, Result};
use crate::layout::{TENANT_INDEX_JSON, TENANT_INDEX_PROTO, tenant_index_key};
use crate::tenant_index::TenantIndex;

/// How to poll; the defaults are the configuration's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollerSettings {
    /// Metas read side by side within a tenant.
    pub meta_concurrency: usize,
    /// Tenants polled side by side.
    pub tenant_concurrency: usize,
    /// Listings side by side within a tenant; see [`block_io::list_blocks`].
    pub list_concurrency: usize,
    /// List the bucket when the index is missing, bad or stale.
    pub fallback: bool,
    /// Processes that build the index of one tenant.
    pub index_builders: usize,
    /// An index older than this is stale; `None` means never.
    pub stale_index_after: Option<Duration>,
    /// Further attempts for a tenant that failed.
    pub tolerate_consecutive_errors: usize,
    /// Failed tenants after which the rest of a poll is skipped, their lists kept.
    pub tolerate_tenant_failures: usize,
    /// Leave blocks with a no-compact flag out of this process's list (not of the index).
    pub skip_no_compact: bool,
}

impl Default for PollerSettings {
    fn default() -> Self {
        Self {
            meta_concurrency: 50,
            tenant_concurrency: 1,
            list_concurrency: 3,
            fallback: true,
            index_builders: 2,
            stale_index_after: None,
            tolerate_consecutive_errors: 1,
            tolerate_tenant_failures: 1,
            skip_no_compact: false,
        }
    }
}

/// What one poll saw and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Tenants found in the bucket.
    pub tenants: usize,
    /// Live blocks over the tenants that were polled.
    pub live_blocks: usize,
    /// Compacted blocks over the tenants that were polled.
    pub compacted_blocks: usize,
    /// Metas read because their block was new.
    pub metas_read: usize,
    /// Metas that could not be parsed, or belong to another block: these blocks are not seen.
    pub metas_corrupt: usize,
    /// Index files that could not be written or deleted.
    pub index_write_failures: usize,
    /// Tenants whose list was kept because polling them failed, sorted.
    pub failed_tenants: Vec<String>,
    /// True when so many tenants failed that the rest was skipped.
    pub abandoned: bool,
}

/// Says if this process owns a string, `build-tenant-index-<i>-<tenant>` here.
pub type Owns = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Keeps a [`Blocklist`] up to date. Does nothing by itself: call [`Poller::poll_once`].
#[derive(Clone)]
pub struct Poller {
    bucket: Bucket,
    blocklist: Arc<Blocklist>,
    settings: PollerSettings,
    owns: Owns,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct TenantPoll {
    blocks: TenantBlocks,
    metas_read: usize,
    metas_corrupt: usize,
    index_write_failures: usize,
}

impl Poller {
    /// A poller that builds the index of the tenants for which `owns` says so.
    pub fn new(
        bucket: Bucket,
        blocklist: Arc<Blocklist>,
        settings: PollerSettings,
        owns: Owns,
    ) -> Self {
        Self { bucket, blocklist, settings, owns }
    }

    /// A poller that builds the index of every tenant: for a process that is alone.
    pub fn builder(bucket: Bucket, blocklist: Arc<Blocklist>, settings: PollerSettings) -> Self {
        Self::new(bucket, blocklist, settings, Arc::new(|_| true))
    }

    /// A poller that only reads indexes (and lists when they are missing, if it may).
    pub fn reader(bucket: Bucket, blocklist: Arc<Blocklist>, settings: PollerSettings) -> Self {
        Self::new(bucket, blocklist, settings, Arc::new(|_| false))
    }

    /// Polls all tenants and updates the list.
    ///
    /// Errors: only when the tenants cannot be listed; the list is unchanged then. Failures of
    /// tenants are in the report. Cancel safe: a dropped poll leaves the list unchanged.
    pub async fn poll_once(&self) -> Result<PollReport> {
        let tenants = block_io::list_tenants(&self.bucket).await?;
        let before = self.blocklist.snapshot();
        let mut report = PollReport { tenants: tenants.len(), ..PollReport::default() };
        // Starts from the old lists, so that a tenant that is not reached keeps its own.
        let mut after: HashMap<_, _> = tenants
            .iter()
            .filter_map(|tenant| Some((tenant.clone(), Arc::clone(before.get(tenant)?))))
            .collect();
        let mut polls = stream::iter(tenants)
            .map(|tenant| {
                let previous = before.get(&tenant).cloned().unwrap_or_default();
                async move { (self.poll_with_retries(&tenant, &previous).await, tenant) }
            })
            .buffer_unordered(self.settings.tenant_concurrency.max(1));
        while let Some((result, tenant)) = polls.next().await {
            match result {
                Ok(poll) => {
                    report.add(&poll);
                    if poll.blocks.is_empty() {
                        after.remove(&tenant);
                    } else {
                        after.insert(tenant, Arc::new(poll.blocks));
                    }
                }
                Err(error) => {
                    tracing::error!(tenant, error = %Chain(&error), "polling the tenant failed, its block list is kept");
                    report.failed_tenants.push(tenant);
                }
            }
            if report.failed_tenants.len() > self.settings.tolerate_tenant_failures {
                report.abandoned = true;
                break;
            }
        }
        drop(polls);
        report.failed_tenants.sort_unstable();
        self.blocklist.replace(after);
        Ok(report)
    }

    async fn poll_with_retries(&self, tenant: &str, previous: &TenantBlocks) -> Result<TenantPoll> {
        let mut attempts_left = self.settings.tolerate_consecutive_errors;
        loop {
            match self.poll_tenant(tenant, previous).await {
                Err(error) if attempts_left > 0 => {
                    attempts_left -= 1;
                    tracing::warn!(tenant, error = %Chain(&error), "polling the tenant failed, trying again");
                }
                result => return result,
            }
        }
    }

    async fn poll_tenant(&self, tenant: &str, previous: &TenantBlocks) -> Result<TenantPoll> {
        if self.is_builder(tenant) {
            return self.build(tenant, previous, true).await;
        }
        match self.read_index(tenant).await {
            Ok(index) => Ok(TenantPoll {
                blocks: TenantBlocks::new(index.live, index.compacted),
                metas_read: 0,
                metas_corrupt: 0,
                index_write_failures: 0,
            }),
            Err(error) if self.settings.fallback => {
                tracing::warn!(tenant, error = %Chain(&error), "tenant index is not usable, listing blocks");
                self.build(tenant, previous, false).await
            }
            Err(error) => Err(error),
        }
    }

    fn is_builder(&self, tenant: &str) -> bool {
        (0..self.settings.index_builders.max(1))
            .any(|number| (self.owns)(&format!("build-tenant-index-{number}-{tenant}")))
    }

    async fn read_index(&self, tenant: &str) -> Result<TenantIndex> {
        let proto = tenant_index_key(tenant, TENANT_INDEX_PROTO);
        let json = tenant_index_key(tenant, TENANT_INDEX_JSON);
        let index = match self.bucket.get(&proto).await {
            Ok(bytes) => decode(proto, move || TenantIndex::from_proto_zst(&bytes)).await?,
            Err(error) if error.is_not_found() => {
                let bytes = self.bucket.get(&json).await?;
                decode(json, move || TenantIndex::from_json_gz(&bytes)).await?
            }
            Err(error) => return Err(error),
        };
        if self.is_stale(&index) {
            let source = format!("written at {}", index.created_at).into();
            return Err(Error::Unavailable { key: format!("{tenant} (stale index)"), source });
        }
        Ok(index)
    }

    fn is_stale(&self, index: &TenantIndex) -> bool {
        let limit = self.settings.stale_index_after.and_then(|d| SignedDuration::try_from(d).ok());
        limit.is_some_and(|limit| Timestamp::now().duration_since(index.created_at) > limit)
    }
}

impl PollReport {
    fn add(&mut self, poll: &TenantPoll) {
        self.live_blocks += poll.blocks.live().len();
        self.compacted_blocks += poll.blocks.compacted().len();
        self.metas_read += poll.metas_read;
        self.metas_corrupt += poll.metas_corrupt;
        self.index_write_failures += poll.index_write_failures;
    }
}

async fn decode(
    key: String,
    work: impl FnOnce() -> Result<TenantIndex> + Send + 'static,
) -> Result<TenantIndex> {
    match tokio::task::spawn_blocking(work).await {
        Ok(index) => index.map_err(|error| error.with_key(&key)),
        Err(error) => Err(Error::Unavailable { key, source: error.into() }),
    }
}

/// An error with its causes, for a log line.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
