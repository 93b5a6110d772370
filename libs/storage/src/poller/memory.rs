//! What a poller remembers between polls, besides the block list.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::meta::BlockMeta;

/// The most messages that are remembered so that each is logged once.
const MAX_LOGGED: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Metas read in polls that failed later, so that the next one reads the others only.
    read: Mutex<HashMap<String, HashMap<Uuid, Arc<BlockMeta>>>>,
    logged: Mutex<HashSet<String>>,
    /// When this process, which writes no index, listed a tenant's blocks.
    listed: Mutex<HashMap<String, Timestamp>>,
    /// When the index of a tenant was made that was last read or written, whether it could be used or not.
    indexes: Mutex<HashMap<String, Timestamp>>,
    /// Tenants of which this process knows the blocks from an index that may lack keys of their metas.
    old_forms: Mutex<HashSet<String>>,
}

impl Memory {
    /// Takes what failed polls of the tenant have read.
    pub(super) fn take_read(&self, tenant: &str) -> HashMap<Uuid, Arc<BlockMeta>> {
        self.read.lock().remove(tenant).unwrap_or_default()
    }

    /// Keeps what a failed poll has read.
    pub(super) fn keep_read(&self, tenant: &str, metas: HashMap<Uuid, Arc<BlockMeta>>) {
        if !metas.is_empty() {
            self.read.lock().insert(tenant.to_owned(), metas);
        }
    }

    /// Estimated memory of what is kept, in bytes.
    pub(super) fn read_bytes(&self) -> u64 {
        let read = self.read.lock();
        read.values().flat_map(HashMap::values).map(|meta| meta.memory_bytes()).sum()
    }

    /// Forgets what was read of tenants that are gone.
    pub(super) fn forget_other_tenants(&self, tenants: &[String]) {
        self.read.lock().retain(|tenant, _| tenants.contains(tenant));
        self.listed.lock().retain(|tenant, _| tenants.contains(tenant));
        self.indexes.lock().retain(|tenant, _| tenants.contains(tenant));
        self.old_forms.lock().retain(|tenant| tenants.contains(tenant));
    }

    /// Notes whether the tenant's blocks are known from an index of a form before [`META_FORM`].
    ///
    /// [`META_FORM`]: crate::tenant_index::META_FORM
    pub(super) fn set_old_form(&self, tenant: &str, is_old: bool) {
        let mut tenants = self.old_forms.lock();
        match is_old {
            true => drop(tenants.insert(tenant.to_owned())),
            false => drop(tenants.remove(tenant)),
        }
    }

    pub(super) fn is_of_old_form(&self, tenant: &str) -> bool {
        self.old_forms.lock().contains(tenant)
    }

    /// Notes when the index in the bucket was made; `None` if there is none.
    pub(super) fn set_index(&self, tenant: &str, created_at: Option<Timestamp>) {
        let mut indexes = self.indexes.lock();
        match created_at {
            Some(created_at) => indexes.insert(tenant.to_owned(), created_at),
            None => indexes.remove(tenant),
        };
    }

    pub(super) fn index_times(&self) -> Vec<(String, Timestamp)> {
        self.indexes.lock().iter().map(|(tenant, &time)| (tenant.clone(), time)).collect()
    }

    pub(super) fn index_created_at(&self, tenant: &str) -> Option<Timestamp> {
        self.indexes.lock().get(tenant).copied()
    }

    /// Notes that the blocks of a tenant were listed at this time.
    pub(super) fn set_listed(&self, tenant: &str, at: Timestamp) {
        self.listed.lock().insert(tenant.to_owned(), at);
    }

    /// True if the blocks of the tenant were listed after this time.
    pub(super) fn was_listed_after(&self, tenant: &str, time: Timestamp) -> bool {
        self.listed.lock().get(tenant).is_some_and(|listed| *listed > time)
    }

    /// True the first time that it is asked for `what`.
    pub(super) fn is_news(&self, what: String) -> bool {
        let mut logged = self.logged.lock();
        logged.len() < MAX_LOGGED && logged.insert(what)
    }
}
