//! The time window of a query.

use std::time::Duration;

use crate::{Error, Result};

const NANOS_A_SECOND: u64 = 1_000_000_000;

/// What the caller said about time; zero stands for "nothing".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedRange {
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
    /// Length of a range that ends now; wins over the others.
    pub since: Option<Duration>,
}

/// How a range is completed and clamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRules {
    /// Unix nanoseconds.
    pub now: u64,
    /// Length of the window of a query without one.
    pub default_length: Duration,
    /// Queries end at least so long before now.
    pub end_cutoff: Duration,
}

/// By how much the clocks of a client and of those who sent spans may be ahead of ours.
const CLOCK_SLACK: Duration = Duration::from_secs(600);

/// A window in unix nanoseconds, both ends inclusive. One that ends before it starts is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First nanosecond.
    pub start: u64,
    /// Last nanosecond.
    pub end: u64,
}

impl RequestedRange {
    /// The window to query: empty if nothing of what the caller asked for can be answered yet. Errors: only one of start
    /// and end.
    pub fn window(&self, rules: &WindowRules) -> Result<Window> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let last = rules.now.saturating_sub(nanos(rules.end_cutoff));
        let default_start = rules.now.saturating_sub(nanos(rules.default_length));
        if let Some(since) = self.since {
            return Ok(Window { start: last.saturating_sub(nanos(since)), end: last });
        }
        match (self.start, self.end) {
            (0, 0) => Ok(Window { start: default_start, end: last }),
            (0, _) | (_, 0) => Err(Error::Invalid(
                "error parsing date range: only one of start and end provided: must provide both or neither"
                    .to_owned(),
            )),
            (start, end) => {
                // Without a cutoff the end is bounded only so that a range is not longer than it looks.
                let slack = if rules.end_cutoff.is_zero() { CLOCK_SLACK } else { Duration::ZERO };
                Ok(Window { start, end: end.min(last.saturating_add(nanos(slack))) })
            }
        }
    }
}

impl Window {
    /// True if nothing can be within.
    pub fn is_empty(&self) -> bool {
        self.end < self.start
    }

    /// The start in whole seconds, rounded down.
    pub fn start_seconds(&self) -> u32 {
        u32::try_from(self.start / NANOS_A_SECOND).unwrap_or(u32::MAX)
    }

    /// The end in whole seconds, rounded up: what started in the second of `end` is inside.
    pub fn end_seconds(&self) -> u32 {
        u32::try_from(self.end.div_ceil(NANOS_A_SECOND)).unwrap_or(u32::MAX)
    }

    /// Refuses a window longer than `limit`; zero is no limit. The rest of the last second does not count: a window that
    /// was given in micro- or milliseconds ends with the last nanosecond of one, and is no longer for that. Neither does
    /// what lies after `now`, unix nanoseconds.
    pub fn check_length(&self, limit: Duration, now: u64) -> Result<()> {
        let counted = Self { end: self.end.min(now), ..*self };
        let seconds = counted.end.saturating_sub(counted.start) / NANOS_A_SECOND;
        if limit.is_zero() || Duration::from_secs(seconds) <= limit {
            return Ok(());
        }
        let limit = tactus_config::GoDuration::from(limit);
        Err(Error::Invalid(format!(
            "range specified by start and end exceeds {limit}. received start={} end={}",
            counted.start_seconds(),
            counted.end_seconds()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NANOS_A_SECOND;

    fn rules(end_cutoff: u64) -> WindowRules {
        WindowRules {
            now: 10_000 * SECOND,
            default_length: Duration::from_secs(900),
            end_cutoff: Duration::from_secs(end_cutoff),
        }
    }

    fn window(start: u64, end: u64, since: Option<u64>, cutoff: u64) -> Result<(u32, u32)> {
        let range = RequestedRange {
            start: start * SECOND,
            end: end * SECOND,
            since: since.map(Duration::from_secs),
        };
        range.window(&rules(cutoff)).map(|window| (window.start_seconds(), window.end_seconds()))
    }

    #[test]
    fn window_is_completed_and_clamped() {
        assert_eq!(window(0, 0, None, 0), Ok((9_100, 10_000)));
        assert_eq!(window(0, 0, None, 30), Ok((9_100, 9_970)));
        assert_eq!(window(5, 6, Some(100), 30), Ok((9_870, 9_970)));
        assert_eq!(window(5, 6, None, 0), Ok((5, 6)));
        assert_eq!(window(5, 20_000, None, 0), Ok((5, 10_600)));
        assert_eq!(window(5, 20_000, None, 30), Ok((5, 9_970)));
    }

    #[test]
    fn range_that_cannot_be_answered_yet_is_empty_and_never_another_one() {
        let is_empty = |start: u64, end: u64, cutoff| {
            let range = RequestedRange { start: start * SECOND, end: end * SECOND, since: None };
            range.window(&rules(cutoff)).map(|window| window.is_empty())
        };
        assert_eq!(is_empty(11_000, 20_000, 0), Ok(true));
        assert_eq!(is_empty(9_980, 9_990, 30), Ok(true), "within the cutoff");
        assert_eq!(is_empty(9_960, 9_990, 30), Ok(false));
        assert_eq!(is_empty(10_500, 20_000, 0), Ok(false), "clocks may differ so much");
        for since in [None, Some(Duration::ZERO), Some(Duration::from_secs(60))] {
            let range = RequestedRange { since, ..RequestedRange::default() };
            assert!(!range.window(&rules(0)).unwrap().is_empty(), "{since:?}");
        }
    }

    #[test]
    fn one_end_alone_is_refused() {
        let text = "error parsing date range: only one of start and end provided: must provide both or neither";
        for (start, end) in [(5, 0), (0, 5)] {
            assert_eq!(window(start, end, None, 0), Err(Error::Invalid(text.into())));
        }
    }

    #[test]
    fn window_longer_than_the_limit_is_refused() {
        let week = Duration::from_secs(168 * 3600);
        let window = Window { start: SECOND, end: 604_802 * SECOND };
        assert_eq!(
            window.check_length(week, u64::MAX).unwrap_err().to_string(),
            "range specified by start and end exceeds 168h0m0s. received start=1 end=604802"
        );
        for rest in [0, 999, 999_999] {
            let window = Window { start: SECOND, end: 604_801 * SECOND + rest };
            assert_eq!(window.check_length(week, u64::MAX), Ok(()));
        }
        assert_eq!(window.check_length(Duration::ZERO, u64::MAX), Ok(()));
        let after_now = RequestedRange { start: 9_000 * SECOND, end: 20_000 * SECOND, since: None };
        let window = after_now.window(&rules(0)).unwrap();
        assert_eq!(window.check_length(Duration::from_secs(1_000), rules(0).now), Ok(()));
        assert_eq!(
            window.check_length(Duration::from_secs(999), rules(0).now).unwrap_err().to_string(),
            "range specified by start and end exceeds 16m39s. received start=9000 end=10000"
        );
    }

    #[test]
    fn part_of_a_second_counts_at_both_ends() {
        let window = Window { start: SECOND + 1, end: SECOND + 1 };
        assert_eq!((window.start_seconds(), window.end_seconds()), (1, 2));
    }
}
