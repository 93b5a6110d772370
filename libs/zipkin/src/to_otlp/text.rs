//! Converts texts: values of tags, a status, events, and links, which are tags `otlp.link.0`, `otlp.link.1` and so on
//! without gaps.

use bytes::Bytes;
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::{Event, Link};
use tactus_proto::otlp::status::StatusCode;

use super::{Attributes, keys};
use crate::v2::Annotation;
use crate::{SpanError, json_attributes};

/// Keys of the text of a status, by the conventions of their senders: Census', OpenCensus', OpenTelemetry's and HTTP's.
const STATUS_TEXTS: [&str; 4] = [
    "census.status_description",
    "opencensus.status_description",
    keys::STATUS_DESCRIPTION,
    "http.status_message",
];

/// The value of a tag: text, or with `guess` the number or boolean that it reads as. What describes a status is text.
pub(super) fn tag_value(key: &[u8], text: Bytes, guess: bool) -> Value {
    let guess = guess && !STATUS_TEXTS.iter().any(|known| known.as_bytes() == key);
    if guess && let Some(value) = guessed(&text) { value } else { Value::StringValue(text) }
}

/// A value as text; none for lists, maps and bytes.
pub(super) fn shown(value: &Value) -> Option<Bytes> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string().into()),
        Value::DoubleValue(number) => Some(number.to_string().into()),
        Value::BoolValue(value) => Some(value.to_string().into()),
        Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_) => None,
    }
}

fn guessed(text: &[u8]) -> Option<Value> {
    match text {
        b"true" => return Some(Value::BoolValue(true)),
        b"false" => return Some(Value::BoolValue(false)),
        _ => {}
    }
    let text = std::str::from_utf8(text).ok()?;
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.split_once('.') {
        None if is_digits(unsigned) => text.parse().ok().map(Value::IntValue),
        Some((whole, fraction)) if is_digits(whole) && is_digits(fraction) => {
            text.parse().ok().map(Value::DoubleValue)
        }
        _ => None,
    }
}

/// A status by its name, with or without the prefix of the enum, in any case, or by its number, which
/// OpenTelemetry's exporter for C++ writes.
pub(super) fn status_code(name: &[u8]) -> StatusCode {
    const PREFIX: &[u8] = b"STATUS_CODE_";
    let name = match name.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => name,
    };
    if name == b"1" || name.eq_ignore_ascii_case(b"ok") {
        StatusCode::Ok
    } else if name == b"2" || name.eq_ignore_ascii_case(b"error") {
        StatusCode::Error
    } else {
        StatusCode::Unset
    }
}

/// An annotation: `name|{attributes}|dropped`, or anything else as the name.
pub(super) fn event(annotation: Annotation) -> Event {
    let time_unix_nano = super::nanos(annotation.timestamp);
    match event_parts(&annotation.value) {
        Some(event) => Event { time_unix_nano, ..event },
        None => Event { time_unix_nano, name: annotation.value, ..Event::default() },
    }
}

fn event_parts(value: &Bytes) -> Option<Event> {
    let last = value.iter().rposition(|byte| *byte == b'|')?;
    let (rest, dropped) = (value.get(..last)?, value.get(last + 1..)?);
    let first = rest.iter().position(|byte| *byte == b'|')?;
    let dropped_attributes_count = std::str::from_utf8(dropped).ok()?.parse().ok()?;
    let attributes = json_attributes::parse(rest.get(first + 1..)?)?;
    let name = value.slice(..first);
    Some(Event { name, attributes, dropped_attributes_count, ..Event::default() })
}

const MAX_LINKS: u8 = 128;

/// Takes the links out of the tags. Tags that are no link in form stay.
///
/// Errors: a link whose ids are no hex, or whose attributes are no JSON.
pub(super) fn take_links(
    candidates: Vec<(u8, Bytes)>,
    attributes: &mut Attributes,
) -> Result<Vec<Link>, SpanError> {
    let mut links = Vec::new();
    let mut candidates = candidates;
    candidates.sort_unstable_by_key(|(number, _)| *number);
    let mut rest = candidates.into_iter().zip(0_u8..).peekable();
    let mut others = Vec::new();
    while let Some(((number, text), _)) = rest.next_if(|((number, _), place)| number == place) {
        match link(number, &text)? {
            Some(link) => links.push(link),
            None => others.push((number, text)),
        }
    }
    others.extend(rest.map(|(candidate, _)| candidate));
    for (number, text) in others {
        let key = format!("{}{number}", keys::LINK);
        attributes.set(key.into(), Some(super::Value::StringValue(text)));
    }
    Ok(links)
}

/// The number of a link's key.
pub(super) fn link_number(key: &[u8]) -> Option<u8> {
    let digits = key.strip_prefix(keys::LINK.as_bytes())?;
    if digits.first() == Some(&b'0') && digits.len() > 1 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number < MAX_LINKS).then_some(number)
}

/// `traceId|spanId|tracestate|{attributes}|dropped`; the attributes may hold bars. `None`: fewer parts.
fn link(number: u8, text: &Bytes) -> Result<Option<Link>, SpanError> {
    let error = |reason| SpanError::Link { number, reason };
    let mut parts = text.splitn(4, |byte| *byte == b'|');
    let (Some(trace_id), Some(span_id), Some(state), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let Some(last) = rest.iter().rposition(|byte| *byte == b'|') else { return Ok(None) };
    let (Some(json), Some(dropped)) = (rest.get(..last), rest.get(last + 1..)) else {
        return Ok(None);
    };
    let utf8 = |part| std::str::from_utf8(part).ok();
    let trace_id = utf8(trace_id).and_then(TraceId::from_hex);
    let span_id = utf8(span_id).and_then(SpanId::from_hex);
    let dropped = utf8(dropped).and_then(|dropped| dropped.parse().ok());
    Ok(Some(Link {
        trace_id: Bytes::copy_from_slice(&trace_id.ok_or(error("the trace id is no hex"))?.0),
        span_id: Bytes::copy_from_slice(&span_id.ok_or(error("the span id is no hex"))?.0),
        trace_state: text.slice_ref(state),
        attributes: json_attributes::parse(json)
            .ok_or(error("the attributes are no JSON object"))?,
        dropped_attributes_count: dropped.ok_or(error("the dropped count is no number"))?,
        flags: 0,
    }))
}
