//! OTLP/JSON: export requests as JSON, decoded into the protobuf messages.
//!
//! It is not the JSON mapping of protobuf: ids are hex, enums may be numbers or names. Keys may be
//! lowerCamelCase or snake_case, unknown ones are skipped, and 64-bit integers may be strings.
//! Strings are carried as they come, valid UTF-8 or not.

mod fields;
mod messages;
mod values;

use serde::de::DeserializeSeed;
use tactus_proto::otlp::ExportTraceServiceRequest;

/// Why a body is not an export request: what is wrong, in which field, at which line and column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

/// Decodes the JSON form of an export request. What follows the object is ignored.
///
/// Nesting is bounded to 128 levels of objects and arrays. Errors: [`JsonError`].
pub fn decode_export_request(json: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    let mut request = ExportTraceServiceRequest::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    fields::Into(&mut request)
        .deserialize(&mut deserializer)
        .map_err(|error| JsonError(error.to_string()))?;
    messages::adopt_old_spans(&mut request);
    Ok(request)
}

#[cfg(test)]
mod tests;
