//! One span.

use bytes::{BufMut, Bytes, BytesMut};
use tactus_proto::jaeger::api_v2::{Log, Span as JaegerSpan, SpanRef, SpanRefType};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{KeyValue, Span, Status};

use super::attributes::{attributes, find, shown, string, take, text};
use super::{ModelError, Scope};

const TRACE_ID_BYTES: usize = 16;

const SPAN_ID_BYTES: usize = 8;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(super) fn convert(span: JaegerSpan) -> Result<(Scope, Span), ModelError> {
    let trace_id = trace_id(span.trace_id)?;
    let mut attributes = attributes(Vec::new(), span.tags);
    let scope = take_scope(&mut attributes);
    let kind = take(&mut attributes, b"span.kind").map_or(SpanKind::Unspecified, kind);
    let status = take_status(&mut attributes, kind);
    let trace_state = take(&mut attributes, b"w3c.tracestate").map(shown).unwrap_or_default();
    let mut references = span.references;
    for reference in &mut references {
        reference.trace_id = self::trace_id(std::mem::take(&mut reference.trace_id))?;
        reference.span_id = span_id(std::mem::take(&mut reference.span_id))?;
    }
    let parent_span_id = parent(&trace_id, &references);
    let links = references
        .into_iter()
        .filter(|reference| !is_child_of(reference) || reference.span_id != parent_span_id)
        .map(link)
        .collect();
    let nanos = |seconds: i64, nanos: i32| {
        seconds.wrapping_mul(NANOS_PER_SECOND).wrapping_add(nanos.into())
    };
    let start = span.start_time.map_or(0, |time| nanos(time.seconds, time.nanos));
    let duration = span.duration.map_or(0, |time| nanos(time.seconds, time.nanos));
    let span = Span {
        trace_id,
        span_id: span_id(span.span_id)?,
        trace_state,
        parent_span_id: if is_zero(&parent_span_id) { Bytes::new() } else { parent_span_id },
        name: span.operation_name,
        kind: kind.into(),
        start_time_unix_nano: start.cast_unsigned(),
        end_time_unix_nano: start.wrapping_add(duration).cast_unsigned(),
        attributes,
        events: span.logs.into_iter().map(event).collect(),
        links,
        status,
        ..Span::default()
    };
    Ok((scope, span))
}

/// The version counts only with a name. Whatever type a tag has that is taken, its value is kept, as text.
fn take_scope(attributes: &mut Vec<KeyValue>) -> Scope {
    let Some(name) = take(attributes, b"otel.scope.name") else { return Scope::default() };
    let version = take(attributes, b"otel.scope.version").map(shown).unwrap_or_default();
    Scope { name: shown(name), version }
}

fn kind(value: Value) -> SpanKind {
    match &text(value)[..] {
        b"client" => SpanKind::Client,
        b"server" => SpanKind::Server,
        b"producer" => SpanKind::Producer,
        b"consumer" => SpanKind::Consumer,
        b"internal" => SpanKind::Internal,
        _ => SpanKind::Unspecified,
    }
}

/// 16 bytes; 8 are the low half. None at all stay none.
fn trace_id(id: Bytes) -> Result<Bytes, ModelError> {
    match id.len() {
        0 | TRACE_ID_BYTES => Ok(id),
        SPAN_ID_BYTES => {
            let mut whole = BytesMut::with_capacity(TRACE_ID_BYTES);
            whole.put_u64(0);
            whole.put(id);
            Ok(whole.freeze())
        }
        length => Err(ModelError::TraceId(length)),
    }
}

fn span_id(id: Bytes) -> Result<Bytes, ModelError> {
    match id.len() {
        0 | SPAN_ID_BYTES => Ok(id),
        length => Err(ModelError::SpanId(length)),
    }
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|byte| *byte == 0)
}

fn is_child_of(reference: &SpanRef) -> bool {
    reference.ref_type == i32::from(SpanRefType::ChildOf)
}

/// The first reference within the trace, one to a parent before one to a predecessor.
fn parent(trace_id: &Bytes, references: &[SpanRef]) -> Bytes {
    let mut within = references.iter().filter(|reference| reference.trace_id == trace_id);
    let first = within.clone().next();
    within
        .find(|reference| is_child_of(reference))
        .or(first)
        .map_or_else(Bytes::new, |reference| reference.span_id.clone())
}

fn link(reference: SpanRef) -> Link {
    let kind: &[u8] = if is_child_of(&reference) { b"child_of" } else { b"follows_from" };
    let key = Bytes::from_static(b"opentracing.ref_type");
    Link {
        trace_id: reference.trace_id,
        span_id: reference.span_id,
        attributes: vec![string(key, Bytes::from_static(kind))],
        ..Link::default()
    }
}

fn event(log: Log) -> Event {
    let mut attributes = attributes(Vec::new(), log.fields);
    let name = take(&mut attributes, b"event").map(shown).unwrap_or_default();
    let time = log.timestamp.map_or(0, |time| {
        time.seconds.wrapping_mul(NANOS_PER_SECOND).wrapping_add(time.nanos.into())
    });
    Event { time_unix_nano: time.cast_unsigned(), name, attributes, ..Event::default() }
}

/// Takes the status out of the attributes: from an error, else from OpenTelemetry's own tags, else
/// from the status of an HTTP call, which stays. `None`: not set.
fn take_status(attributes: &mut Vec<KeyValue>, kind: SpanKind) -> Option<Status> {
    let is_error = matches!(find(attributes, b"error"), Some(Value::BoolValue(true)));
    let code = take(attributes, b"otel.status_code");
    let status = if is_error {
        take(attributes, b"error");
        let message = match take(attributes, b"otel.status_description") {
            Some(description) => shown(description),
            None => http_message(attributes),
        };
        Status { code: StatusCode::Error.into(), message }
    } else if let Some(code) = code {
        let code = match text(code) {
            code if code.eq_ignore_ascii_case(b"OK") => StatusCode::Ok,
            code if code.eq_ignore_ascii_case(b"ERROR") => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        let message = take(attributes, b"otel.status_description").map(shown).unwrap_or_default();
        Status { code: code.into(), message }
    } else if is_http_error(attributes, kind) {
        Status { code: StatusCode::Error.into(), message: http_message(attributes) }
    } else {
        Status::default()
    };
    (status != Status::default()).then_some(status)
}

fn http_message(attributes: &[KeyValue]) -> Bytes {
    find(attributes, b"http.status_message").cloned().map(shown).unwrap_or_default()
}

fn is_http_error(attributes: &[KeyValue], kind: SpanKind) -> bool {
    let Some(code) = find(attributes, b"http.status_code").and_then(whole_number) else {
        return false;
    };
    match code {
        // What a client asks in vain is no error of the server.
        400..500 if kind == SpanKind::Server => false,
        100..400 => false,
        _ => true,
    }
}

/// A number that is whole, whatever its sender keeps numbers in: JavaScript has doubles alone, others write text.
pub fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::IntValue(number) => Some(*number),
        // Up to 2^53 a double is exactly the number that was meant.
        Value::DoubleValue(number)
            if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
        {
            Some(*number as i64)
        }
        Value::StringValue(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
