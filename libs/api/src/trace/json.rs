//! A trace as JSON.

use bytes::Bytes;
use tactus_model::wire::{FieldValue, Reader, WireError, messages};

use super::span_entry::SpanScalars;
use super::{CombinedTrace, TraceFacts};
use crate::json::{JsonStyle, JsonWriter, write_attributes};

/// JSON takes about this many times the bytes of protobuf.
const EXPANSION: usize = 3;

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

impl CombinedTrace {
    /// The body of the first API version, with an entry for each scope as of [`Self::into_pieces_by_scope`]. Errors: an attribute that
    /// is no protobuf.
    pub fn into_json_v1(self) -> Result<Vec<u8>, WireError> {
        let trace = self.into_pieces_by_scope(usize::MAX).next().unwrap_or_default();
        let mut json = JsonWriter::with_capacity(trace.bytes() * EXPANSION + 64);
        trace.write_trace(&mut json, "batches")?;
        Ok(json.finish())
    }

    /// The body of the second API version. Errors: an attribute that is no protobuf.
    pub fn to_json_v2(&self, facts: &TraceFacts) -> Result<Vec<u8>, WireError> {
        let mut json = JsonWriter::with_capacity(self.bytes() * EXPANSION + 128);
        json.begin_object();
        json.key("trace");
        self.write_trace(&mut json, "resourceSpans")?;
        write_facts(&mut json, facts);
        json.end_object();
        Ok(json.finish())
    }

    /// The elements of the list of resources, without its brackets; for answers that are written a piece at a time. Errors: an
    /// attribute that is no protobuf.
    pub fn to_json_elements(&self, style: JsonStyle) -> Result<Vec<u8>, WireError> {
        let mut json = JsonWriter::with_capacity(self.bytes() * EXPANSION + 64).with_style(style);
        self.write_resources(&mut json)?;
        Ok(json.finish())
    }

    fn write_trace(&self, json: &mut JsonWriter, key: &str) -> Result<(), WireError> {
        json.begin_object();
        if !self.is_empty() {
            json.key(key).begin_list();
            self.write_resources(json)?;
            json.end_list();
        }
        json.end_object();
        Ok(())
    }

    fn write_resources(&self, json: &mut JsonWriter) -> Result<(), WireError> {
        for resource in &self.resources {
            json.begin_object();
            json.key("resource");
            write_resource(json, &resource.resource)?;
            json.key("scopeSpans").begin_list();
            for scope in &resource.scopes {
                json.begin_object();
                json.key("scope");
                write_scope(json, &scope.scope)?;
                json.key("spans").begin_list();
                for span in &scope.spans {
                    write_span(json, span)?;
                }
                json.end_list();
                json.end_object();
            }
            json.end_list();
            json.end_object();
        }
        Ok(())
    }
}

impl TraceFacts {
    /// What follows the trace in the body of the second API version, with the bracket that ends it.
    pub fn to_json_end(&self) -> Vec<u8> {
        let mut json = JsonWriter::with_capacity(128);
        write_facts(&mut json, self);
        json.end_object();
        json.finish()
    }
}

fn write_facts(json: &mut JsonWriter, facts: &TraceFacts) {
    json.key("metrics").begin_object();
    json.wide_field("inspectedBytes", facts.inspected_bytes);
    json.end_object();
    if facts.partial {
        json.key("status").string(b"PARTIAL");
    }
    json.string_field("message", facts.message.as_bytes());
}

fn write_resource(json: &mut JsonWriter, message: &Bytes) -> Result<(), WireError> {
    json.begin_object();
    write_attributes(json, message, 1)?;
    json.number_field("droppedAttributesCount", count(message, 2)?);
    json.end_object();
    Ok(())
}

fn write_scope(json: &mut JsonWriter, message: &Bytes) -> Result<(), WireError> {
    json.begin_object();
    json.string_field("name", last_bytes(message, 1)?);
    json.string_field("version", last_bytes(message, 2)?);
    write_attributes(json, message, 3)?;
    json.number_field("droppedAttributesCount", count(message, 4)?);
    json.end_object();
    Ok(())
}

fn write_span(json: &mut JsonWriter, message: &Bytes) -> Result<(), WireError> {
    let span = SpanScalars::read(message)?;
    json.begin_object();
    json.id_field("traceId", span.trace_id);
    json.id_field("spanId", span.span_id);
    json.string_field("traceState", span.trace_state);
    json.id_field("parentSpanId", span.parent_span_id);
    json.number_field("flags", span.flags);
    json.string_field("name", span.name);
    json.enum_field("kind", &KINDS, span.kind);
    json.wide_field("startTimeUnixNano", span.start);
    json.wide_field("endTimeUnixNano", span.end);
    write_attributes(json, message, 9)?;
    json.number_field("droppedAttributesCount", span.dropped_attributes);
    write_list(json, message, "events", 11, write_event)?;
    json.number_field("droppedEventsCount", span.dropped_events);
    write_list(json, message, "links", 13, write_link)?;
    json.number_field("droppedLinksCount", span.dropped_links);
    if let Some(status) = span.status {
        json.key("status").begin_object();
        json.string_field("message", last_bytes(status, 2)?);
        json.enum_field("code", &STATUS_CODES, last_varint(status, 3)?);
        json.end_object();
    }
    json.end_object();
    Ok(())
}

fn write_list(
    json: &mut JsonWriter,
    message: &[u8],
    key: &str,
    number: u32,
    write: fn(&mut JsonWriter, &[u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut any = false;
    for element in messages(message, number) {
        if !any {
            json.key(key).begin_list();
            any = true;
        }
        write(json, element?)?;
    }
    if any {
        json.end_list();
    }
    Ok(())
}

fn write_event(json: &mut JsonWriter, message: &[u8]) -> Result<(), WireError> {
    json.begin_object();
    json.wide_field("timeUnixNano", last_fixed64(message, 1)?);
    json.string_field("name", last_bytes(message, 2)?);
    write_attributes(json, message, 3)?;
    json.number_field("droppedAttributesCount", count(message, 4)?);
    json.end_object();
    Ok(())
}

fn write_link(json: &mut JsonWriter, message: &[u8]) -> Result<(), WireError> {
    json.begin_object();
    json.id_field("traceId", last_bytes(message, 1)?);
    json.id_field("spanId", last_bytes(message, 2)?);
    json.string_field("traceState", last_bytes(message, 3)?);
    write_attributes(json, message, 4)?;
    json.number_field("droppedAttributesCount", count(message, 5)?);
    if let Some(FieldValue::Fixed32(flags)) = last(message, 6)? {
        json.number_field("flags", flags);
    }
    json.end_object();
    Ok(())
}

pub(super) fn kind_name(kind: u64) -> &'static str {
    KINDS.get(kind as usize).copied().unwrap_or(KINDS[0])
}

pub(super) fn status_name(code: u64) -> &'static str {
    STATUS_CODES.get(code as usize).copied().unwrap_or(STATUS_CODES[0])
}

/// The value of a field; of several the last counts.
fn last(message: &[u8], number: u32) -> Result<Option<FieldValue<'_>>, WireError> {
    let mut reader = Reader::new(message);
    let mut found = None;
    while let Some((field, value)) = reader.next_field()? {
        if field == number {
            found = Some(value);
        }
    }
    Ok(found)
}

pub(super) fn last_bytes(message: &[u8], number: u32) -> Result<&[u8], WireError> {
    last(message, number)?.map_or(Ok(b""), |value| value.bytes(number))
}

pub(super) fn last_varint(message: &[u8], number: u32) -> Result<u64, WireError> {
    last(message, number)?.map_or(Ok(0), |value| value.varint(number))
}

pub(super) fn last_fixed64(message: &[u8], number: u32) -> Result<u64, WireError> {
    last(message, number)?.map_or(Ok(0), |value| value.fixed64(number))
}

fn count(message: &[u8], number: u32) -> Result<u32, WireError> {
    last_varint(message, number).map(|count| count as u32)
}

#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod tests;
