//! A trace as compact JSON for language models: attributes flat, ids in hex.

use tactus_model::bytes_to_hex;
use tactus_model::wire::{WireError, messages};

use super::json::{kind_name, last_bytes, last_fixed64, last_varint, status_name};
use super::span_entry::SpanScalars;
use super::{CombinedTrace, ResourceGroup, ScopeGroup, TraceFacts};
use crate::json::{JsonWriter, write_flat_attributes};

const SERVICE_NAME: &[u8] = b"service.name";

impl CombinedTrace {
    /// The body of the second API version for language models. Errors: an attribute that is no protobuf.
    pub fn to_llm_json(&self, facts: &TraceFacts) -> Result<Vec<u8>, WireError> {
        let mut json = JsonWriter::with_capacity(self.span_bytes() * 2 + 128);
        json.begin_object();
        json.key("trace").begin_object();
        if let Some(span) = self
            .resources
            .first()
            .and_then(|resource| resource.scopes.first().and_then(|scope| scope.spans.first()))
        {
            json.key("traceId").string(bytes_to_hex(last_bytes(span, 1)?).as_bytes());
            json.key("services").begin_list();
            for resource in &self.resources {
                write_service(&mut json, resource)?;
            }
            json.end_list();
        }
        json.end_object();
        json.key("metrics").begin_object();
        if facts.inspected_bytes != 0 {
            json.key("inspectedBytes").raw(&facts.inspected_bytes.to_string());
        }
        json.end_object();
        if facts.partial {
            json.key("status").string(b"PARTIAL");
        }
        json.string_field("message", facts.message.as_bytes());
        json.end_object();
        Ok(json.finish())
    }
}

fn write_service(json: &mut JsonWriter, resource: &ResourceGroup) -> Result<(), WireError> {
    json.begin_object();
    let name = service_name(&resource.resource)?;
    json.key("serviceName").string(name);
    json.key("resource").begin_object();
    // A name that is no string stays among the attributes.
    let left_out = if name.is_empty() { &b""[..] } else { SERVICE_NAME };
    write_flat_attributes(json, &resource.resource, 1, left_out)?;
    json.end_object();
    json.key("scopes").begin_list();
    for scope in &resource.scopes {
        write_scope(json, scope)?;
    }
    json.end_list();
    json.end_object();
    Ok(())
}

/// The name of the service of a Resource message, as sent; empty if it has none.
pub fn service_name(resource: &[u8]) -> Result<&[u8], WireError> {
    use tactus_model::any_value::{DecodedValue, decode, decode_key_value};
    for pair in messages(resource, 1) {
        let (key, value) = decode_key_value(pair?)?;
        if let (SERVICE_NAME, DecodedValue::String(name)) = (key, decode(value)?) {
            return Ok(name);
        }
    }
    Ok(b"")
}

fn write_scope(json: &mut JsonWriter, scope: &ScopeGroup) -> Result<(), WireError> {
    json.begin_object();
    json.key("name").string(last_bytes(&scope.scope, 1)?);
    json.key("version").string(last_bytes(&scope.scope, 2)?);
    json.key("spans").begin_list();
    for span in &scope.spans {
        write_span(json, span)?;
    }
    json.end_list();
    json.end_object();
    Ok(())
}

fn write_span(json: &mut JsonWriter, message: &[u8]) -> Result<(), WireError> {
    let span = SpanScalars::read(message)?;
    json.begin_object();
    json.key("spanId").string(bytes_to_hex(span.span_id).as_bytes());
    json.key("name").string(span.name);
    json.key("parentSpanId").string(bytes_to_hex(span.parent_span_id).as_bytes());
    json.key("kind").string(kind_name(span.kind).as_bytes());
    json.key("startTimeUnixNano").wide(span.start);
    json.key("endTimeUnixNano").wide(span.end);
    json.key("durationMs").double(span.end.saturating_sub(span.start) as f64 / 1e6);
    json.key("attributes").begin_object();
    write_flat_attributes(json, message, 9, b"")?;
    json.end_object();
    write_events(json, message)?;
    write_links(json, message)?;
    let status = span.status.unwrap_or_default();
    json.key("status").begin_object();
    json.key("code").string(status_name(last_varint(status, 3)?).as_bytes());
    json.key("message").string(last_bytes(status, 2)?);
    json.end_object();
    json.end_object();
    Ok(())
}

fn write_events(json: &mut JsonWriter, span: &[u8]) -> Result<(), WireError> {
    json.key("events").begin_list();
    for event in messages(span, 11) {
        let event = event?;
        json.begin_object();
        json.key("name").string(last_bytes(event, 2)?);
        json.key("timeUnixNano").wide(last_fixed64(event, 1)?);
        json.key("attributes").begin_object();
        write_flat_attributes(json, event, 3, b"")?;
        json.end_object();
        json.end_object();
    }
    json.end_list();
    Ok(())
}

fn write_links(json: &mut JsonWriter, span: &[u8]) -> Result<(), WireError> {
    json.key("links").begin_list();
    for link in messages(span, 13) {
        let link = link?;
        json.begin_object();
        json.key("traceId").string(bytes_to_hex(last_bytes(link, 1)?).as_bytes());
        json.key("spanId").string(bytes_to_hex(last_bytes(link, 2)?).as_bytes());
        json.key("attributes").begin_object();
        write_flat_attributes(json, link, 4, b"")?;
        json.end_object();
        json.end_object();
    }
    json.end_list();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_model::wire::put_message_field;

    #[test]
    fn service_is_the_text_of_its_attribute() {
        let resource = |key: &[u8], value: &[u8]| {
            let (mut pair, mut resource) = (Vec::new(), Vec::new());
            put_message_field(&mut pair, 1, key);
            put_message_field(&mut pair, 2, value);
            put_message_field(&mut resource, 1, b"\x0a\x05other");
            put_message_field(&mut resource, 1, &pair);
            resource
        };
        let name = |key: &[u8], value: &[u8]| service_name(&resource(key, value)).unwrap().to_vec();
        assert_eq!(name(b"service.name", b"\x0a\x04shop"), b"shop");
        assert_eq!(name(b"service.name", &[3 << 3, 1]), b"", "a number is no name");
        assert_eq!(name(b"service", b"\x0a\x04shop"), b"");
    }
}
