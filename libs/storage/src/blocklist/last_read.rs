//! When polls read the bucket.

use std::collections::HashMap;
use std::time::Duration;

/// When polls began that read the bucket, by [`tactus_clock::since_boot`].
#[derive(Debug, Default)]
pub(super) struct LastRead {
    /// The last one that could list the tenants. `None`: there was none.
    at: Option<Duration>,
    /// The last one that could read the tenant, of tenants that later ones could not read.
    older: HashMap<String, Duration>,
}

impl LastRead {
    /// Notes a poll that began at this time. `kept`: tenants that it could not read.
    pub(super) fn note(&mut self, begun: Duration, kept: Vec<String>) {
        let time_of = |tenant: String| {
            let time = self.of(&tenant)?;
            Some((tenant, time))
        };
        let older = kept.into_iter().filter_map(time_of).collect();
        *self = Self { at: Some(begun), older };
    }

    /// When the last poll began.
    pub(super) fn at(&self) -> Option<Duration> {
        self.at
    }

    /// When the last poll began that could read the tenant; of one that is in no list, that could list the tenants.
    pub(super) fn of(&self, tenant: &str) -> Option<Duration> {
        self.older.get(tenant).copied().or(self.at)
    }

    /// The same of the tenant that was not read for the longest time.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.older.values().copied().chain(self.at).min()
    }
}
