//! The memory that threads at the gate hold.

use std::collections::HashMap;

/// One part in this many is for tenants that hold nothing: others may hold what they have for long.
const PART_FOR_NEWCOMERS: u64 = 8;

/// Bytes that threads hold, within a limit.
#[derive(Debug, Default)]
pub(super) struct HeldBytes {
    most: u64,
    all: u64,
    /// By tenant; none that holds nothing.
    of_tenant: HashMap<u64, u64>,
}

impl HeldBytes {
    pub(super) fn new(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    pub(super) fn take(&mut self, tenant: u64, bytes: u64) {
        if bytes > 0 {
            self.all += bytes;
            *self.of_tenant.entry(tenant).or_default() += bytes;
        }
    }

    pub(super) fn give_back(&mut self, tenant: u64, bytes: u64) {
        self.all -= bytes;
        if let Some(held) = self.of_tenant.get_mut(&tenant) {
            *held -= bytes;
            if *held == 0 {
                self.of_tenant.remove(&tenant);
            }
        }
    }

    /// True if there is so much left.
    pub(super) fn has(&self, bytes: u64) -> bool {
        self.all.saturating_add(bytes) <= self.most
    }

    /// True if a tenant may hold so much more.
    pub(super) fn admits(&self, tenant: u64, bytes: u64) -> bool {
        let kept = match self.of_tenant.contains_key(&tenant) {
            true if bytes > 0 => self.most / PART_FOR_NEWCOMERS,
            _ => 0,
        };
        self.has(bytes.saturating_add(kept))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0 && self.of_tenant.is_empty()
    }
}
