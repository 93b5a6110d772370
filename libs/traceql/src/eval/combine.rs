//! Merges the answers of several sources.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tactus_model::TraceId;
use tactus_work::Held;

use super::matches::{SpanSet, TraceMatch};

/// Collects partial answers. The same trace may come from several sources.
#[derive(Debug, Default)]
pub struct TraceMatchCombiner {
    traces: Vec<TraceMatch>,
    places: HashMap<TraceId, usize>,
    bytes: usize,
    held: Held,
}

impl TraceMatchCombiner {
    /// Adds a trace, and merges it with what is known of it. Keeps the names of one root, the earliest start,
    /// the longest duration, the largest count of each service, and, of spansets with the same `by()` values, the one
    /// that matched more spans.
    pub fn add(&mut self, found: TraceMatch) {
        self.bytes += found.heap_bytes();
        if !self.held.grow_to(self.bytes) {
            // Nobody wants the answer any more.
            return;
        }
        match self.places.entry(found.trace_id) {
            Entry::Occupied(place) => merge(&mut self.traces[*place.get()], found),
            Entry::Vacant(place) => {
                place.insert(self.traces.len());
                self.traces.push(found);
            }
        }
    }

    /// Number of different traces so far.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// The start of the `limit`-th newest trace so far. A source whose traces all start earlier cannot change the
    /// answer. `None` if there are fewer traces, or `limit` is 0.
    pub fn oldest_kept_start(&self, limit: usize) -> Option<u64> {
        let place = limit.checked_sub(1).filter(|&place| place < self.traces.len())?;
        let mut starts: Vec<u64> = self.traces.iter().map(|it| it.start_unix_nanos).collect();
        let (_, start, _) = starts.select_nth_unstable_by(place, |a, b| b.cmp(a));
        Some(*start)
    }

    /// The `limit` newest traces (0: all), newest first, then by trace id.
    pub fn finish(self, limit: usize) -> Vec<TraceMatch> {
        let mut traces = self.traces;
        traces.sort_by(|a, b| {
            b.start_unix_nanos.cmp(&a.start_unix_nanos).then(a.trace_id.cmp(&b.trace_id))
        });
        if limit > 0 {
            traces.truncate(limit);
        }
        traces
    }
}

fn merge(known: &mut TraceMatch, other: TraceMatch) {
    // Both names are of one root, and of several roots the same one whoever answers first.
    let known_root = (&*known.root_service_name, &*known.root_trace_name);
    if (&*other.root_service_name, &*other.root_trace_name) > known_root {
        known.root_service_name = other.root_service_name;
        known.root_trace_name = other.root_trace_name;
    }
    let starts = [known.start_unix_nanos, other.start_unix_nanos];
    known.start_unix_nanos = starts.into_iter().filter(|&start| start != 0).min().unwrap_or(0);
    known.duration_nanos = known.duration_nanos.max(other.duration_nanos);
    for (service, stats) in other.service_stats {
        let known = known.service_stats.entry(service).or_default();
        known.spans = known.spans.max(stats.spans);
        known.errors = known.errors.max(stats.errors);
    }
    merge_sets(&mut known.span_sets, other.span_sets);
}

/// Merges the spansets of a trace. There may be as many as spans, so they are looked up by their groups.
fn merge_sets(known: &mut Vec<SpanSet>, others: Vec<SpanSet>) {
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, set) in known.iter().enumerate() {
        places.entry(groups(set)).or_insert(place);
    }
    for set in others {
        match places.entry(groups(&set)) {
            Entry::Occupied(place) => {
                let known = &mut known[*place.get()];
                if known.matched < set.matched {
                    *known = set;
                }
            }
            Entry::Vacant(place) => {
                place.insert(known.len());
                known.push(set);
            }
        }
    }
}

/// The `by()` attributes of a spanset. Their types count: the integer 200 and the string "200" are different groups, and so
/// are nil and the string `nil`.
fn groups(set: &SpanSet) -> String {
    let by = set.attributes.iter().filter(|(key, _)| key.starts_with("by"));
    by.map(|(key, value)| format!("{key}{value:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{AttributeValue, ServiceStats};

    fn found(id: u8, start: u64, matched: u32, by: &str) -> TraceMatch {
        let attributes = match by {
            "" => vec![("count()".into(), AttributeValue::Int(i64::from(matched)))],
            by => vec![("by(kind)".into(), AttributeValue::String(by.into()))],
        };
        TraceMatch {
            trace_id: TraceId::from_slice(&[id]),
            root_service_name: String::new(),
            root_trace_name: String::new(),
            start_unix_nanos: start,
            duration_nanos: u64::from(matched),
            service_stats: [("a".to_owned(), ServiceStats { spans: matched, errors: 9 - matched })]
                .into(),
            span_sets: vec![SpanSet { matched, attributes, spans: vec![] }],
        }
    }

    fn combine_trace_matches(matches: Vec<TraceMatch>, limit: usize) -> Vec<TraceMatch> {
        let mut combiner = TraceMatchCombiner::default();
        matches.into_iter().for_each(|found| combiner.add(found));
        combiner.finish(limit)
    }

    #[test]
    fn same_trace_keeps_the_larger_of_each_fact() {
        let mut named = found(1, 0, 3, "");
        named.root_service_name = "shop".to_owned();
        let merged =
            combine_trace_matches(vec![found(1, 70, 2, ""), named, found(1, 60, 1, "")], 0);
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].root_service_name, "shop");
        assert_eq!((merged[0].start_unix_nanos, merged[0].duration_nanos), (60, 3));
        assert_eq!(merged[0].service_stats["a"], ServiceStats { spans: 3, errors: 8 });
        assert_eq!(merged[0].span_sets.len(), 1);
        assert_eq!(merged[0].span_sets[0].matched, 3);
    }

    #[test]
    fn spansets_of_different_groups_are_both_kept() {
        let merged = combine_trace_matches(
            vec![found(1, 1, 2, "server"), found(1, 1, 1, "client"), found(1, 1, 1, "server")],
            0,
        );
        let matched: Vec<_> = merged[0].span_sets.iter().map(|set| set.matched).collect();
        assert_eq!(matched, [2, 1]);
    }

    #[test]
    fn spansets_of_values_of_different_types_are_both_kept() {
        let both = |int_matched, string_matched| {
            let mut found = found(1, 1, int_matched, "200");
            found.span_sets[0].attributes[0].1 = AttributeValue::Int(200);
            let text = AttributeValue::String("200".into());
            let attributes = vec![("by(kind)".into(), text)];
            found.span_sets.push(SpanSet { matched: string_matched, attributes, spans: vec![] });
            found
        };
        let merged = combine_trace_matches(vec![both(2, 1), both(2, 3)], 0);
        let matched: Vec<_> = merged[0].span_sets.iter().map(|set| set.matched).collect();
        assert_eq!(matched, [2, 3]);
    }

    #[test]
    fn spansets_of_nil_and_of_its_text_are_both_kept() {
        let both = |nil_matched, text_matched| {
            let mut found = found(1, 1, nil_matched, "nil");
            found.span_sets[0].attributes[0].1 = AttributeValue::Nil;
            found.span_sets.extend(self::found(1, 1, text_matched, "nil").span_sets);
            found
        };
        let merged = combine_trace_matches(vec![both(2, 1), both(1, 3)], 0);
        let matched: Vec<_> = merged[0].span_sets.iter().map(|set| set.matched).collect();
        assert_eq!(matched, [2, 3]);
    }

    #[test]
    fn parts_with_a_spanset_for_each_span_are_merged_at_once() {
        let part = |matched, groups: std::ops::Range<u32>| {
            let sets =
                groups.map(|group| found(1, 1, matched, &group.to_string()).span_sets.remove(0));
            TraceMatch { span_sets: sets.collect(), ..found(1, 1, matched, "") }
        };
        let began = std::time::Instant::now();
        let parts = vec![part(1, 0..15_000), part(2, 10_000..25_000)];
        let sets = combine_trace_matches(parts, 0).remove(0).span_sets;
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert_eq!(sets.len(), 25_000);
        let matched = |range: std::ops::Range<usize>, matched| {
            sets[range].iter().all(|set| set.matched == matched)
        };
        assert!(matched(0..10_000, 1) && matched(10_000..25_000, 2));
    }

    #[test]
    fn limit_keeps_the_newest_and_ties_go_by_id() {
        let mut combiner = TraceMatchCombiner::default();
        for (id, start) in [(1, 5), (4, 9), (3, 9), (2, 7)] {
            combiner.add(found(id, start, 1, ""));
        }
        assert_eq!(combiner.oldest_kept_start(3), Some(7));
        assert_eq!(combiner.oldest_kept_start(5), None);
        let ids: Vec<_> = combiner.finish(3).iter().map(|found| found.trace_id).collect();
        assert_eq!(ids, [3, 4, 2].map(|id| TraceId::from_slice(&[id])));
    }
}
