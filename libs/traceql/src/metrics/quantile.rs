//! Quantiles from counts of values in buckets.

/// The quantile `q` (0 to 1) of `buckets`: upper bound and count of each that has any, ascending. Between two bounds
/// it grows exponentially; 0 without values.
pub fn bucket_quantile(buckets: &[(f64, f64)], q: f64) -> f64 {
    quantile_between(buckets, q, |high, previous| previous.map_or(high - 1.0, f64::log2))
}

/// As [`bucket_quantile`], but each bucket has its own lower bound, so many doublings below the upper one.
pub(super) fn narrow_bucket_quantile(buckets: &[(f64, f64)], q: f64, doublings: f64) -> f64 {
    quantile_between(buckets, q, |high, _| high - doublings)
}

/// `low`: the logarithm of a bucket's lower bound, from that of the upper one and from the upper bound of the bucket
/// before.
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
    use super::bucket_quantile as quantile;

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
