use proptest::prelude::*;

use super::*;

fn settings() -> AdaptiveSampling {
    AdaptiveSampling::default()
}

fn counted(count: u64, probabilities: &[f64]) -> OperationCount {
    let probabilities = probabilities.iter().map(|value| six_decimals(*value)).collect();
    OperationCount { count, probabilities }
}

fn bucket(operations: &[(&str, OperationCount)]) -> Bucket {
    let mut counts = ByOperation::default();
    for (operation, count) in operations {
        counts.insert("t", "s", operation, count.clone());
    }
    Bucket { seconds: 60.0, counts }
}

fn before(probability: f64) -> Calculated {
    Calculated { probability, previous: probability, rate: 1.0, is_adaptive: true }
}

fn one(found: &ByOperation<Calculated>) -> Calculated {
    *found.get("t", "s", "o").unwrap()
}

#[test]
fn probability_follows_the_rate() {
    for (old, rate, expected) in [
        (0.001, 2.0, 0.0005),
        (0.001, 0.1, 0.002),
        (0.001, 1.2, 0.001),
        (0.001, 0.0, 0.002),
        (0.00002, 10.0, 0.00001),
        (0.8, 0.5, 1.0),
    ] {
        let newest = counted(1, &[old]);
        let found = next(&settings(), rate, Some(&newest), Some(&before(old)));
        assert_eq!(found.probability, expected, "{old} at {rate}");
        assert!(found.is_adaptive);
    }
}

#[test]
fn newer_rates_weigh_more() {
    assert_eq!(weighted_mean(&[5.0, 1.0]), 4.764705882352941);
    assert_eq!(weighted_mean(&[]), 0.0);
    assert_eq!(weighted_mean(&[7.0]), 7.0);
}

#[test]
fn only_buckets_with_the_operation_enter_its_rate() {
    let settings = AdaptiveSampling { calculation_buckets: 2, ..settings() };
    let buckets = VecDeque::from([
        bucket(&[("o", counted(300, &[0.001]))]),
        bucket(&[("other", counted(6, &[0.001]))]),
        bucket(&[("o", counted(60, &[0.001]))]),
        bucket(&[("o", counted(6_000, &[0.001]))]),
    ]);
    let found = calculate(&settings, &buckets, &ByOperation::default());
    assert_eq!(one(&found).rate, 4.764705882352941);
    assert_eq!(found.len(), 2);
    assert_eq!(found.get("t", "s", "other").unwrap().rate, 0.1);
}

#[test]
fn client_that_does_not_take_over_keeps_its_probability() {
    let buckets = VecDeque::from([bucket(&[("o", counted(6_000, &[0.5]))])]);
    let mut round = ByOperation::default();
    round.insert("t", "s", "o", before(0.25));
    let found = one(&calculate(&settings(), &buckets, &round));
    assert_eq!((found.probability, found.is_adaptive), (0.25, false));
    let buckets = VecDeque::from([bucket(&[("o", counted(6_000, &[0.5, 0.25]))])]);
    let found = one(&calculate(&settings(), &buckets, &round));
    assert_eq!((found.probability, found.is_adaptive), (0.0025, true));
}

#[test]
fn spans_that_do_not_tell_their_probability_do_not_tell_that_it_is_another() {
    let mut round = ByOperation::default();
    round.insert("t", "s", "o", before(0.25));
    let buckets = VecDeque::from([bucket(&[("o", counted(0, &[]))])]);
    let found = one(&calculate(&settings(), &buckets, &round));
    assert_eq!((found.probability, found.is_adaptive), (0.5, true));
}

#[test]
fn silent_operation_is_what_the_round_before_found() {
    let silent = bucket(&[("o", counted(0, &[]))]);
    let buckets = VecDeque::from([bucket(&[]), silent]);
    for (previous, is_adaptive, expected) in
        [(0.002, true, 0.008), (0.001, true, 0.004), (0.002, false, 0.004)]
    {
        let mut round = ByOperation::default();
        let last = Calculated { probability: 0.004, previous, rate: 0.0, is_adaptive };
        round.insert("t", "s", "o", last);
        assert_eq!(one(&calculate(&settings(), &buckets, &round)).probability, expected);
    }
}

#[test]
fn operations_out_of_all_buckets_are_forgotten() {
    let mut round = ByOperation::default();
    round.insert("t", "s", "gone", before(0.5));
    let buckets = VecDeque::from([bucket(&[("o", counted(60, &[0.001]))])]);
    let found = calculate(&settings(), &buckets, &round);
    assert_eq!((found.len(), found.contains("t", "s", "gone")), (1, false));
}

proptest! {
    #[test]
    fn probability_stays_within_its_bounds(
        old in 0.00001f64..=1.0,
        counts in prop::collection::vec(0u64..1_000_000, 1..5),
        target in 0.01f64..100.0,
        calculation_buckets in 1usize..5,
        knows in any::<bool>(),
    ) {
        let settings = AdaptiveSampling {
            target_samples_per_second: target,
            calculation_buckets,
            ..settings()
        };
        let probabilities = if knows { vec![old] } else { vec![] };
        let buckets = counts.iter().map(|count| bucket(&[("o", counted(*count, &probabilities))]));
        let buckets: VecDeque<_> = buckets.collect();
        let mut round = ByOperation::default();
        round.insert("t", "s", "o", before(old));
        let found = one(&calculate(&settings, &buckets, &round));
        prop_assert!((settings.min_sampling_probability..=1.0).contains(&found.probability));
        prop_assert!(found.probability <= old * 2.0);
        let rates = counts.iter().take(calculation_buckets).map(|count| *count as f64 / 60.0);
        let (least, most) = rates.fold((f64::MAX, 0.0f64), |(least, most), rate| {
            (least.min(rate), most.max(rate))
        });
        prop_assert!(found.rate >= least * 0.999_999 && found.rate <= most * 1.000_001);
        if found.rate > target && found.is_adaptive {
            prop_assert!(found.probability <= old);
        }
        if !found.is_adaptive {
            prop_assert_eq!(found.probability, old);
        }
    }
}
