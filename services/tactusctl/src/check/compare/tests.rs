use std::time::Duration;

use serde_json::json;
use tactus_proto::otlp::ResourceSpans;
use tactus_proto::tempopb::Trace;

use super::*;
use crate::check::content::Derivation;

fn trace() -> CheckTrace {
    // A slot whose trace has links, events, a list and an error.
    Derivation::new("test", None, Duration::from_secs(5)).trace(340_000_001)
}

fn spans(trace: &CheckTrace) -> Vec<ResourceSpans> {
    trace.request(false, true, "5+3").resource_spans
}

fn answered(spans: Vec<ResourceSpans>, status: PartialStatus) -> Bytes {
    let trace = Some(Trace { resource_spans: spans });
    TraceByIdResponse { trace, status: status.into(), ..TraceByIdResponse::default() }
        .encode_to_vec()
        .into()
}

/// What is said of an answer in which one thing was changed.
fn judged(change: impl FnOnce(&mut Vec<ResourceSpans>)) -> Result<(), Problem> {
    let trace = trace();
    let mut spans = spans(&trace);
    change(&mut spans);
    by_id(&trace, answered(spans, PartialStatus::Complete))
}

fn first(spans: &mut [ResourceSpans]) -> &mut Span {
    &mut spans[0].scope_spans[0].spans[0]
}

#[test]
fn whole_trace_is_right_in_any_order() {
    assert_eq!(judged(|_| ()), Ok(()));
    let turned = judged(|spans| {
        spans.reverse();
        first(spans).attributes.reverse();
        for spans in spans.iter_mut() {
            spans.scope_spans[0].spans.reverse();
        }
        spans.iter_mut().for_each(|spans| spans.resource.as_mut().unwrap().attributes.reverse());
    });
    assert_eq!(turned, Ok(()));
}

#[test]
fn every_part_of_a_span_is_compared() {
    let changes: [fn(&mut Vec<ResourceSpans>); 13] = [
        |spans| first(spans).name = Bytes::from_static(b"other"),
        |spans| first(spans).kind = 0,
        |spans| first(spans).start_time_unix_nano += 1,
        |spans| first(spans).end_time_unix_nano -= 1,
        |spans| first(spans).trace_state = Bytes::new(),
        |spans| first(spans).parent_span_id = Bytes::from_static(b"12345678"),
        |spans| first(spans).status.as_mut().unwrap().message = Bytes::from_static(b"?"),
        |spans| drop(first(spans).attributes.remove(1)),
        |spans| first(spans).attributes[2].value = None,
        |spans| first(spans).links.clear(),
        |spans| first(spans).links[0].attributes.clear(),
        |spans| spans[0].resource.as_mut().unwrap().attributes.clear(),
        |spans| spans[0].scope_spans[0].scope = None,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let judged = judged(change);
        assert!(matches!(judged, Err(Problem::Incorrect(_))), "change {index}: {judged:?}");
    }
    let event = judged(|spans| {
        let mut spans = spans.iter_mut().flat_map(|spans| &mut spans.scope_spans[0].spans);
        spans.find(|span| !span.events.is_empty()).unwrap().events[0].time_unix_nano += 1;
    });
    assert!(matches!(event, Err(Problem::Incorrect(_))), "{event:?}");
}

#[test]
fn written_runs_must_be_readable() {
    let broken = judged(|spans| {
        first(spans).attributes.retain(|attribute| attribute.key != WRITTEN);
    });
    assert!(matches!(broken, Err(Problem::Incorrect(_))), "{broken:?}");
}

#[test]
fn missing_doubled_and_foreign_spans_are_told_apart() {
    let missing = judged(|spans| drop(spans[0].scope_spans[0].spans.pop()));
    assert!(matches!(missing, Err(Problem::MissingSpans(_))), "{missing:?}");
    let doubled = judged(|spans| {
        let again = spans[0].clone();
        spans.push(again);
    });
    assert!(
        matches!(doubled, Err(Problem::Incorrect(ref text)) if text.ends_with("comes twice")),
        "{doubled:?}"
    );
    let foreign = judged(|spans| {
        let mut span = first(spans).clone();
        span.span_id = Bytes::from_static(b"foreign!");
        spans[0].scope_spans[0].spans.push(span);
    });
    assert!(
        matches!(foreign, Err(Problem::Incorrect(ref text)) if text.ends_with("never written")),
        "{foreign:?}"
    );
    assert_eq!(judged(Vec::clear), Err(Problem::NotFound));
}

#[test]
fn partial_answers_say_nothing_of_what_is_missing() {
    let trace = trace();
    for spans in [Vec::new(), spans(&trace)] {
        let judged = by_id(&trace, answered(spans, PartialStatus::Partial));
        assert!(matches!(judged, Err(Problem::Partial(_))), "{judged:?}");
    }
    let garbage = by_id(&trace, Bytes::from_static(b"\xff\xff"));
    assert!(matches!(garbage, Err(Problem::Failed(_))), "{garbage:?}");
}

fn found(trace: &CheckTrace) -> serde_json::Value {
    let ratio = trace.searched_ratio();
    let matching: Vec<_> = trace.spans[1..].iter().filter(|span| span.ratio >= ratio).collect();
    let spans: Vec<_> = matching
        .iter()
        .map(|span| {
            let (start, end) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
            json!({
                "spanID": hex(&span.span.span_id).trim_start_matches('0'),
                "startTimeUnixNano": start.to_string(), "durationNanos": (end - start).to_string(),
            })
        })
        .collect();
    json!({"traces": [{
        "traceID": trace.id.to_hex_trimmed(), "rootServiceName": SERVICES[0], "rootTraceName": ROOT_NAME,
        "startTimeUnixNano": trace.start_unix_nanos.to_string(), "durationMs": trace.duration_ms(),
        "spanSets": [{"spans": spans, "matched": matching.len()}],
    }], "metrics": {}})
}

fn judged_search(change: impl FnOnce(&mut serde_json::Value)) -> Result<(), Problem> {
    let trace = trace();
    let mut answer = found(&trace);
    change(&mut answer);
    traceql(&trace, answer.to_string().as_bytes())
}

#[test]
fn searches_find_one_trace_with_the_right_spans() {
    assert_eq!(judged_search(|_| ()), Ok(()));
    assert_eq!(judged_search(|answer| answer["traces"] = json!([])), Err(Problem::NotFound));
    let without = judged_search(|answer| {
        drop(answer["traces"][0]["spanSets"][0]["spans"].as_array_mut().unwrap().pop())
    });
    assert!(matches!(without, Err(Problem::MissingSpans(_))), "{without:?}");
    let changes: [fn(&mut serde_json::Value); 5] = [
        |answer| answer["traces"][0]["rootTraceName"] = json!("other"),
        |answer| answer["traces"][0]["durationMs"] = json!(1),
        |answer| answer["traces"][0]["spanSets"][0]["matched"] = json!(99),
        |answer| answer["traces"][0]["spanSets"][0]["spans"][0]["durationNanos"] = json!("0"),
        |answer| {
            let again = answer["traces"][0].clone();
            answer["traces"].as_array_mut().unwrap().push(again);
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let judged = judged_search(change);
        assert!(matches!(judged, Err(Problem::Incorrect(_))), "change {index}: {judged:?}");
    }
    assert!(matches!(traceql(&trace(), b"<html>"), Err(Problem::Failed(_))));
}

#[test]
fn counts_are_those_of_each_service() {
    let trace = trace();
    let mut series: Vec<serde_json::Value> = (0..SERVICES.len())
        .map(|service| {
            let count = trace.spans.iter().filter(|span| span.service == service).count();
            let labels = json!([{"key": "resource.service.name", "value": {"stringValue": SERVICES[service]}}]);
            json!({"labels": labels, "samples": [{"timestampMs": "1"}, {"timestampMs": "2", "value": count}]})
        })
        .collect();
    let judge = |series: &[serde_json::Value], status: &str| {
        metrics(&trace, json!({"series": series, "status": status}).to_string().as_bytes())
    };
    assert_eq!(judge(&series, "COMPLETE"), Ok(()));
    assert_eq!(judge(&[], "COMPLETE"), Err(Problem::NotFound));
    series[0]["samples"][0]["value"] = json!(1);
    assert!(matches!(judge(&series, "COMPLETE"), Err(Problem::Incorrect(_))));
    assert!(matches!(judge(&series, "PARTIAL"), Err(Problem::Partial(_))));
}

#[test]
fn history_is_read_from_what_was_selected() {
    let attribute = |key: &str, value: serde_json::Value| json!({"key": key, "value": value});
    let span = |written: &str| {
        json!({"spanID": "1", "attributes": [
            attribute("span.check.written", json!({"stringValue": written})),
            attribute("check.slot", json!({"intValue": "17"})),
        ]})
    };
    let answer = json!({"traces": [{"spanSets": [{"spans": [span("3+4"), span("broken")]}]}, {"traceID": "x"}]});
    let read = history(answer.to_string().as_bytes()).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].0, read[0].1.to_text(9).as_str()), (17, "3+4"));
}
