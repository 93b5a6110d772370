//! Joins what several sources say about the span sets of a trace.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost::Message as _;
use tactus_proto::otlp::KeyValue;
use tactus_proto::tempopb::{Span, SpanSet};

/// Merges the span sets of a trace. There may be as many as spans, so they are found by what makes them the same.
pub(super) fn merge_sets(known: &mut Vec<SpanSet>, others: Vec<SpanSet>) {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    for (place, set) in known.iter().enumerate() {
        places.entry(identity(set)).or_insert(place);
    }
    for set in others {
        match places.entry(identity(&set)) {
            Entry::Occupied(place) => unite(&mut known[*place.get()], set),
            Entry::Vacant(place) => {
                place.insert(known.len());
                known.push(set);
            }
        }
    }
    // Groups are in the order in which they first appear in the trace.
    if known.iter().all(|set| !set.spans.is_empty()) {
        known.sort_by(|one, other| first_shown(one).cmp(&first_shown(other)));
    }
}

fn first_shown(set: &SpanSet) -> Option<(u64, &str)> {
    set.spans.first().map(shown_at)
}

/// Two sources may each have a part of a trace. If both list all spans that matched, the answer has the spans of
/// both. Otherwise it is the larger set, because spans that are not listed cannot be compared.
fn unite(known: &mut SpanSet, other: SpanSet) {
    let lists_all = |set: &SpanSet| u32::try_from(set.spans.len()) == Ok(set.matched);
    // Aggregates such as counts cannot be combined, even if they are equal: the larger set is closer to the truth.
    let tells_of_all =
        known.attributes == other.attributes && known.attributes.iter().all(holds_for_more);
    if lists_all(known) && lists_all(&other) && tells_of_all {
        let shown: HashMap<_, usize> = known.spans.iter().map(sameness).zip(0..).collect();
        let places: Vec<_> =
            other.spans.iter().map(|span| shown.get(&sameness(span)).copied()).collect();
        let before = known.spans.len();
        for (span, place) in other.spans.into_iter().zip(places) {
            match place {
                None => known.spans.push(span),
                // Sources answer in any order, and the answer must not depend on it.
                Some(place) if is_preferred(&span, &known.spans[place]) => {
                    known.spans[place] = span;
                }
                Some(_) => {}
            }
        }
        known.matched += (known.spans.len() - before) as u32;
        known.spans.sort_by(|one, other| shown_at(one).cmp(&shown_at(other)));
    } else if other.matched > known.matched {
        *known = other;
    }
}

/// Which of two forms of a span is shown: the one that ends later, as of a span that was sent at its start and at its end.
fn is_preferred(span: &Span, other: &Span) -> bool {
    let encoded = |span: &Span| -> Vec<u8> {
        span.attributes.iter().flat_map(KeyValue::encode_length_delimited_to_vec).collect()
    };
    match span.duration_nanos.cmp(&other.duration_nanos) {
        Ordering::Equal => encoded(span) > encoded(other),
        order => order == Ordering::Greater,
    }
}

/// The place of a span in a set, as sources list them.
fn shown_at(span: &Span) -> (u64, &str) {
    (span.start_time_unix_nano, &span.span_id)
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
    let groups = set.attributes.iter().filter(|attribute| attribute.key.starts_with(b"by"));
    groups.flat_map(|group| group.encode_length_delimited_to_vec()).collect()
}
