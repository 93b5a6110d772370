//! How old the block list is.

use std::collections::HashMap;
use std::time::Duration;

/// Until when the list has all blocks, by [`tactus_clock::since_boot`]: the begin of a poll that listed the bucket, or the
/// time of the index that it read.
#[derive(Debug, Default)]
pub(super) struct LastRead {
    /// The last one that could list the tenants. `None`: there was none.
    at: Option<Duration>,
    /// Of tenants whose list is older.
    older: HashMap<String, Duration>,
}

/// Tenants whose list is older than the poll.
#[derive(Debug, Default)]
pub(crate) struct NotNew {
    /// Those that it could not read.
    pub(crate) kept: Vec<String>,
    /// Those of which it read an index, with its age.
    pub(crate) index_ages: Vec<(String, Duration)>,
}

impl LastRead {
    /// Notes a poll that began at this time.
    pub(super) fn note(&mut self, begun: Duration, not_new: NotNew) {
        let time_of = |tenant: String| {
            let time = self.of(&tenant)?;
            Some((tenant, time))
        };
        let kept = not_new.kept.into_iter().filter_map(time_of);
        let of_index = |(tenant, age)| (tenant, begun.saturating_sub(age));
        let older = kept.chain(not_new.index_ages.into_iter().map(of_index)).collect();
        *self = Self { at: Some(begun), older };
    }

    /// When the last poll began.
    pub(super) fn at(&self) -> Option<Duration> {
        self.at
    }

    /// The time of the tenant's list; of a tenant that is in no list, when the last poll began that could list the tenants.
    pub(super) fn of(&self, tenant: &str) -> Option<Duration> {
        self.older.get(tenant).copied().or(self.at)
    }

    /// The time of the oldest list.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.older.values().copied().chain(self.at).min()
    }
}
