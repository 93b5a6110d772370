//! Computes the time range of a block from the times of its spans.

use tactus_model::span_end;

/// If most spans disagree with our clock by less than this, the spans are believed, so that queries find the block.
const MAX_CLOCK_ERROR: u64 = 7 * 86_400 * 1_000_000_000;

/// The year 2024, in unix nanoseconds. An earlier time means that the clock was never set since the machine started.
const EARLIEST_NOW: u64 = 1_704_067_200 * 1_000_000_000;

/// When spans arrived, and how far their own times may differ from that. All in unix nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) now: u64,
    /// The largest difference that is believed. 0: any.
    pub(crate) slack: u64,
}

/// The time range of some spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockTimes {
    /// Start and end.
    pub(crate) range: (u64, u64),
    /// Spans of which a time was replaced.
    pub(crate) replaced: u64,
}

/// The time range that these spans add to their block. A time that differs from the span's arrival by more than the
/// slack is replaced by the arrival, so that a wrong clock at a sender does not stretch a block's range over years.
///
/// If most spans are that far away, but by less than [`MAX_CLOCK_ERROR`], our own clock may be wrong, or somebody sends old
/// spans. Then all that are off by less are believed, and the range covers both their times and their arrival, which
/// determines when the block expires. If our clock was never set, spans are always believed: otherwise the block would be
/// dated 1970, and expire as soon as the clock is set.
pub(crate) fn block_times(
    starts: &[u64],
    durations: &[u64],
    Arrival { now, slack }: Arrival,
) -> BlockTimes {
    let slack = if now < EARLIEST_NOW { 0 } else { slack };
    let (mut earliest, mut latest, mut replaced) = (u64::MAX, 0, 0);
    let (mut low, mut high) = (now.saturating_sub(slack), now.saturating_add(slack));
    if slack > 0
        && let Some(theirs) = time_of_most(starts, (low, high))
        && (slack..=MAX_CLOCK_ERROR).contains(&theirs.abs_diff(now))
    {
        (earliest, latest) = (now, now);
        (low, high) = (now - MAX_CLOCK_ERROR, now.saturating_add(MAX_CLOCK_ERROR));
    }
    for (&start, &duration) in starts.iter().zip(durations) {
        let end = span_end(start, duration);
        let (mut from, mut to) = (start, end);
        if slack > 0 {
            from = if from < low || from > high { now } else { from };
            to = if to > high || to < from { now.max(from) } else { to };
            replaced += u64::from((from, to) != (start, end));
        }
        earliest = earliest.min(from);
        latest = latest.max(to);
    }
    BlockTimes { range: (earliest.min(latest), latest), replaced }
}

/// The median of these times, if more than half of them are outside this range.
fn time_of_most(times: &[u64], (low, high): (u64, u64)) -> Option<u64> {
    let outside = times.iter().filter(|&&time| time < low || time > high).count();
    if outside <= times.len() / 2 {
        return None;
    }
    let mut times = times.to_vec();
    let middle = times.len() / 2;
    Some(*times.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;
    const NOW: u64 = 20_000 * DAY;
    const ARRIVAL: Arrival = Arrival { now: NOW, slack: 120 * SECOND };

    fn times(starts: &[u64]) -> (u64, u64) {
        block_times(starts, &vec![SECOND; starts.len()], ARRIVAL).range
    }

    #[test]
    fn few_spans_of_other_times_count_as_of_their_arrival() {
        let usual = NOW - 10 * SECOND;
        let starts = [usual, usual, NOW - DAY, 5, u64::MAX];
        let times = block_times(&starts, &[SECOND; 5], ARRIVAL);
        assert_eq!(times, BlockTimes { range: (usual, NOW), replaced: 3 });
    }

    #[test]
    fn most_spans_being_a_day_off_are_believed_and_so_is_their_arrival() {
        for theirs in [NOW - DAY, NOW + DAY] {
            let (start, end) = times(&[theirs, theirs + SECOND, 5]);
            assert_eq!(start, theirs.min(NOW));
            assert_eq!(end, (theirs + 2 * SECOND).max(NOW));
        }
    }

    #[test]
    fn old_spans_are_believed_however_far_apart_they_are() {
        let starts: Vec<_> = (1..=60).map(|number| NOW - number * 10 * SECOND).collect();
        let times = block_times(&starts, &[SECOND; 60], ARRIVAL);
        assert_eq!(times, BlockTimes { range: (NOW - 600 * SECOND, NOW), replaced: 0 });
    }

    #[test]
    fn spans_of_years_ago_do_not_spread_a_range() {
        assert_eq!(times(&[5, NOW - 8 * DAY, NOW + 8 * DAY, NOW - 9 * DAY]), (NOW, NOW));
        assert_eq!(times(&[0; 9]), (NOW, NOW));
    }

    #[test]
    fn by_a_clock_that_was_never_set_nothing_is_dated() {
        for now in [0, 17 * SECOND, 10_000 * DAY] {
            let arrival = Arrival { now, ..ARRIVAL };
            let times = block_times(&[NOW; 3], &[SECOND; 3], arrival);
            assert_eq!(times, BlockTimes { range: (NOW, NOW + SECOND), replaced: 0 });
        }
    }

    #[test]
    fn without_a_slack_all_are_believed() {
        let arrival = Arrival { slack: 0, ..ARRIVAL };
        let times = block_times(&[5, NOW], &[1, 1], arrival);
        assert_eq!(times, BlockTimes { range: (5, NOW + 1), replaced: 0 });
    }
}
