//! Decides how many requests are sent at the same time.

use std::time::{Duration, Instant};

use tactus_config::sections::remote_write::QueueConfig;

/// Time between two decisions.
const INTERVAL: Duration = Duration::from_secs(10);

/// Weight of the newest rate in the average.
const WEIGHT: f64 = 0.2;

/// A number this close to what is asked for stays.
const TOLERANCE: f64 = 0.3;

/// Part of the backlog to work off in a second.
const CATCH_UP: f64 = 0.05;

/// Follows rate, speed and backlog of one remote.
#[derive(Debug)]
pub(crate) struct Shards {
    count: usize,
    desired: f64,
    min: usize,
    max: usize,
    decided: Instant,
    before: Progress,
    incoming: Average,
    outgoing: Average,
    busy: Average,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Samples that came into the queue.
    pub(crate) incoming: u64,
    /// Samples that a receiver took.
    pub(crate) outgoing: u64,
    /// Seconds of the requests that a receiver took.
    pub(crate) busy_seconds: f64,
}

#[derive(Debug, Default)]
struct Average(Option<f64>);

impl Average {
    fn add(&mut self, rate: f64) -> f64 {
        let average = self.0.map_or(rate, |average| average + WEIGHT * (rate - average));
        *self.0.insert(average)
    }
}

impl Shards {
    pub(crate) fn new(settings: &QueueConfig, now: Instant) -> Self {
        Self {
            count: settings.min_shards as usize,
            desired: settings.min_shards as f64,
            min: settings.min_shards as usize,
            max: settings.max_shards as usize,
            decided: now,
            before: Progress::default(),
            incoming: Average::default(),
            outgoing: Average::default(),
            busy: Average::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn desired(&self) -> f64 {
        self.desired
    }

    /// Decides again if it is time to. `pending`: samples that wait.
    pub(crate) fn decide(&mut self, now: Instant, progress: Progress, pending: f64) {
        let elapsed = now.duration_since(self.decided);
        if elapsed < INTERVAL {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let before = std::mem::replace(&mut self.before, progress);
        self.decided = now;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let incoming = self.incoming.add(rate(progress.incoming, before.incoming));
        let outgoing = self.outgoing.add(rate(progress.outgoing, before.outgoing));
        let busy = self.busy.add((progress.busy_seconds - before.busy_seconds) / seconds);
        if outgoing <= 0.0 {
            // Nothing gets through: more requests would not help.
            return;
        }
        self.desired = busy / outgoing * (incoming + CATCH_UP * pending);
        let wanted = self.desired.ceil();
        let count = self.count as f64;
        if wanted < count * (1.0 - TOLERANCE) || wanted > count * (1.0 + TOLERANCE) {
            self.count = (wanted as usize).clamp(self.min, self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(min_shards: i64, max_shards: i64) -> QueueConfig {
        QueueConfig { min_shards, max_shards, ..QueueConfig::default() }
    }

    fn after(shards: &mut Shards, start: Instant, ticks: u32, progress: Progress, pending: f64) {
        for tick in 1..=ticks {
            let progress = Progress {
                incoming: progress.incoming * u64::from(tick),
                outgoing: progress.outgoing * u64::from(tick),
                busy_seconds: progress.busy_seconds * f64::from(tick),
            };
            shards.decide(start + INTERVAL * tick, progress, pending);
        }
    }

    #[test]
    fn shards_follow_the_backlog_up_to_the_limit() {
        let start = Instant::now();
        let mut shards = Shards::new(&settings(1, 50), start);
        // 2000 samples take one second; 2000 come in a second; 40 000 wait.
        let slow = Progress { incoming: 20_000, outgoing: 10_000, busy_seconds: 5.0 };
        after(&mut shards, start, 3, slow, 40_000.0);
        assert_eq!(shards.count(), 2);
        let mut few = Shards::new(&settings(1, 4), start);
        after(&mut few, start, 3, slow, 4e9);
        assert_eq!(few.count(), 4);
    }

    #[test]
    fn shards_shrink_to_the_minimum_without_load() {
        let start = Instant::now();
        let mut shards = Shards::new(&settings(2, 50), start);
        shards.count = 40;
        let idle = Progress { incoming: 100, outgoing: 100, busy_seconds: 0.01 };
        after(&mut shards, start, 2, idle, 0.0);
        assert_eq!(shards.count(), 2);
    }

    #[test]
    fn shards_stay_in_an_outage() {
        let start = Instant::now();
        let mut shards = Shards::new(&settings(1, 50), start);
        let outage = Progress { incoming: 20_000, outgoing: 0, busy_seconds: 0.0 };
        after(&mut shards, start, 5, outage, 1e6);
        assert_eq!(shards.count(), 1);
    }
}
