//! Export requests as JSON, decoded into the protobuf messages.
//!
//! Enums may be numbers or names. Keys may be lowerCamelCase or snake_case, unknown ones are
//! skipped, and 64-bit integers may be strings. Strings are carried as they come, valid UTF-8 or not.

mod base64_ids;
mod fields;
mod messages;
mod values;

use serde::de::DeserializeSeed;
use tactus_model::wire::MAX_DEPTH;
use tactus_proto::otlp::ExportTraceServiceRequest;

use fields::Object;
use messages::TraceFile;

/// Why a body is not an export request: what is wrong, in which field, at which line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl JsonError {
    fn without_position(mut self) -> Self {
        let end = self.0.rfind(" at line ").unwrap_or(self.0.len());
        self.0.truncate(end);
        self
    }
}

/// Bodies up to this size, in bytes, may hold anything.
const SMALL_BODY: usize = 256 << 10;
/// An object in memory is some twenty times as large as this, the least bytes that an object of a large body has on average; an
/// attribute has twice as many.
const LEAST_BYTES_AN_OBJECT: usize = 12;

/// Levels of objects and arrays: some more than an attribute of an event takes whose value has as many lists within one
/// another as are accepted, so that the span with such a value is refused, and not the request.
const MAX_LEVELS: usize = 16 + 4 * (MAX_DEPTH + 8);

/// Decodes the JSON form of an export request. What follows the object is ignored.
///
/// Nesting is bounded to 168 levels of objects and arrays, memory to some twenty times the body. Errors: [`JsonError`].
pub fn decode_export_request(json: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    let mut request: ExportTraceServiceRequest = decode_bounded(json)?;
    messages::adopt_old_spans(&mut request);
    Ok(request)
}

/// As [`decode_export_request`], also of what Tempo's API answers with: `{"batches": […]}` and `{"trace": {…}}`, with ids
/// in base64 or in hex.
pub fn decode_trace_file(json: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    let decoded: Result<TraceFile, _> =
        decode_bounded(json).or_else(|error| match base64_ids::in_hex(json) {
            // Columns would be those of the other text; the path of the field is right.
            Some(json) => decode_bounded(&json).map_err(JsonError::without_position),
            None => Err(error),
        });
    let TraceFile { mut resource_spans, trace } = decoded?;
    resource_spans.extend(trace.unwrap_or_default().resource_spans);
    let mut request = ExportTraceServiceRequest { resource_spans };
    messages::adopt_old_spans(&mut request);
    Ok(request)
}

fn decode_bounded<T: Object>(json: &[u8]) -> Result<T, JsonError> {
    if json.len() > SMALL_BODY && objects(json) > json.len() / LEAST_BYTES_AN_OBJECT {
        return Err(JsonError("more spans and attributes than their bytes can hold".to_owned()));
    }
    let mut decoded = decode(json, false);
    // The parser's own limit, 128 levels, is below what is accepted. Few requests are nested at all: only those that go
    // beyond it are looked at twice.
    if decoded.as_ref().is_err_and(|error| error.to_string().contains("recursion limit"))
        && levels(json) <= MAX_LEVELS
    {
        decoded = decode(json, true);
    }
    decoded.map_err(|error| JsonError(error.to_string()))
}

fn decode<T: Object>(json: &[u8], is_bounded: bool) -> serde_json::Result<T> {
    let mut request = T::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    if is_bounded {
        deserializer.disable_recursion_limit();
    }
    fields::Into(&mut request).deserialize(&mut deserializer).map(|()| request)
}

/// The deepest nesting of objects and arrays in a text, strings aside.
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

/// How many objects begin in a text, strings aside.
fn objects(json: &[u8]) -> usize {
    let mut objects = 0;
    outside_strings(json, |byte| objects += usize::from(byte == b'{'));
    objects
}

fn outside_strings(json: &[u8], mut visit: impl FnMut(u8)) {
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
