//! Reads uploaded files with OTLP/JSON.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use tactus_model::TraceId;
use tactus_model::message_count::{self, messages};
use tactus_model::walk::{SpanView, walk_export};
use tactus_model::wire::WireError;
use tactus_otlp_json::{JsonError, read_export_request};
use tactus_proto::otlp::{InstrumentationScope, Resource, ResourceSpans, ScopeSpans, Span};

/// Attributes of resources and scopes that are copied for the traces which share them, at most: each takes about a
/// hundred bytes, and a file could have one large resource and many traces of one span.
const MAX_COPIED: usize = 1 << 18;
/// Bytes of them, at most: the copies share one text, but each is looked through.
const MAX_COPIED_BYTES: usize = 64 << 20;

/// Why a file is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// No JSON of OTLP.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// What the JSON says is not OTLP.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// As before.
    #[error("{0}")]
    Malformed(#[from] prost::DecodeError),
    /// More spans than are wanted.
    #[error("the file has more than {max_spans} spans")]
    TooManySpans {
        /// The limit.
        max_spans: usize,
    },
    /// Too much is common to too many traces.
    #[error(
        "the resources that traces of the file share have more than {MAX_COPIED} attributes, or {MAX_COPIED_BYTES} bytes, in all traces together"
    )]
    TooManyCopies,
}

/// The traces of a file, in the order of their first spans; spans without a trace id are left out.
///
/// The file is what [`read_export_request`] reads. Memory: that of the messages of `max_spans` spans, and of this many
/// copies of resources as a constant allows.
pub fn traces_of_upload(
    json: &[u8],
    max_spans: usize,
) -> Result<Vec<(TraceId, Vec<ResourceSpans>)>, UploadError> {
    let file = read_export_request(json)?;
    let mut spans: Vec<SpanView<'_>> = Vec::new();
    let mut count = 0_usize;
    let walk = walk_export(&file, |span| {
        count += 1;
        if count <= max_spans {
            spans.push(span);
        }
    })?;
    if count > max_spans {
        return Err(UploadError::TooManySpans { max_spans });
    }
    let mut traces = Traces::default();
    for view in spans {
        let id = TraceId::from_slice(view.trace_id);
        if id.is_zero() {
            continue;
        }
        let run = &walk.runs[view.run];
        let resource = &walk.resources[run.resource as usize];
        let scope = &walk.scopes[run.scope as usize];
        let owners = Owners {
            numbers: (run.resource, run.scope),
            resource: file.slice(resource.clone()),
            scope: file.slice(scope.clone()),
        };
        let span = Span::decode(file.slice_ref(view.message))?;
        traces.of(id, &owners)?.push(span);
    }
    Ok(traces.found.into_iter().map(|trace| (trace.id, trace.resource_spans)).collect())
}

/// What a span belongs to.
struct Owners {
    /// Of the resource and of the scope in the file.
    numbers: (u32, u32),
    resource: Bytes,
    scope: Bytes,
}

#[derive(Default)]
struct Traces {
    places: HashMap<TraceId, usize>,
    found: Vec<Trace>,
    copied: usize,
    copied_bytes: usize,
}

struct Trace {
    id: TraceId,
    resource_spans: Vec<ResourceSpans>,
    /// Numbers of the resource and of the scope of its latest span.
    latest: Option<(u32, u32)>,
}

impl Traces {
    /// Where the spans of a trace go; those of one resource and of one scope are next to each other.
    fn of(&mut self, id: TraceId, owners: &Owners) -> Result<&mut Vec<Span>, UploadError> {
        let place = *self.places.entry(id).or_insert_with(|| {
            self.found.push(Trace { id, resource_spans: Vec::new(), latest: None });
            self.found.len() - 1
        });
        let trace = &mut self.found[place];
        let same_resource = trace.latest.is_some_and(|(number, _)| number == owners.numbers.0);
        if !same_resource {
            self.copied += messages(&owners.resource, &message_count::RESOURCE)?;
            self.copied_bytes += owners.resource.len();
            let resource = match &owners.resource {
                none if none.is_empty() => None,
                message => Some(Resource::decode(message.clone())?),
            };
            trace.resource_spans.push(ResourceSpans { resource, ..ResourceSpans::default() });
        }
        let resource_spans = trace.resource_spans.last_mut();
        let scopes = &mut resource_spans.expect("there is one by now").scope_spans;
        if trace.latest != Some(owners.numbers) {
            self.copied += messages(&owners.scope, &message_count::SCOPE)?;
            self.copied_bytes += owners.scope.len();
            let scope = match &owners.scope {
                none if none.is_empty() => None,
                message => Some(InstrumentationScope::decode(message.clone())?),
            };
            scopes.push(ScopeSpans { scope, ..ScopeSpans::default() });
        }
        if self.copied > MAX_COPIED || self.copied_bytes > MAX_COPIED_BYTES {
            return Err(UploadError::TooManyCopies);
        }
        trace.latest = Some(owners.numbers);
        Ok(&mut scopes.last_mut().expect("there is one by now").spans)
    }
}
