//! A time of day that does not jump.

use std::time::{Duration, SystemTime};

/// Smaller steps of the wall clock are followed at once, such as those of time synchronisation.
const STEP: Duration = Duration::from_secs(60);
/// After a larger step, the wall clock is believed after this time.
const BELIEVED_AFTER: Duration = Duration::from_secs(600);

/// Decides which wall clock time to believe.
#[derive(Debug)]
pub(crate) struct Steady {
    /// A wall clock time that was believed, and the reading of the steady clock then.
    base: (SystemTime, Duration),
    /// How many seconds the wall clock is ahead of what is believed, and since when.
    ahead: Option<(f64, Duration)>,
}

/// What the wall clock did, in seconds ahead of the believed time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Jump {
    Seen(f64),
    Believed(f64),
}

impl Steady {
    pub(crate) fn new(wall: SystemTime, passed: Duration) -> Self {
        Self { base: (wall, passed), ahead: None }
    }

    /// The time of day to use. `passed`: the reading of a clock that nobody can set. The `Jump` is to be logged, once.
    pub(crate) fn observe(
        &mut self,
        wall: SystemTime,
        passed: Duration,
    ) -> (SystemTime, Option<Jump>) {
        let (base, then) = self.base;
        let Some(expected) = base.checked_add(passed.saturating_sub(then)) else {
            *self = Self::new(wall, passed);
            return (wall, None);
        };
        let ahead = match wall.duration_since(expected) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(behind) => -behind.duration().as_secs_f64(),
        };
        let step = STEP.as_secs_f64();
        if ahead.abs() <= step {
            *self = Self::new(wall, passed);
            return (wall, None);
        }
        match self.ahead {
            Some((known, since)) if (known - ahead).abs() <= step => {
                if passed.saturating_sub(since) < BELIEVED_AFTER {
                    return (expected, None);
                }
                *self = Self::new(wall, passed);
                (wall, Some(Jump::Believed(ahead)))
            }
            _ => {
                self.ahead = Some((ahead, passed));
                (expected, Some(Jump::Seen(ahead)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    /// At seconds by the wall clock and by the other one: seconds that are told.
    fn observe(steady: &mut Steady, wall: i64, passed: u64) -> (i64, Option<Jump>) {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(20 * 365 * DAY as u64);
        let magnitude = Duration::from_secs(wall.unsigned_abs());
        let at = if wall < 0 { start - magnitude } else { start + magnitude };
        let (time, jump) = steady.observe(at, Duration::from_secs(passed));
        let told = match time.duration_since(start) {
            Ok(after) => after.as_secs() as i64,
            Err(before) => -(before.duration().as_secs() as i64),
        };
        (told, jump)
    }

    fn begun() -> Steady {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(20 * 365 * DAY as u64);
        Steady::new(start, Duration::ZERO)
    }

    #[test]
    fn steps_of_a_clock_that_is_kept_right_are_followed() {
        let mut steady = begun();
        for (wall, passed) in [(10, 10), (65, 20), (50, 30), (40_000, 40_000)] {
            assert_eq!(observe(&mut steady, wall, passed), (wall, None));
        }
    }

    #[test]
    fn jump_of_a_day_is_not_followed_until_it_stayed() {
        for day in [DAY, -DAY] {
            let mut steady = begun();
            let jump = day as f64;
            assert_eq!(observe(&mut steady, 10 + day, 10), (10, Some(Jump::Seen(jump))));
            assert_eq!(observe(&mut steady, 20 + day, 20), (20, None));
            assert_eq!(observe(&mut steady, 609 + day, 609), (609, None));
            let believed = (610 + day, Some(Jump::Believed(jump)));
            assert_eq!(observe(&mut steady, 610 + day, 610), believed);
            assert_eq!(observe(&mut steady, 700 + day, 700), (700 + day, None));
        }
    }

    #[test]
    fn clock_that_was_set_right_again_is_as_if_it_never_jumped() {
        let mut steady = begun();
        observe(&mut steady, 10 + DAY, 10);
        assert_eq!(observe(&mut steady, 500, 500), (500, None));
        assert_eq!(observe(&mut steady, 700 + DAY, 700), (700, Some(Jump::Seen(DAY as f64))));
        // Another place is another jump.
        assert_eq!(
            observe(&mut steady, 1_290 - DAY, 1_290),
            (1_290, Some(Jump::Seen(-DAY as f64)))
        );
        assert_eq!(observe(&mut steady, 1_310 - DAY, 1_310), (1_310, None));
    }
}
