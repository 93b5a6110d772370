//! OTLP as spans of Zipkin's second model.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tactus_jaeger::from_otlp::NO_SERVICE_NAME;
use tactus_model::{SpanId, TraceId, bytes_to_hex};
use tactus_proto::lossy;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{KeyValue, ResourceSpans, ScopeSpans, Span, Status};

use crate::json_attributes;
use crate::to_otlp::keys;
use crate::v2::{self, Annotation, Endpoint, Kind};

/// Tags by key: what is more specific replaces what is less.
type Tags = BTreeMap<Bytes, Bytes>;

/// Attributes that name a service where `service.name` is missing.
const OTHER_SERVICE_KEYS: [&str; 3] =
    ["faas.name", "k8s.deployment.name", "process.executable.name"];

/// The spans in their order. Tags are sorted by key. Spans are converted as they are taken: each has the tags of its resource,
/// so together they may be many times as large as the trace.
pub fn spans_from_otlp(
    resource_spans: Vec<ResourceSpans>,
) -> impl Iterator<Item = v2::Span> + Send {
    let clients = client_spans(&resource_spans);
    let spans = resource_spans.into_iter().flat_map(|group| {
        let mut tags = Tags::new();
        if let Some(resource) = &group.resource {
            add_attributes(&mut tags, &resource.attributes);
        }
        let service = take_service(&mut tags);
        group.scope_spans.into_iter().flat_map(move |mut scope_spans| {
            let (mut tags, service) = (tags.clone(), service.clone());
            let spans = std::mem::take(&mut scope_spans.spans);
            add_scope(&mut tags, &scope_spans);
            spans.into_iter().map(move |span| span_of(&span, tags.clone(), service.clone()))
        })
    });
    spans.map(move |mut span| {
        // The server's half of a call whose other half has the same ids.
        let is_server = span.kind == Some(Kind::Server);
        span.shared = is_server && clients.contains(&(span.trace_id, span.id));
        span
    })
}

/// The ids of the clients' halves of calls.
fn client_spans(resource_spans: &[ResourceSpans]) -> HashSet<(TraceId, SpanId)> {
    let scopes = resource_spans.iter().flat_map(|group| &group.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    let clients = spans.filter(|span| span.kind() == SpanKind::Client);
    let ids =
        |span: &Span| (TraceId::from_slice(&span.trace_id), SpanId::from_slice(&span.span_id));
    clients.map(ids).collect()
}

/// A value as the text of a tag.
fn text_of(value: &Value) -> Bytes {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string().into(),
        Value::IntValue(number) => number.to_string().into(),
        Value::DoubleValue(number) => double_text(*number).into(),
        Value::BytesValue(bytes) => STANDARD.encode(bytes).into(),
        Value::ArrayValue(_) | Value::KvlistValue(_) => json_attributes::write_value(value).into(),
    }
}

/// Digits, except numbers that would be hundreds of them.
fn double_text(number: f64) -> String {
    let is_plain = number == 0.0 || (1e-6..1e21).contains(&number.abs());
    if is_plain || !number.is_finite() { number.to_string() } else { format!("{number:e}") }
}

/// Attributes as tags, in place of those that are there. Of a key that stands twice the first value counts, as in queries.
fn add_attributes(tags: &mut Tags, attributes: &[KeyValue]) {
    for KeyValue { key, value } in attributes.iter().rev() {
        let value = value.as_ref().and_then(|value| value.value.as_ref());
        tags.insert(key.clone(), value.map(text_of).unwrap_or_default());
    }
}

fn set(tags: &mut Tags, key: &'static str, value: impl Into<Bytes>) {
    tags.insert(Bytes::from_static(key.as_bytes()), value.into());
}

fn take(tags: &mut Tags, key: &str) -> Option<Bytes> {
    tags.remove(key.as_bytes())
}

fn take_service(tags: &mut Tags) -> Bytes {
    if let Some(service) = take(tags, keys::SERVICE_NAME).filter(|service| !service.is_empty()) {
        return service;
    }
    for key in OTHER_SERVICE_KEYS {
        if let Some(service) = take(tags, key) {
            set(tags, keys::SERVICE_NAME_SOURCE, key);
            return service;
        }
    }
    Bytes::from_static(NO_SERVICE_NAME.as_bytes())
}

fn add_scope(tags: &mut Tags, scope_spans: &ScopeSpans) {
    let Some(scope) = &scope_spans.scope else { return };
    add_attributes(tags, &scope.attributes);
    for (key, text) in [(keys::LIBRARY_NAME, &scope.name), (keys::LIBRARY_VERSION, &scope.version)]
    {
        if !text.is_empty() {
            set(tags, key, text.clone());
        }
    }
}

fn span_of(span: &Span, mut tags: Tags, service: Bytes) -> v2::Span {
    add_attributes(&mut tags, &span.attributes);
    if !span.trace_state.is_empty() {
        set(&mut tags, keys::TRACE_STATE, span.trace_state.clone());
    }
    let kind = match span.kind() {
        SpanKind::Client => Some(Kind::Client),
        SpanKind::Server => Some(Kind::Server),
        SpanKind::Producer => Some(Kind::Producer),
        SpanKind::Consumer => Some(Kind::Consumer),
        SpanKind::Internal => {
            set(&mut tags, keys::SPAN_KIND, "internal");
            None
        }
        SpanKind::Unspecified => None,
    };
    add_status(&mut tags, span.status.as_ref());
    for (number, link) in span.links.iter().enumerate() {
        tags.insert(format!("{}{number}", keys::LINK).into(), link_text(link).into());
    }
    let is_absent = take(&mut tags, keys::ABSENT_START).is_some_and(|value| *value == *b"true");
    let peer = take(&mut tags, keys::PEER_SERVICE).unwrap_or_default();
    let mut endpoint = |service_name, ip_key, port_key| {
        let mut endpoint = Endpoint { service_name, ..Endpoint::default() };
        if let Some(ip) = take_parsed::<IpAddr>(&mut tags, ip_key) {
            endpoint.set_ip(ip);
        }
        endpoint.port = take_parsed(&mut tags, port_key).unwrap_or_default();
        endpoint
    };
    let parent = SpanId::from_slice(&span.parent_span_id);
    let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    v2::Span {
        trace_id: TraceId::from_slice(&span.trace_id),
        parent_id: Some(parent).filter(|parent| !parent.is_zero()),
        id: SpanId::from_slice(&span.span_id),
        kind,
        name: span.name.clone(),
        timestamp: (!is_absent).then(|| rounded_micros(span.start_time_unix_nano)),
        duration: rounded_micros(duration).max(u64::from(duration > 0)),
        local_endpoint: endpoint(service, keys::HOST_IP, keys::HOST_PORT),
        remote_endpoint: endpoint(peer, keys::PEER_IP, keys::PEER_PORT),
        annotations: span.events.iter().filter_map(|event| annotation(event, span)).collect(),
        tags: tags.into_iter().collect(),
        ..v2::Span::default()
    }
}

/// Takes a tag that reads as a `T`; any other stays.
fn take_parsed<T: std::str::FromStr>(tags: &mut Tags, key: &str) -> Option<T> {
    let text = tags.get(key.as_bytes())?;
    let parsed = std::str::from_utf8(text).ok()?.parse().ok()?;
    tags.remove(key.as_bytes());
    Some(parsed)
}

fn rounded_micros(nanos: u64) -> u64 {
    nanos / 1_000 + u64::from(nanos % 1_000 >= 500)
}

fn add_status(tags: &mut Tags, status: Option<&Status>) {
    let (code, message) = status.map_or((StatusCode::Unset, Bytes::new()), |status| {
        (status.code(), status.message.clone())
    });
    let name = match code {
        StatusCode::Unset => None,
        StatusCode::Ok => Some("STATUS_CODE_OK"),
        StatusCode::Error => Some("STATUS_CODE_ERROR"),
    };
    let error = take(tags, keys::ERROR);
    if code == StatusCode::Error {
        // The text that a Zipkin client sent; without one the tag means nothing but that there was an error.
        let text = error.filter(|text| !matches!(&**text, b"" | b"false"));
        set(tags, keys::ERROR, text.unwrap_or(Bytes::from_static(b"true")));
    }
    if let Some(name) = name {
        set(tags, keys::STATUS_CODE, name);
    }
    if !message.is_empty() {
        set(tags, keys::STATUS_DESCRIPTION, message);
    }
}

/// An event of a span; none if nothing tells its time, because no receiver of Zipkin takes an annotation without one.
fn annotation(event: &Event, span: &Span) -> Option<Annotation> {
    let times = [event.time_unix_nano, span.start_time_unix_nano].map(rounded_micros);
    let timestamp = times.into_iter().find(|time| *time != 0)?;
    let is_plain = event.attributes.is_empty() && event.dropped_attributes_count == 0;
    let value = if is_plain {
        event.name.clone()
    } else {
        let mut value = event.name.to_vec();
        let attributes = json_attributes::write(&event.attributes);
        value.extend_from_slice(
            format!("|{attributes}|{}", event.dropped_attributes_count).as_bytes(),
        );
        value.into()
    };
    Some(Annotation { timestamp, value })
}

fn link_text(link: &Link) -> String {
    format!(
        "{}|{}|{}|{}|{}",
        bytes_to_hex(&link.trace_id),
        bytes_to_hex(&link.span_id),
        lossy(&link.trace_state),
        json_attributes::write(&link.attributes),
        link.dropped_attributes_count
    )
}

#[cfg(test)]
mod tests;
