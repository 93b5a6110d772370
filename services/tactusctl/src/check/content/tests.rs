use std::collections::BTreeSet;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::check::random::key as hash;

fn derivation() -> Derivation {
    Derivation::new("test", None, Duration::from_secs(5))
}

#[test]
fn slots_are_intervals_since_1970() {
    let derivation = derivation();
    let time = Duration::from_secs(1_700_000_003);
    assert_eq!(derivation.slot(time), 340_000_000);
    assert_eq!(derivation.time(340_000_000), Duration::from_secs(1_700_000_000));
    assert_eq!(derivation.time(u64::MAX), Duration::from_nanos(u64::MAX));
}

#[test]
fn content_is_that_of_every_process_and_version() {
    // A difference here means that traces of the last version are not recognised: count VERSION up, and put in the new sum.
    let bytes = derivation().trace(340_000_000).request(false, true, "").encode_to_vec();
    let sum = hash(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!((bytes.len(), sum), (4659, 18_058_955_663_686_305_461));
}

#[test]
fn seeds_tenants_and_intervals_write_other_traces() {
    let second = Duration::from_secs(1);
    let ids: BTreeSet<TraceId> = [
        Derivation::new("a", None, second),
        Derivation::new("b", None, second),
        Derivation::new("a", Some("t"), second),
        Derivation::new("a", None, second * 2),
    ]
    .iter()
    .flat_map(|derivation| [derivation.trace(8).id, derivation.trace(9).id])
    .collect();
    assert_eq!(ids.len(), 8);
}

proptest! {
    #[test]
    fn trace_is_a_tree_that_is_over_when_its_slot_begins(slot in 1_000..400_000_000_u64) {
        let derivation = derivation();
        let trace = derivation.trace(slot);
        let ids: BTreeSet<_> = trace.spans.iter().map(|span| span.span.span_id.clone()).collect();
        prop_assert_eq!(ids.len(), trace.spans.len());
        prop_assert!((5..=16).contains(&ids.len()));
        for (index, span) in trace.spans.iter().enumerate() {
            prop_assert!(span.span.start_time_unix_nano <= span.span.end_time_unix_nano);
            prop_assert!(u128::from(span.span.end_time_unix_nano) <= derivation.time(slot).as_nanos());
            let parent = trace.spans[..index].iter().find(|other| other.span.span_id == span.span.parent_span_id);
            prop_assert_eq!(parent.is_some(), index > 0);
            if let Some(parent) = parent {
                prop_assert!(parent.span.start_time_unix_nano <= span.span.start_time_unix_nano);
                prop_assert!(parent.span.end_time_unix_nano >= span.span.end_time_unix_nano);
            }
        }
        prop_assert!(trace.duration_ms() >= 200);
    }

    #[test]
    fn parts_make_up_the_trace(slot in 0..1_000_u64) {
        let trace = derivation().trace(slot);
        let count = |request: &ExportTraceServiceRequest| -> usize {
            request.resource_spans.iter().flat_map(|spans| &spans.scope_spans).map(|spans| spans.spans.len()).sum()
        };
        let (first, second) = (trace.request(false, false, ""), trace.request(true, false, ""));
        prop_assert_eq!(count(&second) > 0, Derivation::is_divided(slot));
        prop_assert_eq!(count(&first) + count(&second), trace.spans.len());
        prop_assert_eq!(count(&trace.request(false, true, "")), trace.spans.len());
    }
}
