//! How policies combine.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A policy that samples the traces of a set, by an attribute that those have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Inverted,
    Drop,
}

const TRACES: u64 = 6;

fn yaml(list: &[(Kind, u8)]) -> String {
    let policies = list.iter().enumerate().map(|(place, (kind, _))| {
        let test =
            format!("{{key: in{place}, value: true, invert_match: {}}}", *kind == Kind::Inverted);
        let leaf =
            format!("{{name: p{place}, type: boolean_attribute, boolean_attribute: {test}}}");
        match kind {
            Kind::Drop => {
                format!("  - {{name: p{place}, type: drop, drop: {{drop_sub_policy: [{leaf}]}}}}\n")
            }
            _ => format!("  - {leaf}\n"),
        }
    });
    format!("policies:\n{}", policies.collect::<String>())
}

fn traces(list: &[(Kind, u8)]) -> SpanBatch {
    let names: Vec<String> = (0..list.len()).map(|place| format!("in{place}")).collect();
    batch((0..TRACES).map(|trace| {
        let in_set = |place: &usize| list[*place].1 & 1 << trace != 0;
        let attributes = (0..list.len()).filter(in_set);
        let attributes = attributes.map(|it| (names[it].as_str(), AnyValueRef::Bool(true)));
        Span { attributes: attributes.collect(), ..of(trace) }
    }))
}

/// The table, trace by trace.
fn expected(list: &[(Kind, u8)], trace: u64) -> bool {
    let says = |kind: Kind| list.iter().filter(move |it| it.0 == kind);
    let has = |it: &&(Kind, u8)| it.1 & 1 << trace != 0;
    if says(Kind::Drop).any(|it| has(&it)) || says(Kind::Inverted).any(|it| has(&it)) {
        return false;
    }
    if says(Kind::Plain).any(|it| has(&it)) {
        return true;
    }
    // Only policies with invert_match are left to sample it, if no other failed to.
    says(Kind::Inverted).next().is_some() && says(Kind::Plain).next().is_none()
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Plain), Just(Kind::Inverted), Just(Kind::Drop)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn policies_combine_by_the_table(list in vec((kinds(), any::<u8>()), 1..5)) {
        let wanted: Vec<u64> = (0..TRACES).filter(|&trace| expected(&list, trace)).collect();
        prop_assert_eq!(kept(&yaml(&list), &traces(&list)), wanted);
    }
}

#[test]
fn without_policies_all_traces_are_kept() {
    assert_eq!(kept("", &batch([of(1), of(2)])), [1, 2]);
    assert_eq!(decider("").decide(&SpanBatch::default()).kept.count(), 0);
}

#[test]
fn dropped_traces_take_nothing_from_rates() {
    let batch = batch((1..=100).map(|trace| Span { status: trace % 2, ..of(trace) }));
    let yaml = "
policies:
  - {name: rate, type: rate_limiting, rate_limiting: {spans_per_second: 10, burst_capacity: 30}}
  - name: fine
    type: drop
    drop: {drop_sub_policy: [{name: ok, type: status_code, status_code: {status_codes: [OK]}}]}
";
    let Decisions { kept, policies } = decider(yaml).decide(&batch);
    assert_eq!(kept.count(), 30);
    assert!(numbers(&batch, &kept).iter().all(|trace| trace % 2 == 0));
    assert_eq!((policies[0].sampled.count(), policies[1].sampled.count()), (30, 50));
}
