//! The status of a span, which Jaeger has in tags.

use bytes::Bytes;
use tactus_proto::otlp::{KeyValue, Status, any_value::Value, span::SpanKind, status::StatusCode};

use super::attributes::{find, take, text};

/// Takes the status out of the attributes: from an error, else from OpenTelemetry's own tags, else
/// from the status of an HTTP call, which stays. `None`: not set.
pub(super) fn take_status(attributes: &mut Vec<KeyValue>, kind: SpanKind) -> Option<Status> {
    let is_error = matches!(find(attributes, b"error"), Some(Value::BoolValue(true)));
    let code = take(attributes, b"otel.status_code");
    let status = if is_error {
        take(attributes, b"error");
        let message = match take(attributes, b"otel.status_description") {
            Some(description) => text(description),
            None => http_message(attributes),
        };
        Status { code: StatusCode::Error.into(), message }
    } else if let Some(code) = code {
        let code = match text(code) {
            code if code.eq_ignore_ascii_case(b"OK") => StatusCode::Ok,
            code if code.eq_ignore_ascii_case(b"ERROR") => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        let message = take(attributes, b"otel.status_description").map(text).unwrap_or_default();
        Status { code: code.into(), message }
    } else if is_http_error(attributes, kind) {
        Status { code: StatusCode::Error.into(), message: http_message(attributes) }
    } else {
        Status::default()
    };
    (status != Status::default()).then_some(status)
}

fn http_message(attributes: &[KeyValue]) -> Bytes {
    find(attributes, b"http.status_message").cloned().map(text).unwrap_or_default()
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
