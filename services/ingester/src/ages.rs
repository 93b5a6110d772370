//! Ages. They are told by the clock that never jumps; the wall clock only says how old is what an earlier process left.

use std::time::{Instant, SystemTime};

/// When something happened that the wall clock noted. What it noted for the future happened before it was set back: that
/// ages from now on.
pub(crate) fn instant_of(noted: SystemTime) -> Instant {
    let age = SystemTime::now().duration_since(noted).unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_was_noted_for_the_future_ages_from_now_on() {
        assert!(instant_of(SystemTime::now() + 24 * HOUR).elapsed() < HOUR);
        let age = instant_of(SystemTime::now() - 24 * HOUR).elapsed();
        assert!(age >= 24 * HOUR && age < 25 * HOUR, "{age:?}");
    }
}
