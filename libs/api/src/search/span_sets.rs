//! Joins what several sources say about the span sets of a trace.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use prost::Message as _;
use tactus_proto::otlp::KeyValue;
use tactus_proto::tempopb::{Span, SpanSet};

/// Merges the span sets of a trace. There may be as many as spans, so they are found by what makes them the same.
///
/// Sources answer in any order, and the answer must not depend on it. So which form of a set is shown is decided by
/// [`settle`], and until then there are several: the union of those that list all their spans, and the largest other one.
pub(super) fn merge_sets(known: &mut Vec<SpanSet>, others: Vec<SpanSet>) {
    *known =
        folded(std::mem::take(known).into_iter().chain(others), form, |form, set| {
            match adds_up(form) {
                true => unite(form, set),
                false => keep_larger(form, set),
            }
        });
    in_order(known);
}

/// Leaves of each set the form that is shown, the largest.
pub(super) fn settle(sets: &mut Vec<SpanSet>) {
    if sets.len() < 2 {
        return;
    }
    let before = sets.len();
    *sets = folded(std::mem::take(sets).into_iter(), identity, keep_larger);
    // A source that answered alone has an order of its own.
    if sets.len() < before {
        in_order(sets);
    }
}

/// Folds the sets that have the same key.
fn folded<K: Eq + Hash>(
    sets: impl Iterator<Item = SpanSet>,
    key: impl Fn(&SpanSet) -> K,
    fold: impl Fn(&mut SpanSet, SpanSet),
) -> Vec<SpanSet> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut all = Vec::with_capacity(sets.size_hint().0);
    for set in sets {
        match places.entry(key(&set)) {
            Entry::Occupied(place) => fold(&mut all[*place.get()], set),
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(set);
            }
        }
    }
    all
}

/// Groups are in the order in which they first appear in the trace.
fn in_order(sets: &mut [SpanSet]) {
    sets.sort_by_cached_key(|set| {
        let first = first_shown(set).map(|(start, id)| (start, id.to_owned()));
        (first, identity(set))
    });
}

fn first_shown(set: &SpanSet) -> Option<(u64, &str)> {
    set.spans.first().map(|span| (span.start_time_unix_nano, &*span.span_id))
}

/// True if such sets of two sources, each with a part of the trace, together are the set of both: spans that are not
/// listed cannot be compared, and aggregates such as counts cannot be combined, even if they are equal.
fn adds_up(set: &SpanSet) -> bool {
    let lists_all = u32::try_from(set.spans.len()) == Ok(set.matched);
    lists_all && set.attributes.iter().all(holds_for_more)
}

/// The key of the form of a set that it is merged into. Those that add up have the same attributes.
fn form(set: &SpanSet) -> (bool, Vec<u8>) {
    match adds_up(set) {
        true => (true, encoded(&set.attributes)),
        false => (false, identity(set)),
    }
}

/// Adds the spans of another set that [`adds_up`] with it. A span that one source lists twice stays so.
fn unite(known: &mut SpanSet, other: SpanSet) {
    let sorted = |mut spans: Vec<Span>| {
        spans.sort_by(listed);
        spans
    };
    let mut others = sorted(other.spans).into_iter().peekable();
    let mut all = Vec::with_capacity(known.spans.len());
    for span in sorted(std::mem::take(&mut known.spans)) {
        while let Some(earlier) = others.next_if(|other| sameness(other) < sameness(&span)) {
            all.push(earlier);
        }
        let same = others.next_if(|other| sameness(other) == sameness(&span));
        let other = same.filter(|other| by_preference(other, &span) == Ordering::Greater);
        all.push(other.unwrap_or(span));
    }
    all.extend(others);
    known.matched = u32::try_from(all.len()).unwrap_or(u32::MAX);
    known.spans = all;
}

/// The larger set is closer to the truth.
fn keep_larger(known: &mut SpanSet, other: SpanSet) {
    let size = |set: &SpanSet| (set.matched, set.spans.len());
    let order = size(&other).cmp(&size(known));
    // Any order does that is the same whoever answers first.
    let order = order.then_with(|| first_shown(known).cmp(&first_shown(&other)));
    let order = order.then_with(|| known.encode_to_vec().cmp(&other.encode_to_vec()));
    if order == Ordering::Greater {
        *known = other;
    }
}

/// Which of two forms of a span is shown: the greater, which ends later, as of a span that was sent at its start and at its end.
fn by_preference(one: &Span, other: &Span) -> Ordering {
    let by_duration = one.duration_nanos.cmp(&other.duration_nanos);
    by_duration.then_with(|| encoded(&one.attributes).cmp(&encoded(&other.attributes)))
}

/// The order of spans in a set, as sources list them, of those that are the same too.
fn listed(one: &Span, other: &Span) -> Ordering {
    sameness(one).cmp(&sameness(other)).then_with(|| by_preference(other, one))
}

fn encoded<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Vec<u8> {
    attributes.into_iter().flat_map(KeyValue::encode_length_delimited_to_vec).collect()
}

/// True for attributes that two sets with the same value also have together: group values, minima and maxima.
fn holds_for_more(attribute: &KeyValue) -> bool {
    ["by(", "min(", "max("].iter().any(|start| attribute.key.starts_with(start.as_bytes()))
}

/// Equal if two sources show the same span, as far as an answer tells what a [`tactus_model::SpanIdentity`] is of: the kind
/// is not in it, and the name only if the query asks for it.
fn sameness(span: &Span) -> (u64, &str, &str) {
    (span.start_time_unix_nano, &span.span_id, &span.name)
}

/// The key of a span set within its trace: the encoded values that it is grouped by.
fn identity(set: &SpanSet) -> Vec<u8> {
    encoded(set.attributes.iter().filter(|attribute| attribute.key.starts_with(b"by")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_proto::otlp::{AnyValue, any_value::Value};
    use tactus_proto::tempopb::{SearchMetrics, TraceSearchMetadata};

    use super::super::SearchCombiner;
    use super::*;

    fn number(key: &str, value: i64) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::IntValue(value)) });
        KeyValue { key: key.to_owned().into(), value }
    }

    fn span() -> impl Strategy<Value = Span> {
        let span = |(start, id, name, duration): (u64, u8, u8, u64)| Span {
            span_id: format!("{id:016}"),
            name: format!("{name}"),
            start_time_unix_nano: start,
            duration_nanos: duration,
            attributes: vec![number("span.a", duration as i64 % 2)],
        };
        (0..3u64, 0..3u8, 0..2u8, 0..3u64).prop_map(span)
    }

    /// Of few groups and spans, so that many are the same. Some list all their spans, and some are cut.
    fn set() -> impl Strategy<Value = SpanSet> {
        let spans = proptest::collection::vec(span(), 0..4);
        let aggregate = proptest::option::of(prop_oneof![Just("min(duration)"), Just("count()")]);
        (0..2i64, aggregate, 0..2i64, spans, 0..3u32).prop_map(
            |(group, aggregate, value, spans, more)| {
                let mut attributes = vec![number("by(span.g)", group)];
                attributes.extend(aggregate.map(|key| number(key, value)));
                SpanSet { matched: spans.len() as u32 + more, spans, attributes }
            },
        )
    }

    fn sources() -> impl Strategy<Value = Vec<TraceSearchMetadata>> {
        let source = |span_sets| TraceSearchMetadata {
            trace_id: "a".to_owned(),
            start_time_unix_nano: 1,
            span_sets,
            ..TraceSearchMetadata::default()
        };
        let source = proptest::collection::vec(set(), 1..3).prop_map(source);
        proptest::collection::vec(source, 1..7)
    }

    fn added(sources: &[TraceSearchMetadata]) -> SearchCombiner {
        let mut combiner = SearchCombiner::new(20).shows_spans(2).watches_changes();
        sources.iter().for_each(|source| combiner.add(vec![source.clone()]));
        combiner
    }

    proptest! {
        #[test]
        fn answer_does_not_depend_on_the_order_in_which_sources_answer(
            (sources, shuffled) in sources()
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            prop_assert_eq!(added(&sources).finish_part(), added(&shuffled).finish_part());
            let mut combiner = added(&shuffled);
            let changed = combiner.take_changes(0);
            let answer = added(&sources).finish(SearchMetrics::default());
            prop_assert_eq!(&changed, &answer.traces);
            prop_assert_eq!(combiner.finish(SearchMetrics::default()), answer);
        }
    }

    #[test]
    fn sets_that_list_all_are_added_up_also_after_one_that_is_cut() {
        let set = |ids: &[u8], matched| SpanSet {
            spans: ids
                .iter()
                .map(|id| Span { span_id: format!("{id:016}"), ..Span::default() })
                .collect(),
            matched,
            attributes: Vec::new(),
        };
        let answer = |sets: [SpanSet; 4]| {
            let mut known = Vec::new();
            sets.into_iter().for_each(|set| merge_sets(&mut known, vec![set]));
            settle(&mut known);
            known
        };
        let [one, two, three] = [set(&[1], 1), set(&[2], 1), set(&[3], 1)];
        let all = vec![set(&[1, 2, 3], 3)];
        let cut = set(&[7], 2);
        assert_eq!(answer([one.clone(), cut.clone(), two.clone(), three.clone()]), all);
        assert_eq!(answer([cut.clone(), three.clone(), one.clone(), two.clone()]), all);
        let larger = set(&[7], 4);
        assert_eq!(answer([one, larger.clone(), two, three]), [larger]);
    }
}
