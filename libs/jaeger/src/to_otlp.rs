//! Jaeger's model to OTLP: what the receivers store.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tactus_model::wire::WireError;
use tactus_proto::jaeger::api_v2::{Batch, PostSpansRequest, Process};
use tactus_proto::otlp::{
    ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans,
    Span,
};

mod attributes;
mod hollow;
mod span;
mod status;

pub use status::whole_number;

pub(crate) use attributes::string;
use attributes::{attributes, text_value};

/// The name that stands for no name when spans of no service are written in Jaeger's model.
const NO_SERVICE_NAME: &[u8] = b"OTLPResourceNoServiceName";

/// Why spans of Jaeger's model cannot be told in OTLP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are no message.
    #[error("{0}")]
    Malformed(#[from] prost::DecodeError),
    /// The bytes are no message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// Many messages, and next to nothing in them.
    #[error("more spans and tags than their bytes can hold")]
    Hollow,
    /// A trace id of neither 8 nor 16 bytes.
    #[error("invalid length for TraceID: {0} bytes")]
    TraceId(usize),
    /// A span id that is not of 8 bytes.
    #[error("invalid length for SpanID: {0} bytes")]
    SpanId(usize),
}

/// The spans of a `PostSpansRequest`; fields are slices of `message`.
pub fn decode_post_spans(message: Bytes) -> Result<ExportTraceServiceRequest, ModelError> {
    if hollow::is_hollow(&message)? {
        return Err(ModelError::Hollow);
    }
    let request = PostSpansRequest::decode(message)?;
    request.batch.map_or_else(|| Ok(ExportTraceServiceRequest::default()), to_otlp)
}

/// The spans of a batch, grouped by process and scope in the order of first appearance.
///
/// Ids may come out empty or zero; those who store spans refuse them. Errors: ids of a wrong length.
pub fn to_otlp(batch: Batch) -> Result<ExportTraceServiceRequest, ModelError> {
    let mut groups = Groups::new(batch.process);
    for mut span in batch.spans {
        if span == Default::default() {
            continue;
        }
        let process = span.process.take();
        let (scope, span) = span::convert(span)?;
        groups.of(process).push(scope, span);
    }
    Ok(ExportTraceServiceRequest { resource_spans: groups.finish() })
}

/// Name and version of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Scope {
    name: Bytes,
    version: Bytes,
}

/// Spans by process.
struct Groups {
    /// The process of spans without one of their own.
    of_batch: Option<Process>,
    groups: Vec<Group>,
    by_process: HashMap<Vec<u8>, usize>,
}

impl Groups {
    fn new(of_batch: Option<Process>) -> Self {
        Self { of_batch, groups: Vec::new(), by_process: HashMap::new() }
    }

    /// The group of a span; spans next to each other are mostly of one process.
    fn of(&mut self, process: Option<Process>) -> &mut Group {
        let process = process.as_ref().or(self.of_batch.as_ref());
        let latest = self.groups.len().wrapping_sub(1);
        let known = match self.groups.get(latest) {
            Some(group) if group.process.as_ref() == process => Some(latest),
            _ => None,
        };
        let index = known.unwrap_or_else(|| {
            let key = process.map_or_else(Vec::new, Message::encode_length_delimited_to_vec);
            *self.by_process.entry(key).or_insert_with(|| {
                self.groups.push(Group { process: process.cloned(), ..Group::default() });
                self.groups.len() - 1
            })
        });
        &mut self.groups[index]
    }

    fn finish(self) -> Vec<ResourceSpans> {
        self.groups.into_iter().map(Group::finish).collect()
    }
}

/// The spans of one process.
#[derive(Default)]
struct Group {
    process: Option<Process>,
    scopes: Vec<(Scope, Vec<Span>)>,
    by_scope: HashMap<Scope, usize>,
}

impl Group {
    fn push(&mut self, scope: Scope, span: Span) {
        if let Some((latest, spans)) = self.scopes.last_mut()
            && *latest == scope
        {
            spans.push(span);
            return;
        }
        let index = *self.by_scope.entry(scope.clone()).or_insert_with(|| {
            self.scopes.push((scope, Vec::new()));
            self.scopes.len() - 1
        });
        self.scopes[index].1.push(span);
    }

    fn finish(self) -> ResourceSpans {
        let scope_spans = self.scopes.into_iter().map(|(Scope { name, version }, spans)| {
            let scope = InstrumentationScope { name, version, ..Default::default() };
            ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }
        });
        ResourceSpans {
            resource: Some(self.process.map_or_else(Resource::default, resource)),
            scope_spans: scope_spans.collect(),
            ..ResourceSpans::default()
        }
    }
}

fn resource(process: Process) -> Resource {
    let name = process.service_name;
    let named = !name.is_empty() && name[..] != *NO_SERVICE_NAME;
    let name = named.then(|| string(Bytes::from_static(b"service.name"), name));
    let mut attributes = attributes(name.into_iter().collect(), process.tags);
    rename(&mut attributes, b"hostname", b"host.name");
    name_exporter(&mut attributes);
    Resource { attributes, ..Resource::default() }
}

/// Renames an attribute, unless there is one of the new name.
fn rename(attributes: &mut [KeyValue], from: &[u8], to: &'static [u8]) {
    if attributes.iter().all(|attribute| attribute.key != to)
        && let Some(attribute) = attributes.iter_mut().find(|attribute| attribute.key == from)
    {
        attribute.key = Bytes::from_static(to);
    }
}

/// The version of a Jaeger client, under the key that stands for exporters of any kind.
fn name_exporter(attributes: &mut [KeyValue]) {
    const KEY: &[u8] = b"opencensus.exporterversion";
    if attributes.iter().any(|attribute| attribute.key == KEY) {
        return;
    }
    let Some(attribute) = attributes.iter_mut().find(|found| &found.key[..] == b"jaeger.version")
    else {
        return;
    };
    if let Some(version) = text_value(attribute) {
        let version = [b"Jaeger-", &version[..]].concat();
        *attribute = string(Bytes::from_static(KEY), version.into());
    }
}

#[cfg(test)]
mod tests;
