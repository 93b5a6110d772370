use super::*;
use tactus_model::{SpanId, TraceId};

fn trace(id: &str, start: u64) -> TraceSearchMetadata {
    TraceSearchMetadata {
        trace_id: id.to_owned(),
        start_time_unix_nano: start,
        ..TraceSearchMetadata::default()
    }
}

fn string_attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned().into())) };
    KeyValue { key: key.to_owned().into(), value: Some(value) }
}

fn set(matched: u32, group: Option<&str>, count: &str) -> SpanSet {
    let mut attributes = vec![string_attribute("count()", count)];
    attributes.extend(group.map(|group| string_attribute("by(name)", group)));
    let spans = vec![Span { span_id: format!("{matched:016}"), ..Span::default() }];
    SpanSet { matched, attributes, spans }
}

#[test]
fn newest_traces_come_first_and_ties_by_id() {
    let mut combiner = SearchCombiner::new(3);
    combiner.add(vec![trace("a", 5), trace("10", 7), trace("b", 7)]);
    assert!(combiner.is_full());
    assert_eq!(combiner.oldest_kept_start(), Some(5));
    combiner.add(vec![trace("d", 6)]);
    assert_eq!(combiner.oldest_kept_start(), Some(6));
    let answer = combiner.finish(SearchMetrics::default());
    let ids: Vec<_> = answer.traces.iter().map(|trace| trace.trace_id.as_str()).collect();
    assert_eq!(ids, ["b", "10", "d"]);
    assert_eq!(answer.traces[0].root_service_name, ROOT_NOT_RECEIVED);
}

#[test]
fn previews_are_shown_once_and_do_not_count() {
    let shown = |combiner: &mut SearchCombiner, after| -> Vec<String> {
        combiner.take_changes(after).into_iter().map(|trace| trace.trace_id).collect()
    };
    let mut combiner = SearchCombiner::new(3).watches_changes();
    combiner.add(vec![trace("a", 5)]);
    combiner.preview(vec![trace("a", 5), trace("b", 6), trace("c", 4)]);
    assert!(!combiner.is_full());
    assert_eq!(shown(&mut combiner, 4), ["a"], "a newer one may be found");
    assert_eq!(shown(&mut combiner, 0), ["b", "c"]);
    combiner.preview(vec![trace("c", 4), trace("d", 7), trace("e", 8)]);
    assert_eq!(shown(&mut combiner, 0), ["d"], "as many as the limit");
    combiner.add(vec![trace("b", 6)]);
    assert_eq!(shown(&mut combiner, 0), ["b"]);
    let answer = combiner.finish(SearchMetrics::default());
    let ids: Vec<_> = answer.traces.iter().map(|trace| trace.trace_id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
}

#[test]
fn parts_of_a_trace_are_merged() {
    let stats = |span_count, error_count| ServiceStats { span_count, error_count };
    let mut one = trace("a", 0);
    one.duration_ms = 5;
    one.service_stats = [("x".to_owned(), stats(3, 0))].into();
    one.span_sets = vec![set(2, Some("g"), "2"), set(1, None, "1")];
    let mut two = trace("a", 9);
    two.root_service_name = "root".into();
    two.root_trace_name = "get".into();
    two.duration_ms = 4;
    two.service_stats = [("x".to_owned(), stats(2, 1)), ("y".to_owned(), stats(1, 0))].into();
    two.span_sets = vec![set(3, Some("g"), "3"), set(1, Some("h"), "1"), set(1, None, "9")];
    let mut combiner = SearchCombiner::new(20);
    combiner.add(vec![one]);
    combiner.add(vec![two]);
    let answer = combiner.finish(SearchMetrics::default());
    let [merged] = &answer.traces[..] else { panic!("{answer:?}") };
    assert_eq!((merged.start_time_unix_nano, merged.duration_ms), (9, 5));
    assert_eq!((&*merged.root_service_name, &*merged.root_trace_name), ("root", "get"));
    assert_eq!(merged.service_stats["x"], stats(3, 1));
    assert_eq!(merged.service_stats["y"], stats(1, 0));
    // In the order of their first spans.
    assert_eq!(
        merged.span_sets,
        [set(1, None, "1"), set(1, Some("h"), "1"), set(3, Some("g"), "3")]
    );
    assert_eq!(merged.span_set.as_ref(), merged.span_sets.first());
}

#[test]
fn spans_of_all_sources_are_shown_where_each_lists_all_that_matched() {
    let span = |id: &str| Span { span_id: id.to_owned(), ..Span::default() };
    let set = |matched, ids: &[&str]| SpanSet {
        matched,
        spans: ids.iter().map(|id| span(id)).collect(),
        ..SpanSet::default()
    };
    let answer = |shown, sets: &[SpanSet]| {
        let mut combiner = SearchCombiner::new(20).shows_spans(shown);
        for set in sets {
            let mut part = trace("a", 1);
            part.span_sets = vec![set.clone()];
            combiner.add(vec![part]);
        }
        let mut answer = combiner.finish(SearchMetrics::default());
        answer.traces.remove(0).span_sets.remove(0)
    };
    let parts = [set(2, &["1", "2"]), set(2, &["2", "3"])];
    assert_eq!(answer(0, &parts), set(3, &["1", "2", "3"]));
    assert_eq!(answer(2, &parts), set(3, &["1", "2"]));
    let cut = [set(2, &["1", "2"]), set(9, &["2", "3"])];
    assert_eq!(answer(0, &cut), cut[1]);
    // Client and server of a call may share an id, and a span may differ in its name only.
    let mut others = [set(1, &["1"]), set(1, &["1"]), set(1, &["1"])];
    others[1].spans[0].start_time_unix_nano = 5;
    others[2].spans[0].name = "other".to_owned();
    assert_eq!(answer(0, &others).matched, 3);
}

#[test]
fn parts_with_a_set_for_each_span_are_merged_at_once() {
    let part = |matched: u32, groups: std::ops::Range<u32>| {
        let mut part = trace("a", 1);
        part.span_sets = groups.map(|group| set(matched, Some(&group.to_string()), "1")).collect();
        part
    };
    let began = std::time::Instant::now();
    let mut combiner = SearchCombiner::new(20);
    combiner.add(vec![part(1, 0..30_000)]);
    combiner.add(vec![part(2, 20_000..50_000)]);
    let sets = combiner.finish(SearchMetrics::default()).traces.remove(0).span_sets;
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    let expected =
        |group: u32| set(if group < 20_000 { 1 } else { 2 }, Some(&group.to_string()), "1");
    assert!(sets.into_iter().eq((0..50_000).map(expected)));
}

#[test]
fn spans_of_several_sources_are_listed_by_start() {
    let span = |span_id: &str, start_time_unix_nano| Span {
        span_id: span_id.to_owned(),
        start_time_unix_nano,
        ..Span::default()
    };
    let ids_of = |shown, sources: [Vec<Span>; 2]| -> Vec<String> {
        let mut combiner = SearchCombiner::new(20).shows_spans(shown);
        for spans in sources {
            let matched = spans.len() as u32;
            let span_sets = vec![SpanSet { spans, matched, ..SpanSet::default() }];
            combiner.add(vec![TraceSearchMetadata { span_sets, ..trace("a", 1) }]);
        }
        let mut answer = combiner.finish(SearchMetrics::default());
        let set = answer.traces.remove(0).span_sets.remove(0);
        assert_eq!(set.matched, 4);
        set.spans.into_iter().map(|span| span.span_id).collect()
    };
    let later = vec![span("c", 7), span("a", 9)];
    let earlier = vec![span("d", 1), span("b", 7)];
    assert_eq!(ids_of(0, [later.clone(), earlier.clone()]), ["d", "b", "c", "a"]);
    assert_eq!(ids_of(2, [later.clone(), earlier.clone()]), ["d", "b"], "the first are shown");
    assert_eq!(ids_of(0, [earlier, later]), ["d", "b", "c", "a"]);
}

#[test]
fn aggregates_of_the_shown_spans_are_those_of_one_source() {
    let part = |ids: &[&str], name: &str| SpanSet {
        matched: ids.len() as u32,
        spans: ids.iter().map(|id| Span { span_id: (*id).into(), ..Span::default() }).collect(),
        attributes: vec![string_attribute("by(kind)", "server"), string_attribute(name, "2")],
    };
    for (name, matched) in [
        ("count()", 2),
        ("sum(span.x)", 2),
        ("avg(duration)", 2),
        ("min(span.x)", 3),
        ("max(duration)", 3),
    ] {
        let mut combiner = SearchCombiner::new(20);
        for ids in [["1", "2"], ["2", "3"]] {
            combiner.add(vec![TraceSearchMetadata {
                span_sets: vec![part(&ids, name)],
                ..trace("a", 1)
            }]);
        }
        let answer = combiner.finish(SearchMetrics::default());
        let [set] = &answer.traces[0].span_sets[..] else { panic!("{answer:?}") };
        assert_eq!((set.matched, set.spans.len() as u32), (matched, matched), "{name}");
    }
}

#[test]
fn group_without_a_value_and_that_of_its_text_stay_apart() {
    let source = |value: AttributeValue, span_id: &str| {
        let attributes = vec![("by(.a)".into(), value)];
        let set = eval::SpanSet { matched: 1, attributes, spans: vec![] };
        let mut found = trace("a", 1);
        found.span_sets = vec![span_set_message(set)];
        found.span_sets[0].spans = vec![Span { span_id: span_id.into(), ..Span::default() }];
        found
    };
    let text = || AttributeValue::String("nil".into());
    let mut ingesters = SearchCombiner::new(20);
    ingesters.add(vec![source(AttributeValue::Nil, "1")]);
    ingesters.add(vec![source(text(), "2")]);
    let mut combiner = SearchCombiner::new(20).watches_changes();
    combiner.add(ingesters.finish_part());
    combiner.add(vec![source(AttributeValue::Nil, "3"), source(text(), "2")]);
    let changed = combiner.take_changes(0);
    let answer = combiner.finish(SearchMetrics::default());
    assert_eq!(changed, answer.traces);
    let sets = &answer.traces[0].span_sets;
    assert_eq!(sets.iter().map(|set| set.matched).collect::<Vec<_>>(), [2, 1]);
    for set in sets {
        assert_eq!(set.attributes, [string_attribute("by(.a)", "nil")]);
    }
    assert_eq!(answer.traces[0].span_set.as_ref(), Some(&sets[0]));
}

#[test]
fn old_traces_are_dropped_when_there_are_far_too_many() {
    let mut combiner = SearchCombiner::new(2);
    combiner.add((1..2_000).map(|start| trace(&start.to_string(), start)).collect());
    assert_eq!(combiner.len(), 2);
    assert_eq!(combiner.oldest_kept_start(), Some(1_998));
}

#[test]
fn changes_are_told_once() {
    let mut combiner = SearchCombiner::new(3).watches_changes().pads_ids(true);
    let ids = |traces: &[TraceSearchMetadata]| -> Vec<String> {
        traces.iter().map(|trace| trace.trace_id.trim_start_matches('0').to_owned()).collect()
    };
    combiner.add(vec![trace("a", 5), trace("b", 7)]);
    let first = combiner.take_changes(0);
    assert_eq!(ids(&first), ["b", "a"]);
    assert_eq!(first[0].trace_id.len(), 32);
    assert_eq!(first[0].root_service_name, ROOT_NOT_RECEIVED);
    combiner.add(vec![trace("a", 5), trace("b", 6)]);
    assert_eq!(ids(&combiner.take_changes(0)), ["b"]);
    // What is not newer than the bound waits for a later call.
    combiner.add(vec![trace("c", 20), trace("d", 10)]);
    assert_eq!(ids(&combiner.take_changes(10)), ["c"]);
    // With `c`, `d` and `b` the answer is full: `e` is not in it, and `d` is.
    combiner.add(vec![trace("e", 1)]);
    assert_eq!(ids(&combiner.take_changes(0)), ["d"]);
    assert_eq!(ids(&combiner.finish(SearchMetrics::default()).traces), ["c", "d", "b"]);
}

#[test]
fn traces_that_were_shown_stay_in_the_answer_if_they_are_kept() {
    let ids = |traces: &[TraceSearchMetadata]| -> Vec<String> {
        traces.iter().map(|trace| trace.trace_id.clone()).collect()
    };
    let mut combiner = SearchCombiner::new(3).watches_changes().keeps_what_was_shown();
    combiner.preview(vec![trace("p", 4)]);
    combiner.add(vec![trace("a", 5)]);
    assert_eq!(ids(&combiner.take_changes(0)), ["a", "p"]);
    combiner.add(vec![trace("c", 9), trace("d", 9), trace("e", 10)]);
    // One place is left.
    assert_eq!(ids(&combiner.take_changes(0)), ["e"]);
    // What was shown may change, however old it is.
    combiner.add(vec![trace("a", 3), trace("p", 4)]);
    assert_eq!(ids(&combiner.take_changes(0)), ["p", "a"]);
    assert_eq!(ids(&combiner.finish(SearchMetrics::default()).traces), ["e", "p", "a"]);

    // Of those that were shown early, one is not sent again.
    let mut combiner = SearchCombiner::new(2).watches_changes().keeps_what_was_shown();
    combiner.preview(vec![trace("p", 4)]);
    assert_eq!(ids(&combiner.take_changes(0)), ["p"]);
    combiner.add(vec![trace("a", 8), trace("b", 9)]);
    assert_eq!(ids(&combiner.finish(SearchMetrics::default()).traces), ["b", "p"]);

    // Of traces that start at the same time, those of the answer are shown.
    let mut combiner = SearchCombiner::new(1).watches_changes().keeps_what_was_shown();
    combiner.add(vec![trace("c", 9), trace("b", 9), trace("d", 9)]);
    assert_eq!(ids(&combiner.take_changes(5)), ["b"]);
    assert_eq!(ids(&combiner.take_changes(5)), Vec::<String>::new());
    assert_eq!(ids(&combiner.finish(SearchMetrics::default()).traces), ["b"]);
}

#[test]
fn match_becomes_a_message() {
    let span = eval::SpanMatch {
        span_id: SpanId::from_slice(&[1]),
        name: None,
        start_unix_nanos: 7,
        duration_nanos: 8,
        attributes: vec![("x".into(), AttributeValue::Array(vec![AttributeValue::Int(1)]))],
    };
    let attributes = vec![("count()".into(), AttributeValue::Float(1.5))];
    let message = to_message(TraceMatch {
        trace_id: TraceId::from_slice(&[0xff]),
        root_service_name: "s".into(),
        root_trace_name: String::new(),
        start_unix_nanos: 5,
        duration_nanos: 2_999_999,
        service_stats: [("s".to_owned(), eval::ServiceStats { spans: 2, errors: 1 })].into(),
        span_sets: vec![eval::SpanSet { matched: 4, attributes, spans: vec![span] }],
    });
    assert_eq!((&*message.trace_id, message.duration_ms), ("ff", 2));
    assert_eq!(message.service_stats["s"], ServiceStats { span_count: 2, error_count: 1 });
    let set = &message.span_sets[0];
    assert_eq!((set.matched, &*set.spans[0].span_id), (4, "0000000000000001"));
    assert!(matches!(
        &set.spans[0].attributes[0].value,
        Some(AnyValue { value: Some(Value::ArrayValue(array)) }) if array.values.len() == 1
    ));
}
