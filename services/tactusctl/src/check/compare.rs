//! Answers against what was written.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use tactus_model::{TraceId, bytes_to_hex as hex};
use tactus_proto::otlp::{KeyValue, Span};
use tactus_proto::tempopb::{PartialStatus, TraceByIdResponse};

use super::content::{CheckTrace, ROOT_NAME, SERVICES, ServiceSpan, WRITTEN, scope};
use super::problem::Problem;
use super::written::Written;

use crate::answers::{FoundSpan, FoundTrace, Metrics, Search};
use crate::error::Failure;

/// The answer of `/api/v2/traces/{id}`: every span once, and as it was written.
pub(super) fn by_id(trace: &CheckTrace, body: Bytes) -> Result<(), Problem> {
    let answer = TraceByIdResponse::decode(body)
        .map_err(|error| not_understood(&format!("trace by id: {error}")))?;
    let partial = answer.status == i32::from(PartialStatus::Partial);
    let mut found = BTreeMap::new();
    for resource_spans in answer.trace.unwrap_or_default().resource_spans {
        let resource = sorted(resource_spans.resource.unwrap_or_default().attributes);
        for scope_spans in resource_spans.scope_spans {
            let of_scope = scope_spans.scope.unwrap_or_default();
            for span in scope_spans.spans {
                let place = (resource.clone(), of_scope.clone());
                if let Some((span, _)) = found.insert(span.span_id.clone(), (span, place)) {
                    return Err(Problem::Incorrect(format!(
                        "span {} comes twice",
                        hex(&span.span_id)
                    )));
                }
            }
        }
    }
    let incomplete = |problem| match partial {
        true => Problem::Partial(answer.message.clone()),
        false => problem,
    };
    if found.is_empty() {
        return Err(incomplete(Problem::NotFound));
    }
    let mut missing = Vec::new();
    for expected in &trace.spans {
        let Some((span, (resource, of_scope))) = found.remove(&expected.span.span_id) else {
            missing.push(hex(&expected.span.span_id));
            continue;
        };
        if resource != sorted(trace.resource(expected.service).attributes.clone()) {
            return Err(different(expected, "resource", &resource));
        }
        if of_scope != scope() {
            return Err(different(expected, "scope", &of_scope));
        }
        same_span(expected, span)?;
    }
    if !missing.is_empty() {
        return Err(incomplete(Problem::MissingSpans(missing.join(", "))));
    }
    match found.first_key_value() {
        Some((id, _)) => Err(Problem::Incorrect(format!("span {} was never written", hex(id)))),
        None if partial => Err(Problem::Partial(answer.message)),
        None => Ok(()),
    }
}

fn same_span(expected: &ServiceSpan, found: Span) -> Result<(), Problem> {
    let (wanted, mut found) = (canonical(expected.span.clone()), canonical(found));
    if wanted.parent_span_id.is_empty() {
        let written = found.attributes.iter().position(|attribute| attribute.key == WRITTEN);
        let text = written.map(|index| found.attributes.remove(index));
        let text = text.and_then(|attribute| string(attribute.value.as_ref()?));
        if text.as_deref().and_then(Written::parse).is_none() {
            return Err(different(expected, WRITTEN, &text));
        }
    }
    if found == wanted {
        return Ok(());
    }
    // What differs, by field, for the reader of the log.
    Err(match () {
        () if found.attributes != wanted.attributes => {
            different(expected, "attributes", &found.attributes)
        }
        () if found.events != wanted.events => different(expected, "events", &found.events),
        () if found.links != wanted.links => different(expected, "links", &found.links),
        () => different(expected, "span", &found),
    })
}

/// Without differences that mean nothing: the order of attributes, and what is absent or empty.
fn canonical(mut span: Span) -> Span {
    span.attributes = sorted(span.attributes);
    span.status = Some(span.status.unwrap_or_default());
    // Whether the parent is remote is not kept by every store.
    span.flags = 0;
    for event in &mut span.events {
        event.attributes = sorted(std::mem::take(&mut event.attributes));
    }
    for link in &mut span.links {
        link.attributes = sorted(std::mem::take(&mut link.attributes));
        link.flags = 0;
    }
    span
}

fn sorted(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.sort_by(|left, right| left.key.cmp(&right.key));
    attributes
}

/// The answer of a search by tags: this trace and no other, and what is said of it.
pub(super) fn search(trace: &CheckTrace, body: &[u8]) -> Result<(), Problem> {
    only_trace(trace, body).map(drop)
}

/// The answer of a search by TraceQL: the right spans as well.
pub(super) fn traceql(trace: &CheckTrace, body: &[u8]) -> Result<(), Problem> {
    let found = only_trace(trace, body)?;
    let ratio = trace.searched_ratio();
    let spans = trace.spans[1..].iter().filter(|span| span.ratio >= ratio);
    let expected: BTreeMap<String, (u64, u64)> = spans
        .map(|span| {
            let (start, end) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
            (hex(&span.span.span_id), (start, end - start))
        })
        .collect();
    let matched: u64 = found.span_sets.iter().map(|set| set.matched).sum();
    let mut spans = BTreeMap::new();
    for span in found.span_sets.into_iter().flat_map(|set| set.spans) {
        let times = (span.start_time_unix_nano, span.duration_nanos);
        spans.insert(format!("{:0>16}", span.span_id), times);
    }
    if let Some((id, _)) = expected.iter().find(|(id, _)| !spans.contains_key(*id)) {
        return Err(Problem::MissingSpans(format!("{id}, in a search")));
    }
    if spans != expected || matched != expected.len() as u64 {
        let text = format!("spans {spans:?}, {matched} in all, instead of {expected:?}");
        return Err(Problem::Incorrect(text));
    }
    Ok(())
}

fn only_trace(trace: &CheckTrace, body: &[u8]) -> Result<FoundTrace, Problem> {
    let answer: Search = serde_json::from_slice(body)
        .map_err(|error| not_understood(&format!("search: {error}")))?;
    let mut traces = answer.traces.into_iter();
    let found = traces.next().ok_or(Problem::NotFound)?;
    if let Some(other) = traces.next() {
        return Err(Problem::Incorrect(format!("{} is found as well", other.trace_id)));
    }
    let said = (
        TraceId::from_hex(&found.trace_id),
        found.root_service_name.as_str(),
        found.root_trace_name.as_str(),
        found.start_time_unix_nano,
        found.duration_ms,
    );
    let expected =
        (Some(trace.id), SERVICES[0], ROOT_NAME, trace.start_unix_nanos, trace.duration_ms());
    if said != expected {
        return Err(Problem::Incorrect(format!("{said:?} instead of {expected:?}")));
    }
    Ok(found)
}

/// The answer of a metrics query: the number of spans of each service.
pub(super) fn metrics(trace: &CheckTrace, body: &[u8]) -> Result<(), Problem> {
    let answer: Metrics = serde_json::from_slice(body)
        .map_err(|error| not_understood(&format!("metrics: {error}")))?;
    let mut counts = BTreeMap::new();
    for series in &answer.series {
        let services = series.labels.iter().filter_map(|label| label.value.as_str());
        let count: f64 = series.samples.iter().map(|sample| sample.value).sum();
        *counts.entry(services.collect::<Vec<_>>().join(",")).or_insert(0.0) += count;
    }
    counts.retain(|_, count| *count != 0.0);
    let mut expected = BTreeMap::new();
    for span in &trace.spans {
        *expected.entry(SERVICES[span.service].to_owned()).or_insert(0.0) += 1.0;
    }
    if counts == expected {
        return Ok(());
    }
    if answer.status == "PARTIAL" {
        return Err(Problem::Partial(answer.message));
    }
    Err(match counts.is_empty() {
        true => Problem::NotFound,
        false => Problem::Incorrect(format!("{counts:?} spans instead of {expected:?}")),
    })
}

/// Of an answer to `history_path`: each trace's slot, and what it says was acknowledged before.
///
/// Errors: not an answer of a search. What is not of ours is left out.
pub(super) fn history(body: &[u8]) -> Result<Vec<(u64, Written)>, serde_json::Error> {
    let answer: Search = serde_json::from_slice(body)?;
    let sets = answer.traces.into_iter().flat_map(|trace| trace.span_sets);
    let read = |span: FoundSpan| {
        let find =
            |name: &str| span.attributes.iter().find(|attribute| attribute.key.ends_with(name));
        let slot = find("check.slot")?.value.as_u64()?;
        Some((slot, Written::parse(find(WRITTEN)?.value.as_str()?)?))
    };
    Ok(sets.flat_map(|set| set.spans).filter_map(read).collect())
}

fn string(value: &tactus_proto::otlp::AnyValue) -> Option<String> {
    match &value.value {
        Some(tactus_proto::otlp::any_value::Value::StringValue(text)) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    }
}

fn different(expected: &ServiceSpan, what: &str, found: &impl std::fmt::Debug) -> Problem {
    Problem::Incorrect(format!("{what} of span {}: {found:?}", hex(&expected.span.span_id)))
}

fn not_understood(text: &str) -> Problem {
    Problem::Failed(Failure::Failed(format!("the answer is not understood: {text}")))
}

#[cfg(test)]
mod tests;
