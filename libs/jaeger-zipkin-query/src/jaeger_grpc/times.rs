//! Times and durations of messages.

use std::time::Duration;

use prost_types::Timestamp;

/// Nanoseconds since 1970. `None`: not set; clients of some languages say so by a time long before 1970.
pub(super) fn unix_nanos(time: Option<&Timestamp>) -> Option<u64> {
    let time = time?;
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u64::try_from(time.nanos.clamp(0, 999_999_999)).unwrap_or(0);
    Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The time of this many nanoseconds since 1970.
pub(super) fn timestamp(unix_nanos: u64) -> Timestamp {
    // Both fit: the seconds of a u64 of nanoseconds are below 2^35.
    let seconds = (unix_nanos / 1_000_000_000) as i64;
    Timestamp { seconds, nanos: (unix_nanos % 1_000_000_000) as i32 }
}

/// A bound of durations. `None`: not set, as zero and what is below.
pub(super) fn bound(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    // Not the conversion of the message itself: that one panics on numbers that no client should send.
    let duration = duration?;
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?;
    let duration = Duration::new(seconds, nanos.min(999_999_999));
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn times_are_nanoseconds_both_ways() {
        assert_eq!(unix_nanos(Some(&at(3, 5))), Some(3_000_000_005));
        assert_eq!(timestamp(3_000_000_005), at(3, 5));
        assert_eq!(unix_nanos(Some(&timestamp(u64::MAX))), Some(u64::MAX));
        assert_eq!(unix_nanos(Some(&at(i64::MAX, i32::MAX))), Some(u64::MAX));
    }

    #[test]
    fn times_before_1970_are_not_set() {
        assert_eq!(unix_nanos(None), None);
        assert_eq!(unix_nanos(Some(&at(-62_135_596_800, 0))), None);
        assert_eq!(unix_nanos(Some(&at(0, -1))), Some(0));
    }

    #[test]
    fn durations_bound_if_they_are_positive() {
        let of = |seconds, nanos| bound(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(of(1, 500_000_000), Some(Duration::from_millis(1_500)));
        assert_eq!([of(0, 0), of(-1, 0), of(i64::MIN, i32::MIN), bound(None)], [None; 4]);
        assert!(of(i64::MAX, i32::MAX).is_some());
    }
}
