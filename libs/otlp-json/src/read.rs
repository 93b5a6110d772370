//! Decodes export requests in JSON into protobuf.
//!
//! Enums may be numbers or names. Keys may be lowerCamelCase or snake_case; unknown ones are skipped. 64-bit integers
//! may be strings. Strings are kept as they are, even if they are not valid UTF-8.

mod base64_ids;
mod fields;
mod messages;
mod values;

use bytes::Bytes;
use prost::Message as _;
use serde::de::DeserializeSeed;
use tactus_model::error_text;
use tactus_model::wire::MAX_DEPTH;
use tactus_proto::otlp::ExportTraceServiceRequest;

use fields::{Object, Room};
use messages::{ExportRequest, TraceFile};

/// Why a body is not an export request: what is wrong, in which field, at which line and column. At most
/// [`error_text::MAX_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// The text that `serde_json` writes between an error and its position.
const POSITION: &str = " at line ";

impl JsonError {
    fn without_position(mut self) -> Self {
        let end = self.0.rfind(POSITION).unwrap_or(self.0.len());
        self.0.truncate(end);
        self
    }
}

/// Cuts a text that repeats input, but keeps the position at its end.
fn cut_before_position(mut text: String) -> String {
    /// A position is no longer than this.
    const POSITION_BYTES: usize = 64;
    if text.len() <= error_text::MAX_BYTES {
        return text;
    }
    let place = text.rfind(POSITION).filter(|place| text.len() - place <= POSITION_BYTES);
    let position = place.map_or_else(String::new, |place| text.split_off(place));
    error_text::cut_to(text, error_text::MAX_BYTES - POSITION_BYTES) + &position
}

/// Levels of objects and arrays. A few more than an attribute of an event needs with the deepest accepted lists, so
/// that a value that is nested too deeply makes its span be refused, not the whole request.
const MAX_LEVELS: usize = 16 + 4 * (MAX_DEPTH + 8);

/// Converts an export request in JSON to protobuf. Ignores what follows the object.
///
/// Nesting is limited to 168 levels of objects and arrays. Memory: at most about three times the JSON, plus the largest
/// span, which may have at most 65 536 attributes, events, links and elements of lists. Errors: [`JsonError`].
pub fn read_export_request(json: &[u8]) -> Result<Bytes, JsonError> {
    let request: ExportRequest = decode_nested(json)?;
    Ok(request.resource_spans.into())
}

/// As [`read_export_request`], but returns decoded messages, which take many times the memory.
pub fn decode_export_request(json: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    let request = read_export_request(json)?;
    ExportTraceServiceRequest::decode(request).map_err(|error| JsonError(error.to_string()))
}

/// As [`read_export_request`], also for answers of Tempo's API, `{"batches": […]}` and `{"trace": {…}}`, and of the third
/// version of Jaeger's, `{"result": {…}}`, with ids in base64 or in hexadecimal.
pub fn read_trace_file(json: &[u8]) -> Result<Bytes, JsonError> {
    let decoded: Result<TraceFile, _> =
        decode_nested(json).or_else(|error| match base64_ids::in_hex(json) {
            // Columns would refer to the converted text, but the path of the field is right.
            Some(json) => decode_nested(&json).map_err(JsonError::without_position),
            None => Err(error),
        });
    let TraceFile { mut resource_spans, trace } = decoded?;
    resource_spans.extend_from_slice(&trace.resource_spans);
    Ok(resource_spans.into())
}

fn decode_nested<T: Object>(json: &[u8]) -> Result<T, JsonError> {
    let mut decoded = decode(json, false);
    // The parser's own limit of 128 levels is lower than what is accepted. Few requests are nested that deeply, so only
    // those that exceed it are parsed twice.
    if decoded.as_ref().is_err_and(|error| error.to_string().contains("recursion limit"))
        && levels(json) <= MAX_LEVELS
    {
        decoded = decode(json, true);
    }
    decoded.map_err(|error| JsonError(cut_before_position(error.to_string())))
}

fn decode<T: Object>(json: &[u8], is_bounded: bool) -> serde_json::Result<T> {
    let mut request = T::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    if is_bounded {
        deserializer.disable_recursion_limit();
    }
    fields::Into(&mut request, &Room::default()).deserialize(&mut deserializer).map(|()| request)
}

/// The deepest nesting of objects and arrays in a text, not counting brackets in strings.
fn levels(json: &[u8]) -> usize {
    let (mut levels, mut deepest) = (0_usize, 0);
    outside_strings(json, |byte| match byte {
        b'{' | b'[' => {
            levels += 1;
            deepest = deepest.max(levels);
        }
        b'}' | b']' => levels = levels.saturating_sub(1),
        _ => {}
    });
    deepest
}

/// Calls `visit` for each byte of a JSON text that is not inside of a string.
pub fn outside_strings(json: &[u8], mut visit: impl FnMut(u8)) {
    let (mut in_string, mut is_escaped) = (false, false);
    for &byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ if !in_string => visit(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
