//! Answers as server-sent events.

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ::http::{HeaderName, HeaderValue};
use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;

/// Least number of bytes to send at a time. The server ends responses whose clients seem not to read them, and a
/// response with smaller messages would look like that.
const LEAST_BYTES: usize = 128;

/// An event whose data is a JSON text without line breaks.
pub(crate) fn event(name: &str, json: &[u8]) -> Vec<u8> {
    padded(&[b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"])
}

/// As [`event`], for a long text: returns parts, to avoid copying it.
pub(crate) fn long_event(name: &str, json: Vec<u8>) -> [Bytes; 3] {
    let head = format!("event: {name}\ndata: ");
    [head.into(), json.into(), Bytes::from_static(b"\n\n")]
}

/// A comment without an event, which shows the client that the server is there.
pub(crate) fn keep_alive() -> Vec<u8> {
    padded(&[b"\n"])
}

/// Puts a comment in front of a short message.
fn padded(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let missing = LEAST_BYTES.saturating_sub(length);
    let mut out = Vec::with_capacity(length + missing + 2);
    if missing > 0 {
        out.push(b':');
        out.resize(missing + 1, b' ');
        out.push(b'\n');
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// nginx does not collect the body of an answer with this header.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The response whose body is made of these events.
pub(crate) fn response(
    events: impl Stream<Item = Result<impl Into<Bytes> + 'static, impl Into<BoxError> + 'static>>
    + Send
    + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without it nginx keeps events until a buffer is full.
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shorter_than_what_counts_as_reading() {
        let long = [b'7'; 200];
        for (bytes, end) in [
            (keep_alive(), "\n\n"),
            (event("spans", b"{}"), "\nevent: spans\ndata: {}\n\n"),
            (event("spans", &long[..100]), "7\n\n"),
        ] {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.len() >= LEAST_BYTES, "{text:?}");
            assert!(text.starts_with(": ") && text.ends_with(end), "{text:?}");
        }
        assert!(event("spans", &long).starts_with(b"event: spans\ndata: 777"));
    }
}
