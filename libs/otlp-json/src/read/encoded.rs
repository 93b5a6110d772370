//! The messages around spans, which are never in memory as messages: each span is encoded once it is read.
//!
//! So a request takes the memory of its bytes and of its largest span, whatever the number of spans.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use serde::de::{Deserializer, MapAccess};
use tactus_model::wire::{put_bytes_field, put_message_field, put_varint};
use tactus_proto::otlp::{InstrumentationScope, Resource, Span};

use super::fields::{Field, Object, Room, read_list, skip, value};
use super::messages::object;
use super::values::Text;

/// The fields of an export request.
#[derive(Default)]
pub(super) struct ExportRequest {
    pub(super) resource_spans: Vec<u8>,
}

object!(ExportRequest, "an export request", this {
    "resourceSpans" | "resource_spans" => &mut ResourceSpans::into_fields(&mut this.resource_spans, 1),
});

/// A file with a trace: an export request, or what Tempo's API answers with.
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
    /// What senders of OTLP before 0.15 wrote; it counts where no scope spans are.
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

/// An element of a list that is encoded once it is read.
trait Encoded: Object {
    /// Appends the message as a field.
    fn append(self, field: u32, out: &mut Vec<u8>);

    /// A list of such elements, whose fields are appended to `out`.
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

/// ResourceSpans and ScopeSpans: field 1 says whose spans they are, field 3 is a schema.
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
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, (head.len() + spans.len() + tail.len()) as u64);
    for part in [&head[..], spans, &tail[..]] {
        out.extend_from_slice(part);
    }
}
