//! Bounds the lines that one place in the code may log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::metrics::{Counter, Registry};

/// Lines of one call site in one window; the rest of the window is silent.
const LINES_PER_WINDOW: u64 = 10;
const WINDOW_SECONDS: u64 = 10;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

static DROPPED: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Log lines not written because their call site logs too often.";
    Registry::global().counter("tempo_dropped_log_lines_total", help)
});

/// The allowance of one call site: 10 lines every 10 seconds. Never locks. Used by [`log_limited!`].
///
/// [`log_limited!`]: crate::log_limited
#[derive(Debug, Default)]
pub struct RateLimit {
    /// Window number in the upper 32 bits, lines asked for in it in the lower 32.
    state: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// A full allowance.
    pub const fn new() -> Self {
        Self { state: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Asks to log one line: `None` if it must not be written, otherwise how many were suppressed
    /// since the last one (`Some(None)` for none of them, which leaves the field out).
    pub fn admit(&self) -> Option<Option<u64>> {
        self.admit_at(STARTED.elapsed().as_secs()).or_else(|| {
            DROPPED.inc();
            None
        })
    }

    fn admit_at(&self, seconds: u64) -> Option<Option<u64>> {
        let window = (seconds / WINDOW_SECONDS) << 32;
        let count = |state: u64| {
            // A thread that read the clock before another one counts in the newer window.
            let state = state.max(window);
            // Stops counting at the limit, so that lines cannot carry over into the window number.
            Some(if state & 0xffff_ffff < LINES_PER_WINDOW { state + 1 } else { state })
        };
        let before = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .unwrap_or_else(|state| state)
            .max(window);
        if before & 0xffff_ffff < LINES_PER_WINDOW {
            let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
            Some((suppressed > 0).then_some(suppressed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

/// Logs like `tracing`'s macro of the level named, but at most 10 lines every 10 seconds from one
/// place in the code. The first line after a silence has the field `suppressed`, the number of lines
/// left out; they count in `tempo_dropped_log_lines_total` as well.
///
/// ```
/// let tenant = "acme";
/// tactus_telemetry::log_limited!(warn, tenant, spans = 3, "spans refused");
/// ```
#[macro_export]
macro_rules! log_limited {
    ($level:ident, $($event:tt)+) => {{
        static LIMIT: $crate::logging::RateLimit = $crate::logging::RateLimit::new();
        if let ::core::option::Option::Some(suppressed) = LIMIT.admit() {
            $crate::__tracing::$level!(suppressed, $($event)+);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_reached_silences_the_rest_of_the_window() {
        let limit = RateLimit::new();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(limit.admit_at(3), Some(None));
        }
        assert_eq!(limit.admit_at(4), None);
        assert_eq!(limit.admit_at(9), None);
        assert_eq!(limit.admit_at(10), Some(Some(2)));
        assert_eq!(limit.admit_at(11), Some(None));
    }

    #[test]
    fn late_clock_counts_in_the_newer_window() {
        let limit = RateLimit::new();
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(limit.admit_at(20), Some(None));
        }
        assert_eq!(limit.admit_at(19), None);
        assert_eq!(limit.admit_at(30), Some(Some(1)));
    }
}
