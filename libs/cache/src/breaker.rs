//! A circuit breaker: a server that does not answer is not asked for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tactus_config::sections::cache::Memcached;

/// When a server is left alone, and for how long.
///
/// There is always a breaker: without one, every read of every query would wait for the timeout if a server hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BreakerSettings {
    /// This many failures one after the other.
    pub(crate) consecutive_failures: u32,
    /// Stay away for this long; then one call tries.
    pub(crate) timeout: Duration,
    /// Failures that are further apart do not count as consecutive.
    pub(crate) interval: Duration,
}

impl BreakerSettings {
    /// The settings in the section of memcached; the defaults where they are zero.
    pub(crate) fn of(section: &Memcached) -> Self {
        let built_in = Self::default();
        Self {
            consecutive_failures: match section.circuit_breaker_consecutive_failures {
                failures if failures > 0 => u32::try_from(failures).unwrap_or(u32::MAX),
                _ => built_in.consecutive_failures,
            },
            timeout: section.circuit_breaker_timeout.non_zero().unwrap_or(built_in.timeout),
            interval: section.circuit_breaker_interval.non_zero().unwrap_or(built_in.interval),
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            timeout: Duration::from_secs(10),
            interval: Duration::from_secs(10),
        }
    }
}

/// The breaker of one server.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the first of these failures happened.
    since: Option<Instant>,
    /// No call is made before this time.
    closed_until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// False if the server is not to be asked now. After a pause, one caller gets through. The next one gets through
    /// only after that call was answered, or after another pause.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        match state.closed_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.closed_until = Some(now + self.settings.timeout);
                true
            }
        }
    }

    /// Records that a call was answered. True if the server was left alone before.
    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.state.lock();
        let was_closed = state.closed_until.is_some();
        *state = State::default();
        was_closed
    }

    /// Records that a call was not answered. True if the server is left alone from now on.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let is_old = |since: Instant| now.saturating_duration_since(since) > self.settings.interval;
        if state.closed_until.is_none() && state.since.is_some_and(is_old) {
            *state = State::default();
        }
        state.since.get_or_insert(now);
        state.failures = state.failures.saturating_add(1);
        let was_open = state.closed_until.is_none();
        if state.failures >= self.settings.consecutive_failures.max(1) {
            state.closed_until = Some(now + self.settings.timeout);
            return was_open;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn server_is_left_alone_after_failures_in_a_row_and_tried_by_one_caller() {
        let breaker = Breaker::new(BreakerSettings::default());
        let start = Instant::now();
        assert!(!breaker.failed(start) && !breaker.failed(start));
        assert!(!breaker.succeeded(), "it was not left alone");
        assert!(!breaker.failed(start) && !breaker.failed(start) && breaker.allows(start));
        assert!(breaker.failed(start));
        assert!(!breaker.failed(start), "a call that was under way");
        assert!(!breaker.allows(start + 9 * SECOND));
        assert!(breaker.allows(start + 10 * SECOND));
        assert!(!breaker.allows(start + 10 * SECOND), "one caller only");
        assert!(!breaker.failed(start + 11 * SECOND) && !breaker.allows(start + 20 * SECOND));
        assert!(breaker.allows(start + 21 * SECOND));
        assert!(breaker.succeeded() && breaker.allows(start + 21 * SECOND));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let breaker = Breaker::new(BreakerSettings::default());
        let start = Instant::now();
        for second in (0..60).step_by(6) {
            assert!(!breaker.failed(start + second * SECOND), "{second}");
        }
    }

    #[test]
    fn no_failures_at_all_count_as_one() {
        let settings = BreakerSettings { consecutive_failures: 0, ..BreakerSettings::default() };
        assert!(Breaker::new(settings).failed(Instant::now()));
    }
}
