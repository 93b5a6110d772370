//! The time of day, and the age of things, even if the wall clock jumps.
//!
//! [`Instant`] measures ages within a process. This crate is for code that needs a time of day, such as the time of a
//! sample or the range of a query, and for the age of files that an earlier process left.
#![warn(missing_docs)]

mod steady;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use steady::{Jump, Steady};

static STEADY: Mutex<Option<Steady>> = Mutex::new(None);

/// The time of day. If the wall clock jumps by more than a minute, this ignores the jump at first, and follows it after
/// ten minutes.
pub fn now() -> SystemTime {
    let (wall, passed) = (SystemTime::now(), since_boot());
    let (time, jump) =
        STEADY.lock().get_or_insert_with(|| Steady::new(wall, passed)).observe(wall, passed);
    match jump {
        None => {}
        Some(Jump::Seen(seconds)) => {
            tracing::error!(
                seconds,
                "the wall clock jumped: the new time is ignored unless it lasts"
            );
        }
        Some(Jump::Believed(seconds)) => {
            tracing::warn!(
                seconds,
                "the wall clock jumped and did not go back: the new time is used from now on"
            );
        }
    }
    time
}

/// [`now`] since 1970.
pub fn since_epoch() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// [`now`] in seconds since 1970.
pub fn unix_seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// [`now`] in nanoseconds since 1970.
pub fn unix_nanos() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

/// The minimum age of a file with this modification time, whatever jumps the wall clock has made since.
pub fn age_of(written: SystemTime) -> Duration {
    let ages =
        [SystemTime::now(), now()].map(|now| now.duration_since(written).unwrap_or_default());
    ages[0].min(ages[1])
}

/// The moment for a time that was recorded with the wall clock. A time in the future was recorded before the clock was
/// set back, so its age counts from now.
pub fn instant_of(noted: SystemTime) -> Instant {
    let now = Instant::now();
    now.checked_sub(age_of(noted)).unwrap_or(now)
}

/// From a clock that nobody can set, and that continues while the machine sleeps.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_was_noted_for_the_future_ages_from_now_on() {
        assert!(instant_of(SystemTime::now() + 24 * HOUR).elapsed() < HOUR);
        let age = instant_of(SystemTime::now() - 24 * HOUR).elapsed();
        assert!(age >= 24 * HOUR && age < 25 * HOUR, "{age:?}");
    }
}
