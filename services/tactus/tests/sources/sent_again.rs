//! Spans that a client sends once more, after they were flushed or before: each counts once.

use super::*;

/// Every span but those of each `kept`-th place: what is sent again.
fn again(groups: &[Group], kept: usize) -> Vec<Group> {
    let (mut groups, mut number) = (groups.to_vec(), 0);
    for group in &mut groups {
        group.spans.retain(|_| {
            number += 1;
            number % kept != 0
        });
    }
    groups.retain(|group| !group.spans.is_empty());
    groups
}

/// All in a block, some of it sent again, once and twice.
fn check_again(
    groups: &[Group],
    metrics: &[Metrics],
    kept: usize,
    is_cut: bool,
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::new();
    RUNTIME.block_on(services.push(groups));
    RUNTIME.block_on(services.flush());
    let again = again(groups, kept);
    if again.is_empty() {
        return Ok(());
    }
    RUNTIME.block_on(services.push(&again));
    check("live again", &services, &batch, &[], metrics)?;
    if is_cut {
        RUNTIME.block_on(services.cut());
        check("in a segment again", &services, &batch, &[], metrics)?;
    }
    RUNTIME.block_on(services.push(&again));
    check("live twice again", &services, &batch, &[], metrics)?;
    RUNTIME.block_on(services.flush());
    // What was cut apart may become a block of its own.
    prop_assert!(services.blocks() >= 2);
    RUNTIME.block_on(services.push(&again));
    check("live again after more blocks", &services, &batch, &[], metrics)
}

/// The same where each trace is at some of three ingesters, of which the first lets go of what it flushed.
fn check_replicas_again(
    groups: &[Group],
    metrics: &[Metrics],
    replicas: &[u8],
    kept: usize,
) -> Result<(), TestCaseError> {
    let batch = live_batch(groups);
    let services = Services::with(3);
    let ingesters = services.ingesters();
    for round in 0..2_u64 {
        for (number, trace) in traces_of(groups).into_iter().enumerate() {
            let replicas = replicas[number % replicas.len()];
            let origin = u64::from(replicas) << 24 | ((round << 12) | (number as u64 + 1));
            let mut spans = of_trace(groups, trace);
            if round > 0 {
                spans = again(&spans, kept);
            }
            for (bit, ingester) in ingesters.iter().enumerate() {
                if replicas & 1 << bit != 0 && !spans.is_empty() {
                    RUNTIME.block_on(services.push_to(ingester, &spans, origin));
                }
            }
        }
        for ingester in &ingesters[..2 - round as usize] {
            RUNTIME.block_on(ingester.flush_all()).expect("the bucket is writable");
            check("replicas again", &services, &batch, &[], metrics)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..slow::cases(16) })]

    #[test]
    fn span_that_is_sent_again_counts_once(
        groups in storable_groups(),
        metrics in metrics_queries(),
        (kept, is_cut) in (2usize..9, any::<bool>()),
    ) {
        check_again(&groups, &metrics, kept, is_cut)?;
    }

    #[test]
    fn span_with_replicas_that_is_sent_again_counts_once(
        groups in storable_groups(),
        metrics in metrics_queries(),
        replicas in prop::collection::vec(1u8..8, 1..6),
        kept in 2usize..9,
    ) {
        check_replicas_again(&groups, &metrics, &replicas, kept)?;
    }
}
