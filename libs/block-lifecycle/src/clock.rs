//! What time it is, when data is deleted by it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tactus_storage::Timestamp;

/// Two clocks further apart than this are not trusted.
const TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// The time by which data is old. A wall clock that jumps ahead must not delete what is young: while the wall clock has
/// moved otherwise than the monotonic one, there is no time.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Mutex<(Timestamp, Instant)>,
    trusted: Mutex<Option<Timestamp>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new((Timestamp::now(), Instant::now())), trusted: Mutex::default() }
    }

    /// Notes a time that all clocks that were asked have passed.
    pub(crate) fn trust(&self, time: Timestamp) {
        *self.trusted.lock() = Some(time);
    }

    /// The time that was noted last: somewhat old, so that nothing is taken for older than it is. `None` before any.
    pub(crate) fn trusted(&self) -> Option<Timestamp> {
        *self.trusted.lock()
    }

    /// Now; `None` if the wall clock jumped since the last call. After that the new time is believed if it stays.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.observe(Timestamp::now(), Instant::now())
    }

    fn observe(&self, wall: Timestamp, monotonic: Instant) -> Option<Timestamp> {
        let mut last = self.last.lock();
        let passed = monotonic.duration_since(last.1);
        let shown = wall.duration_since(last.0);
        *last = (wall, monotonic);
        let difference = shown.as_secs_f64() - passed.as_secs_f64();
        if difference.abs() > TOLERANCE.as_secs_f64() {
            tracing::error!(
                seconds = difference,
                "the clock jumped: nothing is deleted by age in this round"
            );
            return None;
        }
        Some(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jump_stops_one_round_and_a_steady_clock_none() {
        let clock = Clock::new();
        let (wall, monotonic) = *clock.last.lock();
        let at = |wall_seconds: i64, monotonic_seconds: u64| {
            clock.observe(
                wall + seconds(wall_seconds),
                monotonic + Duration::from_secs(monotonic_seconds),
            )
        };
        assert!(at(300, 300).is_some());
        assert!(at(86_400, 600).is_none(), "a day in five minutes");
        assert!(at(86_700, 900).is_some(), "it stays: believed");
        assert!(at(1000, 1200).is_none(), "and back");
        assert!(at(1300, 1500).is_some());
    }

    fn seconds(seconds: i64) -> Duration {
        Duration::from_secs(u64::try_from(seconds).unwrap())
    }
}
