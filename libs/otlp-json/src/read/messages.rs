//! The members of each OTLP message. Messages that contain spans are never in memory as a whole: each span is encoded
//! right after it is read. So a request takes the memory of its bytes and of its largest span, whatever the number of
//! spans.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use tactus_model::wire::{put_bytes_field, put_message_field, put_message_frame, put_varint};
use tactus_proto::otlp::span::{Event, Link, SpanKind};
use tactus_proto::otlp::status::StatusCode;
use tactus_proto::otlp::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, Resource, Span,
    Status, any_value,
};

use super::fields::{Field, Object, Room, read_list, skip, value, value_or_null};
use super::values::{Base64, Bool, Enum, HexId, Integer, Number, Text};

/// Bytes of a trace id and of a span id.
const TRACE_ID: usize = 16;
const SPAN_ID: usize = 8;

/// Lists the members of a message: all spellings of the key, and how to read the value.
macro_rules! object {
    ($message:ty, $expected:literal, $this:ident { $($key:literal $(| $alias:literal)? => $target:expr,)* }) => {
        impl Object for $message {
            const EXPECTED: &'static str = $expected;

            fn member<'de, A: MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
                room: &Room,
            ) -> Result<(), A::Error> {
                let $this = self;
                match key {
                    $($key $(| $alias)? => value(map, $key, $target, room),)*
                    _ => skip(map),
                }
            }
        }
    };
}

object!(Resource, "a resource", this {
    "attributes" => &mut this.attributes,
    "droppedAttributesCount" | "dropped_attributes_count" =>
        &mut Number(&mut this.dropped_attributes_count),
    "entityRefs" | "entity_refs" => &mut this.entity_refs,
});

object!(EntityRef, "an entity reference", this {
    "schemaUrl" | "schema_url" => &mut Text(&mut this.schema_url),
    "type" => &mut Text(&mut this.r#type),
    "idKeys" | "id_keys" => &mut Texts(&mut this.id_keys),
    "descriptionKeys" | "description_keys" => &mut Texts(&mut this.description_keys),
});

object!(InstrumentationScope, "an instrumentation scope", this {
    "name" => &mut Text(&mut this.name),
    "version" => &mut Text(&mut this.version),
    "attributes" => &mut this.attributes,
    "droppedAttributesCount" | "dropped_attributes_count" =>
        &mut Number(&mut this.dropped_attributes_count),
});

object!(Span, "a span", this {
    "traceId" | "trace_id" => &mut HexId { target: &mut this.trace_id, length: TRACE_ID },
    "spanId" | "span_id" => &mut HexId { target: &mut this.span_id, length: SPAN_ID },
    "traceState" | "trace_state" => &mut Text(&mut this.trace_state),
    "parentSpanId" | "parent_span_id" =>
        &mut HexId { target: &mut this.parent_span_id, length: SPAN_ID },
    "name" => &mut Text(&mut this.name),
    "kind" => &mut Enum { target: &mut this.kind, by_name: span_kind },
    "startTimeUnixNano" | "start_time_unix_nano" => &mut Number(&mut this.start_time_unix_nano),
    "endTimeUnixNano" | "end_time_unix_nano" => &mut Number(&mut this.end_time_unix_nano),
    "attributes" => &mut this.attributes,
    "droppedAttributesCount" | "dropped_attributes_count" =>
        &mut Number(&mut this.dropped_attributes_count),
    "events" => &mut this.events,
    "droppedEventsCount" | "dropped_events_count" => &mut Number(&mut this.dropped_events_count),
    "links" => &mut this.links,
    "droppedLinksCount" | "dropped_links_count" => &mut Number(&mut this.dropped_links_count),
    "status" => &mut this.status,
    "flags" => &mut Number(&mut this.flags),
});

object!(Event, "an event", this {
    "timeUnixNano" | "time_unix_nano" => &mut Number(&mut this.time_unix_nano),
    "name" => &mut Text(&mut this.name),
    "attributes" => &mut this.attributes,
    "droppedAttributesCount" | "dropped_attributes_count" =>
        &mut Number(&mut this.dropped_attributes_count),
});

object!(Link, "a link", this {
    "traceId" | "trace_id" => &mut HexId { target: &mut this.trace_id, length: TRACE_ID },
    "spanId" | "span_id" => &mut HexId { target: &mut this.span_id, length: SPAN_ID },
    "traceState" | "trace_state" => &mut Text(&mut this.trace_state),
    "attributes" => &mut this.attributes,
    "droppedAttributesCount" | "dropped_attributes_count" =>
        &mut Number(&mut this.dropped_attributes_count),
    "flags" => &mut Number(&mut this.flags),
});

object!(Status, "a status", this {
    "message" => &mut Text(&mut this.message),
    "code" => &mut Enum { target: &mut this.code, by_name: status_code },
});

object!(KeyValue, "a key and value", this {
    "key" => &mut Text(&mut this.key),
    "value" => &mut this.value,
});

object!(ArrayValue, "an array value", this {
    "values" => &mut this.values,
});

object!(KeyValueList, "a key value list", this {
    "values" => &mut this.values,
});

fn span_kind(name: &str) -> Option<i32> {
    SpanKind::from_str_name(name).map(i32::from)
}

fn status_code(name: &str) -> Option<i32> {
    StatusCode::from_str_name(name).map(i32::from)
}

/// One member at most; of several the last wins. A boolean or number that is `null` is none: JavaScript and C++ write
/// NaN that way.
impl Object for AnyValue {
    const EXPECTED: &'static str = "a value";

    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        room: &Room,
    ) -> Result<(), A::Error> {
        use any_value::Value;
        let read = match key {
            "stringValue" | "string_value" => {
                let mut text = Bytes::new();
                value(map, "stringValue", &mut Text(&mut text), room)?;
                Some(Value::StringValue(text))
            }
            "boolValue" | "bool_value" => {
                let mut flag = false;
                value_or_null(map, "boolValue", &mut Bool(&mut flag), room)?
                    .then_some(Value::BoolValue(flag))
            }
            "intValue" | "int_value" => {
                let mut number = Value::IntValue(0);
                value_or_null(map, "intValue", &mut Integer(&mut number), room)?.then_some(number)
            }
            "doubleValue" | "double_value" => {
                let mut number = 0.0;
                value_or_null(map, "doubleValue", &mut Number(&mut number), room)?
                    .then_some(Value::DoubleValue(number))
            }
            "arrayValue" | "array_value" => {
                let mut array = ArrayValue::default();
                value(map, "arrayValue", &mut array, room)?;
                Some(Value::ArrayValue(array))
            }
            "kvlistValue" | "kvlist_value" => {
                let mut list = KeyValueList::default();
                value(map, "kvlistValue", &mut list, room)?;
                Some(Value::KvlistValue(list))
            }
            "bytesValue" | "bytes_value" => {
                let mut bytes = Bytes::new();
                value(map, "bytesValue", &mut Base64(&mut bytes), room)?;
                Some(Value::BytesValue(bytes))
            }
            _ => return skip(map),
        };
        if read.is_some() {
            self.value = read;
        }
        Ok(())
    }
}

/// A list of texts.
struct Texts<'t>(&'t mut Vec<Bytes>);

impl Field for Texts<'_> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, room: &Room) -> Result<(), D::Error> {
        json.deserialize_any(TextsVisitor(self.0, room))
    }
}

struct TextsVisitor<'t>(&'t mut Vec<Bytes>, &'t Room);

impl<'de> Visitor<'de> for TextsVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(text) = list.next_element::<String>()? {
            self.1.take()?;
            self.0.push(text.into());
        }
        Ok(())
    }
}

/// The fields of an export request.
#[derive(Default)]
pub(super) struct ExportRequest {
    pub(super) resource_spans: Vec<u8>,
}

object!(ExportRequest, "an export request", this {
    "resourceSpans" | "resource_spans" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
});

/// A file with a trace: an export request, or an answer of Tempo's API or of the third version of Jaeger's.
#[derive(Default)]
pub(super) struct TraceFile {
    pub(super) resource_spans: Vec<u8>,
    pub(super) trace: Trace,
}

#[derive(Default)]
pub(super) struct Trace {
    pub(super) resource_spans: Vec<u8>,
}

object!(TraceFile, "a file with a trace", this {
    "resourceSpans" | "resource_spans" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
    "batches" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
    "trace" => &mut this.trace,
    "result" => &mut this.trace,
});

object!(Trace, "a trace", this {
    "resourceSpans" | "resource_spans" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
    "batches" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
});

#[derive(Default)]
struct ResourceSpans {
    resource: Option<Resource>,
    scope_spans: Vec<u8>,
    schema_url: Bytes,
    /// What senders of OTLP before 0.15 wrote. It counts only if there are no scope spans.
    library_spans: Vec<u8>,
}

object!(ResourceSpans, "resource spans", this {
    "resource" => &mut this.resource,
    "scopeSpans" | "scope_spans" => &mut ScopeSpans::into_fields(&mut this.scope_spans, 2),
    "schemaUrl" | "schema_url" => &mut Text(&mut this.schema_url),
    "instrumentationLibrarySpans" | "instrumentation_library_spans" =>
        &mut LibrarySpans::into_fields(&mut this.library_spans, 2),
});

#[derive(Default)]
struct ScopeSpans {
    scope: Option<InstrumentationScope>,
    spans: Vec<u8>,
    schema_url: Bytes,
}

object!(ScopeSpans, "scope spans", this {
    "scope" => &mut this.scope,
    "spans" => &mut Span::into_fields(&mut this.spans, 2),
    "schemaUrl" | "schema_url" => &mut Text(&mut this.schema_url),
});

/// The same under its old name.
#[derive(Default)]
struct LibrarySpans(ScopeSpans);

object!(LibrarySpans, "instrumentation library spans", this {
    "instrumentationLibrary" | "instrumentation_library" => &mut this.0.scope,
    "spans" => &mut Span::into_fields(&mut this.0.spans, 2),
    "schemaUrl" | "schema_url" => &mut Text(&mut this.0.schema_url),
});

/// An element of a list that is encoded right after it is read.
trait Encoded: Object {
    /// Appends the message as a field.
    fn append(self, field: u32, out: &mut Vec<u8>);

    /// A list of such elements. Their fields are appended to `out`.
    fn into_fields(out: &mut Vec<u8>, field: u32) -> Fields<'_, Self> {
        Fields { out, field, of: PhantomData }
    }
}

struct Fields<'t, T> {
    out: &'t mut Vec<u8>,
    field: u32,
    of: PhantomData<T>,
}

impl<T: Encoded> Field for Fields<'_, T> {
    fn read<'de, D: Deserializer<'de>>(&mut self, json: D, _: &Room) -> Result<(), D::Error> {
        read_list(json, None, |item: T| item.append(self.field, self.out))
    }
}

impl Encoded for Span {
    fn append(self, field: u32, out: &mut Vec<u8>) {
        put_varint(out, u64::from(field) << 3 | 2);
        self.encode_length_delimited(out).expect("a Vec grows as it must");
    }
}

impl Encoded for ScopeSpans {
    fn append(self, field: u32, out: &mut Vec<u8>) {
        append(field, self.scope.as_ref(), &self.spans, &self.schema_url, out);
    }
}

impl Encoded for LibrarySpans {
    fn append(self, field: u32, out: &mut Vec<u8>) {
        self.0.append(field, out);
    }
}

impl Encoded for ResourceSpans {
    fn append(self, field: u32, out: &mut Vec<u8>) {
        let scope_spans = match &self.scope_spans[..] {
            [] => &self.library_spans,
            scope_spans => scope_spans,
        };
        append(field, self.resource.as_ref(), scope_spans, &self.schema_url, out);
    }
}

/// ResourceSpans and ScopeSpans: field 1 is the resource or scope, field 3 is a schema.
fn append(
    field: u32,
    owner: Option<&impl Message>,
    spans: &[u8],
    schema_url: &[u8],
    out: &mut Vec<u8>,
) {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    if let Some(owner) = owner {
        put_message_field(&mut head, 1, &owner.encode_to_vec());
    }
    put_bytes_field(&mut tail, 3, schema_url);
    put_message_frame(out, field, head.len() + spans.len() + tail.len());
    for part in [&head[..], spans, &tail[..]] {
        out.extend_from_slice(part);
    }
}
