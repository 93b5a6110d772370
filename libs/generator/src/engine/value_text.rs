//! Texts of labels: attribute values, kinds and states of spans.

use std::borrow::Cow;
use std::io::Write;

use tactus_model::any_value::{AnyValueRef, DecodedValue, array_elements, decode, key_values};
use tactus_proto::otlp::{span::SpanKind, status::StatusCode};

/// Appends the text of a value to a text, which is empty. Bytes, and what has no value, have none. Elements past `limit` bytes
/// are left out: labels do not keep them.
pub(crate) fn write_value(out: &mut Vec<u8>, value: AnyValueRef<'_>, limit: usize) {
    match value {
        AnyValueRef::Unset => {}
        AnyValueRef::String(text) => out.extend_from_slice(text),
        AnyValueRef::Int(number) => write_int(out, number),
        AnyValueRef::Double(number) => write_double(out, number),
        AnyValueRef::Bool(flag) => write_bool(out, flag),
        // What was kept was checked to be well formed and not too deep; an error would only end the text early.
        AnyValueRef::Encoded(message) => {
            if let Ok(value) = decode(message) {
                write_decoded(out, value, limit);
            }
        }
    }
}

fn write_decoded(out: &mut Vec<u8>, value: DecodedValue<'_>, limit: usize) {
    match value {
        DecodedValue::Unset | DecodedValue::Bytes(_) => {}
        DecodedValue::String(text) => out.extend_from_slice(text),
        DecodedValue::Bool(flag) => write_bool(out, flag),
        DecodedValue::Int(number) => write_int(out, number),
        DecodedValue::Double(number) => write_double(out, number),
        DecodedValue::Array(elements) => {
            out.push(b'[');
            for element in array_elements(elements).flatten() {
                if out.len() > limit {
                    return;
                }
                write_decoded(out, element, limit);
            }
            out.push(b']');
        }
        DecodedValue::KeyValues(pairs) => {
            out.push(b'{');
            for (key, value) in key_values(pairs).flatten() {
                if out.len() > limit {
                    return;
                }
                out.extend_from_slice(key);
                out.push(b':');
                write_decoded(out, value, limit);
            }
            out.push(b'}');
        }
    }
}

fn write_bool(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{number}");
}

/// The shortest decimal that reads back, never with an exponent.
fn write_double(out: &mut Vec<u8>, number: f64) {
    let infinity: &[u8] = if number > 0.0 { b"+Inf" } else { b"-Inf" };
    if number.is_infinite() {
        return out.extend_from_slice(infinity);
    }
    let _ = write!(out, "{number}");
}

/// The kind of a span; a number that is none shows as it is.
pub(crate) fn kind_text(kind: u8) -> Cow<'static, str> {
    let known = SpanKind::try_from(i32::from(kind));
    known.map_or_else(|_| kind.to_string().into(), |known| known.as_str_name().into())
}

/// The status of a span; a number that is none shows as it is.
pub(crate) fn status_text(status: u8) -> Cow<'static, str> {
    let known = StatusCode::try_from(i32::from(status));
    known.map_or_else(|_| status.to_string().into(), |known| known.as_str_name().into())
}

/// Seconds between a start and an end, of a span's duration: 0 for one that ends before it starts.
#[inline]
pub(crate) fn seconds(duration: u64) -> f64 {
    if duration > i64::MAX as u64 { 0.0 } else { duration as f64 / 1e9 }
}

#[cfg(test)]
mod tests {
    use tactus_model::any_value::{encode, encode_array};
    use tactus_model::wire::{put_bytes_field, put_message_field};

    use super::*;

    fn text(value: AnyValueRef<'_>) -> String {
        let mut out = Vec::new();
        write_value(&mut out, value, usize::MAX);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn elements_that_no_label_keeps_are_left_out() {
        let texts = std::iter::repeat_n(AnyValueRef::String("é".as_bytes()), 1_000);
        let (array, mut out) = (encode_array(texts), Vec::new());
        write_value(&mut out, AnyValueRef::Encoded(&array), 4);
        assert_eq!(String::from_utf8(out).unwrap(), "[éé");
    }

    #[test]
    fn simple_values_show_as_they_are() {
        assert_eq!(text(AnyValueRef::Int(5)), "5");
        assert_eq!(text(AnyValueRef::Double(0.5)), "0.5");
        assert_eq!(text(AnyValueRef::Double(1e21)), "1000000000000000000000");
        assert_eq!(text(AnyValueRef::Double(f64::INFINITY)), "+Inf");
        assert_eq!(text(AnyValueRef::Bool(true)), "true");
        assert_eq!(text(AnyValueRef::String(b"x")), "x");
        assert_eq!(text(AnyValueRef::Unset), "");
    }

    #[test]
    fn arrays_and_lists_have_no_separators_and_bytes_no_text() {
        let array = encode_array([AnyValueRef::String(b"a"), AnyValueRef::Int(1)].into_iter());
        assert_eq!(text(AnyValueRef::Encoded(&array)), "[a1]");
        let (mut list, mut message) = (Vec::new(), Vec::new());
        for (key, value) in [("k", AnyValueRef::String(b"v")), ("n", AnyValueRef::Int(2))] {
            let (mut pair, mut encoded) = (Vec::new(), Vec::new());
            encode(&mut encoded, value);
            put_bytes_field(&mut pair, 1, key.as_bytes());
            put_message_field(&mut pair, 2, &encoded);
            put_message_field(&mut list, 1, &pair);
        }
        put_message_field(&mut message, 6, &list);
        assert_eq!(text(AnyValueRef::Encoded(&message)), "{k:vn:2}");
        let mut bytes = Vec::new();
        put_message_field(&mut bytes, 7, b"abc");
        assert_eq!(text(AnyValueRef::Encoded(&bytes)), "");
    }

    #[test]
    fn unknown_kind_shows_its_number() {
        let kinds = [0, 1, 2, 3, 4, 5, 9].map(kind_text);
        let expected = [
            "SPAN_KIND_UNSPECIFIED",
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_PRODUCER",
            "SPAN_KIND_CONSUMER",
            "9",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(
            [0, 1, 2].map(status_text).concat(),
            "STATUS_CODE_UNSETSTATUS_CODE_OKSTATUS_CODE_ERROR"
        );
    }

    #[test]
    fn span_that_ends_before_it_starts_lasts_nothing() {
        assert_eq!(seconds(100_000_000), 0.1);
        assert_eq!(seconds(5_u64.wrapping_sub(9)), 0.0);
    }
}
