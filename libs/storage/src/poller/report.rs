//! The report of a poll.

use jiff::Timestamp;

use super::TenantPoll;

/// What one poll saw and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollReport {
    /// Tenants found in the bucket, or known from before.
    pub tenants: usize,
    /// Blocks with a `meta.json` over the tenants that were polled, superseded ones included.
    pub live_blocks: usize,
    /// Compacted blocks over the tenants that were polled.
    pub compacted_blocks: usize,
    /// Metas read because their block was new, or because the listing did not show a known one.
    pub metas_read: usize,
    /// Metas that could not be parsed, belong to another block, or lie where a local store cannot be read: these blocks
    /// are not seen.
    pub metas_corrupt: usize,
    /// Metas that could not be read, in tenants that had no list to keep: these blocks are not seen
    /// before the next poll.
    pub metas_missing: usize,
    /// Blocks that the list has no room for, here or where the index was written: these are not seen.
    pub left_out: usize,
    /// Tenants whose list was kept because polling them failed, sorted.
    pub failed_tenants: Vec<String>,
    /// True when so many tenants failed that the rest was skipped.
    pub abandoned: bool,
    /// Tenants without blocks whose objects were all deleted, sorted.
    pub deleted_tenants: Vec<String>,
    /// Each tenant that was polled, in no fixed order.
    pub by_tenant: Vec<TenantReport>,
}

/// What a poll saw of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantReport {
    /// The tenant.
    pub tenant: String,
    /// This process writes the tenant's index.
    pub is_builder: bool,
    /// When the blocks of the index were listed that was last read or written, whether it could be used or not.
    pub index_created_at: Option<Timestamp>,
    /// Failed reads, writes and deletes of index files.
    pub index_errors: usize,
    /// Metas that could not be parsed, or belong to another block or tenant.
    pub metas_corrupt: usize,
    /// Blocks that the list has no room for.
    pub left_out: usize,
    /// Polling failed: the list was kept, or is incomplete.
    pub failed: bool,
}

impl PollReport {
    pub(super) fn add(&mut self, tenant: &str, poll: &TenantPoll) {
        self.live_blocks += poll.blocks.all_live().count();
        self.compacted_blocks += poll.blocks.compacted().len();
        self.metas_read += poll.metas_read;
        self.metas_corrupt += poll.metas_corrupt;
        self.metas_missing += poll.metas_missing;
        self.left_out += poll.left_out;
        if poll.is_deleted {
            self.deleted_tenants.push(tenant.to_owned());
        }
    }

    /// True if a list differs from what the bucket has.
    pub fn is_incomplete(&self) -> bool {
        self.metas_corrupt > 0
            || self.metas_missing > 0
            || self.left_out > 0
            || !self.failed_tenants.is_empty()
    }
}
