//! Export requests as JSON, decoded into the protobuf messages.
//!
//! Enums may be numbers or names. Keys may be lowerCamelCase or snake_case, unknown ones are
//! skipped, and 64-bit integers may be strings. Strings are carried as they come, valid UTF-8 or not.

mod fields;
mod messages;
mod values;

use serde::de::DeserializeSeed;
use tactus_proto::otlp::ExportTraceServiceRequest;

/// Why a body is not an export request: what is wrong, in which field, at which line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// Bodies up to this size, in bytes, may hold anything.
const SMALL_BODY: usize = 256 << 10;
/// An object in memory is some twenty times as large as this, the least bytes that an object of a large body has on average; an
/// attribute has twice as many.
const LEAST_BYTES_AN_OBJECT: usize = 12;

/// Decodes the JSON form of an export request. What follows the object is ignored.
///
/// Nesting is bounded to 128 levels of objects and arrays, memory to some twenty times the body. Errors: [`JsonError`].
pub fn decode_export_request(json: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    if json.len() > SMALL_BODY && objects(json) > json.len() / LEAST_BYTES_AN_OBJECT {
        return Err(JsonError("more spans and attributes than their bytes can hold".to_owned()));
    }
    let mut request = ExportTraceServiceRequest::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    fields::Into(&mut request)
        .deserialize(&mut deserializer)
        .map_err(|error| JsonError(error.to_string()))?;
    messages::adopt_old_spans(&mut request);
    Ok(request)
}

/// How many objects begin in a text, strings aside.
fn objects(json: &[u8]) -> usize {
    let (mut objects, mut in_string, mut is_escaped) = (0, false, false);
    for &byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => objects += 1,
            _ => {}
        }
    }
    objects
}

#[cfg(test)]
mod tests;
