//! What a poller remembers between polls, besides the block list.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use uuid::Uuid;

use crate::meta::BlockMeta;

/// The most messages that are remembered so that each is logged once.
const MAX_LOGGED: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Memory {
    tenants: Mutex<HashMap<String, OfTenant>>,
    logged: Mutex<HashSet<String>>,
}

#[derive(Debug, Default)]
struct OfTenant {
    /// Metas read in polls that failed later, so that the next one reads the others only.
    read: HashMap<Uuid, Arc<BlockMeta>>,
    /// When this process, which writes no index, listed the blocks.
    listed: Option<Timestamp>,
    /// When the index was made that was last read or written, whether it could be used or not.
    index: Option<Timestamp>,
    /// This process knows the blocks from an index that may lack keys of their metas.
    is_of_old_form: bool,
    /// Whether the last poll of the tenant failed, and when that was.
    polled: Option<(bool, Instant)>,
}

impl Memory {
    fn of(&self, tenant: &str) -> MappedMutexGuard<'_, OfTenant> {
        MutexGuard::map(self.tenants.lock(), |all| all.entry(tenant.to_owned()).or_default())
    }

    /// Takes what failed polls of the tenant have read.
    pub(super) fn take_read(&self, tenant: &str) -> HashMap<Uuid, Arc<BlockMeta>> {
        std::mem::take(&mut self.of(tenant).read)
    }

    /// Keeps what a failed poll has read.
    pub(super) fn keep_read(&self, tenant: &str, metas: HashMap<Uuid, Arc<BlockMeta>>) {
        self.of(tenant).read = metas;
    }

    /// Estimated memory of what is kept, in bytes.
    pub(super) fn read_bytes(&self) -> u64 {
        let tenants = self.tenants.lock();
        tenants.values().flat_map(|of| of.read.values()).map(|meta| meta.memory_bytes()).sum()
    }

    /// Forgets all tenants but these, which are sorted.
    pub(super) fn forget_other_tenants(&self, tenants: &[String]) {
        self.tenants.lock().retain(|tenant, _| tenants.binary_search(tenant).is_ok());
    }

    /// Notes the outcome of a poll of the tenant.
    pub(super) fn set_polled(&self, tenant: &str, failed: bool) {
        self.of(tenant).polled = Some((failed, Instant::now()));
    }

    /// Puts those first that were not reached for the longest time, and last those that failed, so that no number of tenants
    /// that fail keeps the others, or each other, from being polled.
    pub(super) fn sort_by_turn(&self, tenants: &mut [String]) {
        let known = self.tenants.lock();
        tenants.sort_by_key(|tenant| {
            let polled = known.get(tenant).and_then(|of| of.polled);
            (polled.is_some_and(|(failed, _)| failed), polled.map(|(_, at)| at))
        });
    }

    /// Notes whether the tenant's blocks are known from an index of a form before [`META_FORM`].
    ///
    /// [`META_FORM`]: crate::tenant_index::META_FORM
    pub(super) fn set_old_form(&self, tenant: &str, is_old: bool) {
        self.of(tenant).is_of_old_form = is_old;
    }

    pub(super) fn is_of_old_form(&self, tenant: &str) -> bool {
        self.of(tenant).is_of_old_form
    }

    /// Notes when the index in the bucket was made; `None` if there is none.
    pub(super) fn set_index(&self, tenant: &str, created_at: Option<Timestamp>) {
        self.of(tenant).index = created_at;
    }

    pub(super) fn index_times(&self) -> Vec<(String, Timestamp)> {
        let tenants = self.tenants.lock();
        tenants.iter().filter_map(|(tenant, of)| Some((tenant.clone(), of.index?))).collect()
    }

    pub(super) fn index_created_at(&self, tenant: &str) -> Option<Timestamp> {
        self.of(tenant).index
    }

    /// Notes that the blocks of a tenant were listed at this time.
    pub(super) fn set_listed(&self, tenant: &str, at: Timestamp) {
        self.of(tenant).listed = Some(at);
    }

    /// True if the blocks of the tenant were listed after this time.
    pub(super) fn was_listed_after(&self, tenant: &str, time: Timestamp) -> bool {
        self.of(tenant).listed.is_some_and(|listed| listed > time)
    }

    /// True the first time that it is asked for `what`.
    pub(super) fn is_news(&self, what: String) -> bool {
        let mut logged = self.logged.lock();
        logged.len() < MAX_LOGGED && logged.insert(what)
    }
}
