//! The memory of uploaded files that are being read.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tactus_work::memory::Budget;

/// Divisor: those of one tenant leave this part of the memory to files of others.
const PART_FOR_OTHERS: u64 = 8;

/// Memory of uploaded files.
pub(crate) struct FileMemory {
    pub(crate) all: Arc<Budget>,
    /// Of tenants with files, by their number.
    of_tenants: Mutex<HashMap<u64, Weak<Budget>>>,
}

impl FileMemory {
    /// At most this many bytes.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { all: Budget::new(max_bytes), of_tenants: Mutex::default() }
    }

    /// What a tenant may take. `tenant`: one number for all its requests.
    pub(crate) fn of_tenant(&self, tenant: u64) -> Arc<Budget> {
        let mut of_tenants = self.of_tenants.lock();
        if let Some(known) = of_tenants.get(&tenant).and_then(Weak::upgrade) {
            return known;
        }
        of_tenants.retain(|_, budget| budget.strong_count() > 0);
        let max_bytes = self.all.max_bytes();
        let budget = Budget::within(&self.all, max_bytes - max_bytes / PART_FOR_OTHERS);
        of_tenants.insert(tenant, Arc::downgrade(&budget));
        budget
    }
}
