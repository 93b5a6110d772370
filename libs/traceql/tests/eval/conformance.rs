//! The `eval` and `tag_values` sections of the shared conformance data.

use std::collections::BTreeMap;

use serde_yaml::Value;
use tactus_model::SpanBatch;
use tactus_traceql::eval::{
    AttributeValue, CompiledQuery, SearchOptions, TagFilter, TagLimits, TraceMatch, ValueCollector,
    Window, collect_tag_values, tag_values_projection,
};
use tactus_traceql::{completion, parse_and_validate, parse_attribute};

use super::batches::{live_batch, project, stored_batch};
use super::dataset::{Dataset, conformance, list, load, map, text};

/// Trace -> spansets, each its spans and its attributes as text.
type Answer = BTreeMap<String, Vec<(Vec<String>, Vec<(String, String)>)>>;

/// The answer of a search in two passes, each with only the columns that the query asks for.
fn search(
    query: &str,
    batch: &SpanBatch,
    window: Window,
    options: &SearchOptions,
) -> Vec<TraceMatch> {
    let root = parse_and_validate(query).expect(query);
    let compiled = CompiledQuery::compile(&root).expect(query);
    let whole = compiled.find_matches(batch, window).expect(query);
    let answer: Vec<_> = compiled.assemble(batch, &whole, options).collect();
    if batch.traces.summaries.is_some() {
        let narrow = project(batch, compiled.filter_projection());
        let matches = compiled.find_matches(&narrow, window).expect(query);
        assert_eq!(matches, whole, "first pass of {query}");
        let narrow = project(batch, compiled.result_projection());
        let narrow: Vec<_> = compiled.assemble(&narrow, &matches, options).collect();
        assert_eq!(narrow, answer, "second pass of {query}");
    }
    answer
}

fn answer(found: &[TraceMatch], dataset: &Dataset) -> Answer {
    let mut answer = Answer::new();
    for trace in found {
        let sets = trace.span_sets.iter().map(|set| {
            let id = |span: &tactus_traceql::eval::SpanMatch| {
                dataset.span_refs[&u64::from_be_bytes(span.span_id.0)].clone()
            };
            let mut spans: Vec<_> = set.spans.iter().map(id).collect();
            spans.sort();
            let attributes = set.attributes.iter().map(|(k, v)| (k.to_string(), v.to_string()));
            (spans, attributes.collect())
        });
        let mut sets: Vec<_> = sets.collect();
        sets.sort();
        answer.insert(trace_ref(trace, dataset), sets);
    }
    answer
}

fn trace_ref(trace: &TraceMatch, dataset: &Dataset) -> String {
    dataset.trace_refs[&u128::from_be_bytes(trace.trace_id.0)].clone()
}

fn expected(case: &Value) -> Answer {
    let refs = |spans: &Value| {
        let mut refs: Vec<_> = list(spans).iter().map(text).collect();
        refs.sort();
        refs
    };
    let attributes = |attributes: &Value| -> Vec<_> {
        map(attributes).iter().map(|(key, value)| (text(key), shown(value))).collect()
    };
    let mut answer = Answer::new();
    for (trace, spans) in map(&case["expect"]) {
        let attributes = attributes(&case["attrs"][&trace]);
        answer.insert(text(&trace), vec![(refs(&spans), attributes)]);
    }
    for (trace, sets) in map(&case["expect_groups"]) {
        let set = |set: &Value| (refs(&set["spans"]), attributes(&set["attrs"]));
        let mut sets: Vec<_> = list(&sets).iter().map(set).collect();
        sets.sort();
        answer.insert(text(&trace), sets);
    }
    answer
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => AttributeValue::Bool(*value).to_string(),
        Value::Number(number) if number.is_f64() => {
            AttributeValue::Float(number.as_f64().unwrap()).to_string()
        }
        other => text(other),
    }
}

#[test]
fn search_cases_are_answered_as_recorded() {
    let data = conformance();
    let dataset = load(&data);
    let live = live_batch(&dataset.groups);
    let stored = stored_batch(&live);
    let mut failures = Vec::new();
    let cases = list(&data["eval"]);
    assert!(cases.len() > 200);
    for case in cases {
        let query = text(&case["query"]);
        for batch in [&live, &stored] {
            if let Err(failure) = check(case, &query, batch, &dataset) {
                failures.push(format!("{query}\n{failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn check(case: &Value, query: &str, batch: &SpanBatch, dataset: &Dataset) -> Result<(), String> {
    let bound = |index: usize| case["window"][index].as_u64().unwrap_or(0);
    let window = match case["window"] {
        Value::Null => Window::default(),
        _ => {
            let base = dataset.base / 1_000_000_000;
            Window::from_seconds(base + bound(0), base + bound(1))
        }
    };
    let options = SearchOptions {
        limit: case["limit"].as_u64().unwrap_or(0) as usize,
        spans_per_span_set: case["spss"].as_u64().unwrap_or(0) as usize,
    };
    let found = search(query, batch, window, &options);
    if case["spss"] != Value::Null {
        for trace in &found {
            let matched = case["matched"][trace_ref(trace, dataset)].as_u64().unwrap();
            let set = &trace.span_sets[0];
            assert_eq!(u64::from(set.matched), matched, "{query}");
            assert_eq!(
                set.spans.len(),
                set.matched.min(options.spans_per_span_set as u32) as usize
            );
        }
        assert_eq!(found.len(), map(&case["expect"]).len(), "{query}");
        return Ok(());
    }
    let mut actual = answer(&found, dataset);
    if case["attrs"] == Value::Null && case["expect_groups"] == Value::Null {
        actual.values_mut().flatten().for_each(|set| set.1.clear());
    }
    let expected = expected(case);
    // Only the listed attributes of a trace are checked.
    for (trace, sets) in &mut actual {
        if expected.get(trace).is_some_and(|sets| sets.iter().all(|set| set.1.is_empty())) {
            sets.iter_mut().for_each(|set| set.1.clear());
        }
    }
    if case["order"] != Value::Null {
        let order: Vec<_> = found.iter().map(|trace| trace_ref(trace, dataset)).collect();
        let wanted: Vec<_> = list(&case["order"]).iter().map(text).collect();
        assert_eq!(order, wanted, "{query}");
    }
    match actual == expected {
        true => Ok(()),
        false => Err(format!("  found    {actual:?}\n  expected {expected:?}")),
    }
}

#[test]
fn tag_value_cases_are_answered_as_recorded() {
    let data = conformance();
    let dataset = load(&data);
    let live = live_batch(&dataset.groups);
    let stored = stored_batch(&live);
    for case in list(&data["tag_values"]) {
        let (tag, query) = (text(&case["tag"]), text(&case["query"]));
        let attribute = parse_attribute(&tag).expect(&tag);
        let completion = completion(&query, Some(&attribute), 100).expect(&query);
        let filter = TagFilter::new(&completion);
        let mut columns = tag_values_projection(&attribute);
        columns.merge(filter.projection());
        let narrow = project(&stored, &columns);
        for batch in [&live, &stored, &narrow] {
            let mut collector = ValueCollector::new(TagLimits::default());
            collect_tag_values(batch, &attribute, &filter, &mut collector);
            let values = collector.finish();
            let mut wanted: Vec<_> = list(&case["values"]).iter().map(text).collect();
            wanted.sort();
            let texts: Vec<_> = values.iter().map(|value| value.text.clone()).collect();
            assert_eq!(texts, wanted, "{tag} with {query}");
            let wanted_type = text(&case["type"]);
            assert!(values.iter().all(|value| value.value_type.text() == wanted_type), "{tag}");
        }
    }
}
