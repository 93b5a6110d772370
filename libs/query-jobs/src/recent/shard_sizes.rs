//! How long tenants have had as many ingesters as now.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tenants that are remembered. Beyond, all are seen for the first time again.
const MAX_TENANTS: usize = 10_000;

/// The sizes of shards, as reads saw them.
///
/// A size changes while the process runs, or with a restart. Spans that were written before may lie at ingesters that are in
/// no shard of today's size, so that a size tells where spans are only once it was seen for as long as ingesters keep spans.
#[derive(Debug, Default)]
pub(super) struct ShardSizes {
    seen: Mutex<HashMap<Box<str>, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    size: usize,
    since: Instant,
}

impl ShardSizes {
    /// True if the tenant had this size whenever it was looked at within `time`, and was so for as long.
    pub(super) fn is_settled(&self, tenant: &str, size: usize, time: Duration) -> bool {
        let now = Instant::now();
        let mut seen = self.seen.lock();
        if let Some(known) = seen.get_mut(tenant) {
            if known.size != size {
                *known = Seen { size, since: now };
            }
            return now.duration_since(known.since) >= time;
        }
        if seen.len() >= MAX_TENANTS {
            seen.clear();
        }
        seen.insert(tenant.into(), Seen { size, since: now });
        time.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn size_is_settled_once_it_was_seen_for_long_enough() {
        let sizes = ShardSizes::default();
        assert!(!sizes.is_settled("a", 3, MINUTE));
        tokio::time::advance(MINUTE).await;
        assert!(sizes.is_settled("a", 3, MINUTE));
        assert!(!sizes.is_settled("b", 3, MINUTE));
        assert!(!sizes.is_settled("a", 0, MINUTE));
        assert!(!sizes.is_settled("a", 3, MINUTE), "there and back");
        tokio::time::advance(MINUTE).await;
        assert!(sizes.is_settled("a", 3, MINUTE) && sizes.is_settled("b", 3, MINUTE));
        for number in 0..MAX_TENANTS {
            sizes.is_settled(&number.to_string(), 1, MINUTE);
        }
        assert!(sizes.seen.lock().len() <= MAX_TENANTS);
    }
}
