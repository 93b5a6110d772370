//! Counts values by size, and computes quantiles from such counts.

use crate::hints::Hints;

/// Buckets of sizes, each from its lower bound (exclusive) to its upper bound (inclusive). There are one or several for
/// each doubling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    per_doubling: u8,
}

/// How many powers of two can be the bound of an integer.
const DOUBLINGS: u8 = 63;

impl Buckets {
    pub(super) fn of(hints: &Hints) -> Self {
        Self { per_doubling: hints.buckets() }
    }

    /// Numbers of buckets are below this.
    pub(super) fn count(self) -> usize {
        self.last() as usize + 1
    }

    /// The number of the largest bucket. With four buckets for each doubling, it still fits into the type.
    pub(super) fn last(self) -> u8 {
        DOUBLINGS * self.per_doubling
    }

    /// The number of the bucket of a value; 0 for values that are in none.
    #[inline]
    pub(super) fn of_value(self, value: i64) -> u8 {
        if value < 2 {
            return 0;
        }
        let power = (64 - (value as u64 - 1).leading_zeros()) as u8;
        if self.per_doubling == 1 {
            return power;
        }
        let share = value as f64 / (1_u64 << (power - 1)) as f64;
        let passed = (1..self.per_doubling).filter(|&part| share > self.bound(part)).count() as u8;
        (power - 1) * self.per_doubling + passed + 1
    }

    /// The largest value of a bucket.
    #[inline]
    pub(super) fn bound(self, bucket: u8) -> f64 {
        (f64::from(bucket) / f64::from(self.per_doubling)).exp2()
    }

    /// The quantile `q` of `occupied`: upper bound and count of each non-empty bucket, ascending. Narrow buckets are
    /// used with their own bounds. A wide bucket is assumed to reach down to the previous non-empty one, as Tempo's
    /// clients expect.
    pub(super) fn quantile(self, occupied: &[(f64, f64)], q: f64) -> f64 {
        if self.per_doubling == 1 {
            return bucket_quantile(occupied, q);
        }
        quantile_within_bucket(occupied, q, self.per_doubling)
    }
}

/// The quantile `q` (0 to 1) of `buckets`: upper bound and count of each non-empty one, ascending. Interpolates
/// exponentially between two bounds; 0 without values. After empty buckets, the result can be far below the values.
fn bucket_quantile(buckets: &[(f64, f64)], q: f64) -> f64 {
    quantile_between(buckets, q, |high, previous| previous.map_or(high - 1.0, f64::log2))
}

/// The quantile `q` (0 to 1) of `buckets`: upper bound and count of each non-empty one, ascending. The result is inside
/// the bucket of the value; `per_doubling` says how many buckets a doubling has. 0 without values.
pub fn quantile_within_bucket(buckets: &[(f64, f64)], q: f64, per_doubling: u8) -> f64 {
    quantile_between(buckets, q, |high, _| high - 1.0 / f64::from(per_doubling))
}

/// `low` returns the logarithm of a bucket's lower bound, given that of its upper bound and the upper bound of the
/// previous bucket.
fn quantile_between(buckets: &[(f64, f64)], q: f64, low: impl Fn(f64, Option<f64>) -> f64) -> f64 {
    let total: f64 = buckets.iter().map(|(_, count)| count).sum();
    let wanted = (q * total).ceil().max(1.0);
    let mut below = 0.0;
    let mut previous = None;
    for &(bound, count) in buckets {
        if below + count > wanted {
            let high = bound.log2();
            let low = low(high, previous);
            return (low + (high - low) * (wanted - below) / count).exp2();
        }
        below += count;
        if below == wanted {
            return bound;
        }
        previous = Some(bound);
    }
    previous.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets(per_doubling: u8) -> Buckets {
        Buckets { per_doubling }
    }

    #[test]
    fn buckets_are_the_next_powers_of_two() {
        let of = |value| buckets(1).of_value(value);
        let powers: Vec<u8> =
            [i64::MIN, -5, 0, 1, 2, 3, 4, 1000, 1024, 1025, i64::MAX].map(of).into();
        assert_eq!(powers, [0, 0, 0, 0, 1, 2, 2, 10, 10, 11, 63]);
    }

    #[test]
    fn quarters_of_a_doubling_have_their_own_buckets() {
        let of = |value| buckets(4).of_value(value);
        // 1024 is 2^(40/4). The next bounds, each a quarter of a doubling higher, are 1217.7, 1448.1, 1722.1 and 2048.
        let numbers =
            [1, 2, 1024, 1025, 1217, 1218, 1448, 1449, 1722, 1723, 2048, i64::MAX].map(of);
        assert_eq!(numbers, [0, 4, 40, 41, 41, 42, 42, 43, 43, 44, 44, 252]);
        assert_eq!(buckets(4).bound(40), 1024.0);
    }

    #[test]
    fn quantile_of_a_narrow_bucket_does_not_reach_into_the_gap_below() {
        let found = buckets(4).quantile(&[(1.0, 90.0), (1024.0, 10.0)], 0.95);
        assert!((861.0..1024.0).contains(&found), "{found}");
        let found = buckets(1).quantile(&[(1.0, 90.0), (1024.0, 10.0)], 0.95);
        assert!((31.0..33.0).contains(&found), "{found}");
    }

    proptest! {
        #[test]
        fn value_lies_between_the_bounds_of_its_bucket(value in 2..i64::MAX, per_doubling in 1..=4_u8) {
            let buckets = buckets(per_doubling);
            let bucket = buckets.of_value(value);
            prop_assert!(bucket >= 1 && bucket <= buckets.last());
            let slack = 1.0 + 1e-12;
            prop_assert!(value as f64 <= buckets.bound(bucket) * slack);
            prop_assert!(value as f64 * slack >= buckets.bound(bucket - 1));
        }
    }
}

#[cfg(test)]
mod quantile_tests {
    use super::{bucket_quantile as quantile, quantile_within_bucket};

    fn buckets(counts: &[(u8, f64)]) -> Vec<(f64, f64)> {
        counts.iter().map(|&(power, count)| (f64::from(power).exp2() / 1e9, count)).collect()
    }

    #[test]
    fn quantile_lies_between_the_bounds_of_its_bucket() {
        let durations =
            buckets(&[(23, 1.0), (24, 1.0), (25, 1.0), (26, 2.0), (29, 1.0), (31, 1.0)]);
        assert!((quantile(&durations, 0.5) - 0.047_453_132_812_125_78).abs() < 1e-15);
        assert_eq!(quantile(&durations, 1.0), 2.147_483_648);
        assert_eq!(quantile(&durations, 0.0), 0.008_388_608);
    }

    #[test]
    fn quantile_within_a_bucket_does_not_reach_into_the_gap_below() {
        for (per_doubling, low) in [(1, 512.0), (4, 860.0)] {
            let found = quantile_within_bucket(&[(1.0, 2.0), (1024.0, 4.0)], 0.5, per_doubling);
            assert!((low..1024.0).contains(&found), "{found}");
        }
        assert!(quantile(&[(1.0, 2.0), (1024.0, 4.0)], 0.5) < 10.0);
    }

    #[test]
    fn quantile_of_one_value_is_its_bound() {
        for q in [0.0, 0.1, 0.5, 0.99, 1.0] {
            assert_eq!(quantile(&buckets(&[(27, 1.0)]), q), 0.134_217_728);
        }
    }

    #[test]
    fn quantile_in_the_first_bucket_starts_at_half_its_bound() {
        let found = quantile(&[(8.0, 4.0)], 0.5);
        assert!((found - 4.0 * 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
