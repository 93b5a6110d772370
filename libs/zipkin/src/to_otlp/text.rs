//! What texts stand for.

use bytes::Bytes;
use tactus_proto::otlp::any_value::Value;
use tactus_proto::otlp::span::Event;
use tactus_proto::otlp::status::StatusCode;

use crate::json_attributes;
use crate::v2::Annotation;

/// The value of a tag: text, or with `guess` the number or boolean that it reads as.
pub(super) fn tag_value(text: Bytes, guess: bool) -> Value {
    if guess && let Some(value) = guessed(&text) { value } else { Value::StringValue(text) }
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

/// A status by its name, with or without the prefix of the enum, in any case.
pub(super) fn status_code(name: &[u8]) -> StatusCode {
    const PREFIX: &[u8] = b"STATUS_CODE_";
    let name = match name.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => name,
    };
    if name.eq_ignore_ascii_case(b"ok") {
        StatusCode::Ok
    } else if name.eq_ignore_ascii_case(b"error") {
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
