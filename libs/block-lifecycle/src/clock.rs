//! The time by which data is deleted.

use std::time::Duration;

use parking_lot::Mutex;
use tactus_clock::since_boot;
use tactus_storage::Timestamp;

/// If two clocks are further apart than this, neither is trusted.
const TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// If there is no other clock to ask, a clock that was set ahead is distrusted for this long, so that somebody can
/// notice.
const DOUBTED_FOR: Duration = Duration::from_secs(24 * 3600);

/// The time by which data is old. A wall clock that jumps ahead must not delete young data, so there is no time while
/// the wall clock and a clock that nobody can set have moved differently.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Mutex<Last>,
    trusted: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Last {
    wall: Timestamp,
    passed: Duration,
    /// By how many seconds the wall clock was set ahead in total, and when it last was.
    ahead: Option<(f64, Duration)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let last = Last { wall: Timestamp::now(), passed: since_boot(), ahead: None };
        Self { last: Mutex::new(last), trusted: Mutex::default() }
    }

    /// Records a time that all clocks that were asked have passed.
    pub(crate) fn trust(&self, time: Timestamp) {
        *self.trusted.lock() = Some(time);
    }

    /// The recorded time. It is slightly old, so that nothing appears older than it is. `None` if no time was recorded.
    pub(crate) fn trusted(&self) -> Option<Timestamp> {
        *self.trusted.lock()
    }

    /// Now; `None` if the wall clock has jumped since the last call. If it does not jump again, the new time is
    /// believed after that.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        self.observe(Timestamp::now(), since_boot())
    }

    /// True for a day after the wall clock was set ahead, unless it was set back again.
    pub(crate) fn is_doubted(&self) -> bool {
        let last = self.last.lock();
        last.ahead.is_some_and(|(seconds, since)| {
            seconds > 0.0 && last.passed.saturating_sub(since) < DOUBTED_FOR
        })
    }

    fn observe(&self, wall: Timestamp, passed: Duration) -> Option<Timestamp> {
        let mut last = self.last.lock();
        let shown = wall.duration_since(last.wall);
        let difference = shown.as_secs_f64() - passed.saturating_sub(last.passed).as_secs_f64();
        (last.wall, last.passed) = (wall, passed);
        if difference.abs() > TOLERANCE.as_secs_f64() {
            let ahead = last.ahead.map_or(0.0, |(seconds, _)| seconds) + difference;
            last.ahead = (ahead.abs() > TOLERANCE.as_secs_f64()).then_some((ahead, passed));
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

    const DAY: u64 = 86_400;

    /// Passes two times to the clock, in seconds since its start by the wall clock and by the other one. True if the
    /// time is believed.
    fn observer(clock: &Clock) -> impl Fn(u64, u64) -> bool {
        let Last { wall, passed, .. } = *clock.last.lock();
        move |wall_seconds, passed_seconds| {
            let wall = wall + Duration::from_secs(wall_seconds);
            clock.observe(wall, passed + Duration::from_secs(passed_seconds)).is_some()
        }
    }

    #[test]
    fn jump_stops_one_round_and_a_steady_clock_none() {
        let clock = Clock::new();
        let is_believed = observer(&clock);
        assert!(is_believed(300, 300));
        assert!(!is_believed(DAY, 600), "a day in five minutes");
        assert!(is_believed(DAY + 300, 900), "it stays");
        assert!(!is_believed(1000, 1200), "and back");
        assert!(is_believed(1300, 1500));
    }

    #[test]
    fn clock_that_was_set_ahead_is_doubted_for_a_day_or_until_it_is_set_back() {
        let clock = Clock::new();
        let is_believed = observer(&clock);
        is_believed(300, 300);
        assert!(!clock.is_doubted());
        is_believed(20 * DAY, 600);
        assert!(clock.is_doubted());
        assert!(is_believed(20 * DAY + 80_000, 80_600) && clock.is_doubted());
        is_believed(81_000, 81_000);
        assert!(!clock.is_doubted(), "as it would have been");
        is_believed(20 * DAY, 82_000);
        is_believed(21 * DAY + 1, 82_000 + DAY + 1);
        assert!(!clock.is_doubted(), "it stayed");
        is_believed(0, 83_000 + DAY);
        assert!(!clock.is_doubted(), "what is set back deletes nothing early");
    }
}
