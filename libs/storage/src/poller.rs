//! Polls the bucket for blocks: lists it, or reads the index that another process wrote.
//!
//! If polling a tenant fails, its previous list stays. A meta that cannot be parsed hides only its own block, and is
//! counted and logged.
//!
//! Listings and indexes may be outdated, but reads are not. So if a listing contradicts what this process knows about a
//! block, it reads the block's meta.

mod build;
mod index;
mod memory;
mod metas;
mod report;
mod room;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tactus_telemetry::error_text;

use crate::block_io;
use crate::blocklist::{BlockChanges, Blocklist, NotNew, TenantBlocks};
use crate::bucket::Bucket;
use crate::error::Result;

use memory::Memory;
use room::{Room, Share};

pub use report::{PollReport, TenantReport};

/// The settings of a poller. The defaults are those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollerSettings {
    /// Metas read side by side within a tenant.
    pub meta_concurrency: usize,
    /// Tenants polled side by side.
    pub tenant_concurrency: usize,
    /// List the bucket when the index is missing, bad or stale.
    pub fallback: bool,
    /// Processes that build the index of one tenant.
    pub index_builders: usize,
    /// An index older than this is stale; `None` means never.
    pub stale_index_after: Option<Duration>,
    /// Further attempts for a tenant that failed.
    pub tolerate_consecutive_errors: usize,
    /// One more failed tenant, and the rest of a poll is skipped, their lists kept. The next poll begins with them.
    pub tolerate_tenant_failures: usize,
    /// Longest random pause before each meta is read, so that many processes that start at once do
    /// not all ask at once.
    pub jitter: Duration,
    /// Delete all objects of a tenant that has neither blocks nor an index, once the newest of them is
    /// as old; `None` means never. Only the builder of the tenant's index does.
    pub empty_tenant_deletion: Option<Duration>,
    /// Memory of the list in bytes, about; 0 is no limit. Blocks that find no room are left out.
    pub max_bytes: u64,
}

impl Default for PollerSettings {
    fn default() -> Self {
        Self {
            meta_concurrency: 50,
            tenant_concurrency: 1,
            fallback: true,
            index_builders: 2,
            stale_index_after: None,
            tolerate_consecutive_errors: 1,
            tolerate_tenant_failures: 1,
            jitter: Duration::ZERO,
            empty_tenant_deletion: None,
            max_bytes: 0,
        }
    }
}

/// Returns whether this process owns a string, here `build-tenant-index-<i>-<tenant>`.
pub type Owns = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Keeps a [`Blocklist`] up to date. Does nothing by itself: call [`Poller::poll_once`].
///
/// Clones share what they remember.
#[derive(Clone)]
pub struct Poller {
    bucket: Bucket,
    blocklist: Arc<Blocklist>,
    settings: PollerSettings,
    owns: Owns,
    memory: Arc<Memory>,
}

tactus_telemetry::debug_of!(Poller { settings });

/// A tenant to poll.
struct Tenant {
    name: String,
    /// Its blocks as they were known, with what this process did.
    previous: Arc<TenantBlocks>,
    /// Changes of this process that no poll has seen.
    own: BlockChanges,
    /// No poll has found all of it before.
    is_new: bool,
    /// The memory that its new blocks may take.
    room: Arc<Room>,
    previous_bytes: u64,
}

impl Tenant {
    fn share(&self) -> Share {
        self.room.share(self.previous_bytes)
    }
}

#[derive(Default)]
struct TenantPoll {
    blocks: TenantBlocks,
    /// Changes of this process that the poll did not see. They are part of `blocks`.
    unseen: BlockChanges,
    /// How old the index was that was read; none if the bucket was listed.
    index_age: Duration,
    metas_read: usize,
    metas_corrupt: usize,
    metas_missing: usize,
    left_out: usize,
    index_write_failures: usize,
    is_deleted: bool,
}

impl Poller {
    /// A poller that builds the index of the tenants for which `owns` says so.
    pub fn new(
        bucket: Bucket,
        blocklist: Arc<Blocklist>,
        settings: PollerSettings,
        owns: Owns,
    ) -> Self {
        Self { bucket, blocklist, settings, owns, memory: Arc::default() }
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
        let start = self.blocklist.start_poll();
        // A tenant whose first block was just written may not be listed yet.
        let mut tenants: BTreeSet<_> = start.before.keys().cloned().collect();
        tenants.extend(block_io::list_tenants(&self.bucket).await?);
        let mut not_new: NotNew = tenants.iter().map(|tenant| (tenant.clone(), None)).collect();
        let mut tenants: Vec<String> = tenants.into_iter().collect();
        self.memory.forget_other_tenants(&tenants);
        self.memory.sort_by_turn(&mut tenants);
        let mut report = PollReport { tenants: tenants.len(), ..PollReport::default() };
        // Starts from the old lists, so that a tenant that is not reached keeps its own.
        let mut after = start.before.as_ref().clone();
        for tenant in &tenants {
            let known = after.entry(tenant.clone()).or_default();
            if !known.is_polled() && !known.is_part() {
                *known = Arc::new(known.as_ref().clone().part());
            }
        }
        let mut unseen = start.own.clone();
        let known_bytes = start.before.values().map(|blocks| blocks.memory_bytes()).sum::<u64>();
        let room = Room::new(self.settings.max_bytes, known_bytes + self.memory.read_bytes());
        let tenants = tenants.into_iter().map(|name| {
            let known = start.before.get(&name).cloned();
            let own = start.own.get(&name).cloned().unwrap_or_default();
            let is_new = known.as_ref().is_none_or(|blocks| !blocks.is_polled());
            let (previous, room) = (known.unwrap_or_default(), Arc::clone(&room));
            Tenant { previous_bytes: previous.memory_bytes(), is_new, previous, own, name, room }
        });
        let tenants: Vec<Tenant> = tenants.collect();
        let concurrency = self.settings.tenant_concurrency.max(1);
        let mut polls = stream::iter(tenants)
            .map(|tenant| async move {
                let result = self.poll_with_retries(&tenant).await;
                (result, tenant.name, tenant.previous_bytes)
            })
            .buffer_unordered(concurrency);
        while let Some(((result, index_errors), tenant, previous_bytes)) = polls.next().await {
            self.memory.set_polled(&tenant, result.is_err());
            let mut seen = TenantReport {
                is_builder: self.is_builder(&tenant),
                tenant: tenant.clone(),
                index_created_at: self.memory.index_created_at(&tenant),
                index_errors,
                metas_corrupt: result.as_ref().map_or(0, |poll| poll.metas_corrupt),
                left_out: result.as_ref().map_or(0, |poll| poll.left_out),
                failed: result.is_err(),
            };
            match result {
                Ok(poll) => {
                    match poll.index_age.is_zero() {
                        true => not_new.remove(&tenant),
                        false => not_new.insert(tenant.clone(), Some(poll.index_age)),
                    };
                    report.add(&tenant, &poll);
                    room.replace(previous_bytes, poll.blocks.memory_bytes());
                    seen.failed = poll.metas_missing > 0;
                    seen.index_errors += poll.index_write_failures;
                    unseen.insert(tenant.clone(), poll.unseen);
                    if poll.blocks.is_empty() {
                        after.remove(&tenant);
                    } else {
                        after.insert(tenant, Arc::new(poll.blocks));
                    }
                }
                Err(error) => {
                    tracing::error!(
                        tenant,
                        error = error_text(&error),
                        "polling the tenant failed, its block list is kept"
                    );
                    report.failed_tenants.push(tenant);
                }
            }
            report.by_tenant.push(seen);
            if report.failed_tenants.len() > self.settings.tolerate_tenant_failures {
                report.abandoned = true;
                break;
            }
        }
        drop(polls);
        report.failed_tenants.sort_unstable();
        report.deleted_tenants.sort_unstable();
        unseen.retain(|_, changes| !changes.is_empty());
        self.blocklist.finish_poll(&start, after, unseen.into_iter().collect(), not_new);
        Ok(report)
    }

    /// When the index of each tenant was made that was last read or written, whether it could be used or not.
    pub fn index_times(&self) -> Vec<(String, Timestamp)> {
        self.memory.index_times()
    }

    /// The result, and how often the index could not be read.
    async fn poll_with_retries(&self, tenant: &Tenant) -> (Result<TenantPoll>, usize) {
        let mut attempts_left = self.settings.tolerate_consecutive_errors;
        let mut index_errors = 0;
        loop {
            let result = self.poll_tenant(tenant, attempts_left == 0, &mut index_errors).await;
            match result {
                Err(error) if attempts_left > 0 => {
                    attempts_left -= 1;
                    let tenant = &tenant.name;
                    tracing::warn!(
                        tenant,
                        error = error_text(&error),
                        "polling the tenant failed, trying again"
                    );
                }
                result => return (result, index_errors),
            }
        }
    }

    async fn poll_tenant(
        &self,
        tenant: &Tenant,
        is_last_attempt: bool,
        index_errors: &mut usize,
    ) -> Result<TenantPoll> {
        if self.is_builder(&tenant.name) {
            return self.build(tenant, true, is_last_attempt).await;
        }
        if (tenant.is_new || tenant.own.is_part) && self.settings.fallback {
            // Blocks that came after the index were announced to those who ran then, or found no room here.
            return self.list(tenant, is_last_attempt).await;
        }
        match self.read_index(tenant).await {
            Ok(Some(poll)) => Ok(poll),
            Ok(None) => self.list(tenant, is_last_attempt).await,
            Err(error) if self.settings.fallback => {
                *index_errors += 1;
                let (name, cause) = (&tenant.name, error_text(&error));
                if error.is_not_found() {
                    // No index has been written yet. The metric shows this to people who expect one.
                    tracing::debug!(
                        tenant = name,
                        error = cause,
                        "no tenant index, listing blocks"
                    );
                } else {
                    tracing::warn!(
                        tenant = name,
                        error = cause,
                        "tenant index is not usable, listing blocks"
                    );
                }
                self.list(tenant, is_last_attempt).await
            }
            Err(error) => {
                *index_errors += 1;
                Err(error)
            }
        }
    }

    /// Lists the bucket, for a process that does not write the index.
    async fn list(&self, tenant: &Tenant, is_last_attempt: bool) -> Result<TenantPoll> {
        let listed_at = Timestamp::now();
        let poll = self.build(tenant, false, is_last_attempt).await?;
        self.memory.set_listed(&tenant.name, listed_at);
        Ok(poll)
    }

    fn is_builder(&self, tenant: &str) -> bool {
        (0..self.settings.index_builders.max(1))
            .any(|number| (self.owns)(&format!("build-tenant-index-{number}-{tenant}")))
    }
}

#[cfg(test)]
mod tests;
