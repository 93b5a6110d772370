//! Ingesters that have the same spans and decide differently which traces stay: what any of them kept is counted once.

use tactus_config::sections::tail_sampling::TailSampling as Section;
use tactus_recent_data::TailSampling;
use tactus_tail_sampling::Policies;

use super::*;

/// Keeps half of the traces, another half at each ingester.
fn half_of_the_traces(ingester: usize) -> TailSampling {
    let yaml = format!(
        "policies: [{{name: half, type: probabilistic, \
         probabilistic: {{sampling_percentage: 50, hash_salt: of {ingester}}}}}]"
    );
    let section = Section::parse(&yaml).expect("a section");
    TailSampling {
        policies: Arc::new(Policies::compile(&section.policies).expect("policies")),
        decision_wait: Duration::from_secs(3600),
        num_traces: section.num_traces,
        sampled_cache_size: 100,
        non_sampled_cache_size: 100,
    }
}

/// Pushes of several traces to some of three ingesters; decided, then flushed by one after the other.
fn check_decisions(
    groups: &[Group],
    metrics: &[Metrics],
    pushes: &[(u8, usize)],
) -> Result<(), TestCaseError> {
    let services = Services::opened(3, |ingester, settings| {
        settings.tail_sampling = OfTenant::all(Some(Arc::new(half_of_the_traces(ingester))));
        settings.hold_flushed = Duration::from_secs(if ingester == 2 { 3600 } else { 0 });
    });
    let traces = traces_of(groups);
    let (mut rest, mut number) = (traces.as_slice(), 0);
    while !rest.is_empty() {
        let (replicas, count) = pushes[number % pushes.len()];
        let (now, later) = rest.split_at(count.min(rest.len()));
        let mut spans = groups.to_vec();
        spans.iter_mut().for_each(|group| group.spans.retain(|it| now.contains(&it.trace)));
        spans.retain(|group| !group.spans.is_empty());
        let origin = u64::from(replicas) << 24 | (number as u64 + 1);
        for (bit, ingester) in services.ingesters().into_iter().enumerate() {
            if replicas & 1 << bit != 0 {
                RUNTIME.block_on(services.push_to(&ingester, &spans, origin));
            }
        }
        (rest, number) = (later, number + 1);
    }
    RUNTIME.block_on(services.cut());
    let answers = || -> Vec<_> {
        metrics.iter().map(|query| RUNTIME.block_on(services.series(query))).collect()
    };
    let mut states = vec![("decided", answers())];
    for (ingester, state) in services.ingesters().into_iter().zip(["one", "two", "all"]) {
        RUNTIME.block_on(ingester.flush_all()).expect("the bucket is writable");
        states.push((state, answers()));
    }
    // In blocks, spans are told apart by what they are.
    let (_, expected) = states.pop().expect("four states");
    for (state, found) in states {
        for ((query, found), expected) in metrics.iter().zip(&found).zip(&expected) {
            prop_assert!(
                same_series(found, expected),
                "{state} flushed: {}\n  found    {found:?}\n  expected {expected:?}",
                query.text
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..slow::cases(16) })]

    #[test]
    fn metrics_count_what_any_ingester_kept(
        groups in storable_groups(),
        metrics in metrics_queries(),
        pushes in prop::collection::vec((1u8..8, 1usize..4), 1..5),
    ) {
        check_decisions(&groups, &metrics, &pushes)?;
    }
}
