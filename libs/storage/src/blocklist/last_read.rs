//! How old the block list is.

use std::collections::HashMap;
use std::time::Duration;

/// When the list was read. It has all blocks until then: until the begin of a poll that listed the bucket, or the time of the
/// index that it read.
#[derive(Debug, Default)]
pub(super) struct LastRead {
    /// When the last poll began that could list the tenants, by [`tactus_clock::since_boot`]. `None`: there was none.
    at: Option<Duration>,
    /// By how much the lists of some tenants are older. An index may be from before the machine started.
    older: HashMap<String, Duration>,
}

/// Tenants whose list is older than the poll: those of which it read an index, with its age, and without one those that it could
/// not read.
pub(crate) type NotNew = HashMap<String, Option<Duration>>;

impl LastRead {
    /// Notes a poll that began at this time.
    pub(super) fn note(&mut self, begun: Duration, not_new: NotNew) {
        let older = |(tenant, index_age): (String, Option<Duration>)| {
            let older = index_age.or_else(|| self.age(&tenant, begun))?;
            Some((tenant, older))
        };
        let older = not_new.into_iter().filter_map(older).collect();
        *self = Self { at: Some(begun), older };
    }

    /// True if there was no poll that could list the tenants.
    pub(super) fn is_never(&self) -> bool {
        self.at.is_none()
    }

    /// The age of the tenant's list; of a tenant that is in no list, that of the last poll that could list the tenants.
    pub(super) fn age(&self, tenant: &str, now: Duration) -> Option<Duration> {
        let older = self.older.get(tenant).copied().unwrap_or_default();
        Some(now.saturating_add(older).saturating_sub(self.at?))
    }

    /// The age of the oldest list.
    pub(super) fn oldest_age(&self, now: Duration) -> Option<Duration> {
        let older = self.older.values().max().copied().unwrap_or_default();
        Some(now.saturating_add(older).saturating_sub(self.at?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_from_before_the_machine_started_is_as_old_as_it_was_when_it_was_read() {
        let [boot, minute, hour] = [5, 60, 3_600].map(Duration::from_secs);
        let mut last = LastRead::default();
        assert_eq!((last.age("t", boot), last.oldest_age(boot)), (None, None));
        last.note(boot, NotNew::from([("t".to_owned(), Some(hour))]));
        assert_eq!(last.age("t", boot), Some(hour));
        let now = boot + minute;
        assert_eq!([last.age("t", now), last.oldest_age(now)], [Some(hour + minute); 2]);
        assert_eq!(last.age("other", now), Some(minute));
        // What could not be read stays as old as it was.
        last.note(now, NotNew::from([("t".to_owned(), None)]));
        assert_eq!(last.age("t", now), Some(hour + minute));
        assert_eq!(last.age("other", now), Some(Duration::ZERO));
        last.note(now, NotNew::new());
        assert_eq!(last.oldest_age(now), Some(Duration::ZERO));
    }
}
