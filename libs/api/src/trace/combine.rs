//! Collects the spans of a trace, each once.

use std::collections::HashMap;

use bytes::Bytes;
use tactus_model::SpanId;
use tactus_model::walk::{SpanView, walk_export};
use tactus_model::wire::WireError;

use super::span_entry::{Seen, SpanEntry, SpanScalars};
use super::zipkin::separate_shared_ids;
use super::{CombinedTrace, ResourceGroup, ScopeGroup};

/// What happens to a trace above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenTooLarge {
    /// It is refused.
    Refuse,
    /// Spans above the limit are left out.
    Cut,
}

/// What happens to the two halves of a call that share one span id, as Zipkin's senders write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedIds {
    /// The server's half gets an id of its own, below the client's.
    #[default]
    Separated,
    /// Both keep the id, as it is stored.
    Kept,
}

/// Why parts do not combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// A part is not valid OTLP.
    #[error("malformed trace: {0}")]
    Malformed(#[from] WireError),
    /// The trace exceeds the limit, and [`WhenTooLarge::Refuse`] applies.
    #[error("trace exceeds max size (max bytes: {max_bytes})")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
}

/// Combines partial answers for one trace.
///
/// A span that is there twice (see [`SpanIdentity`]) is kept once, the first that came. Memory: the parts,
/// and about 100 bytes a span.
#[derive(Debug)]
pub struct TraceCombiner {
    max_bytes: u64,
    when_too_large: WhenTooLarge,
    bytes: u64,
    resources: Messages,
    scopes: Messages,
    spans: Vec<SpanEntry>,
    seen: Seen,
    non_empty_parts: usize,
    truncated: bool,
}

/// Messages that are kept once, in order of arrival.
#[derive(Debug, Default)]
struct Messages {
    all: Vec<Bytes>,
    index: HashMap<Bytes, u32>,
}

impl TraceCombiner {
    /// A combiner for traces whose spans have up to `max_bytes` as OTLP, without resources and scopes; 0: any size.
    pub fn new(max_bytes: u64, when_too_large: WhenTooLarge) -> Self {
        Self {
            max_bytes,
            when_too_large,
            bytes: 0,
            resources: Messages::default(),
            scopes: Messages::default(),
            spans: Vec::new(),
            seen: Seen::default(),
            non_empty_parts: 0,
            truncated: false,
        }
    }

    /// Adds a part, an OTLP TracesData message. After an error the combiner must not be used any more.
    pub fn add(&mut self, traces_data: &Bytes) -> Result<(), CombineError> {
        if self.truncated {
            return Ok(());
        }
        let mut found: Vec<SpanView<'_>> = Vec::new();
        let walk = walk_export(traces_data, |span| found.push(span))?;
        self.non_empty_parts += usize::from(!found.is_empty());
        self.spans.reserve(found.len());
        self.seen.reserve(found.len());
        // Resource and scope are looked up by their bytes, once a run.
        let mut rows: Vec<Option<(u32, u32)>> = vec![None; walk.runs.len()];
        for span in found {
            let run = &walk.runs[span.run];
            let fields = SpanScalars::read(span.message)?;
            let id = SpanId::from_slice(span.span_id);
            if !self.seen.insert(&self.spans, &fields.identity(id)) {
                continue;
            }
            let resource_range = walk.resources[run.resource as usize].clone();
            let scope_range = walk.scopes[run.scope as usize].clone();
            // As spans are counted when they are received: what was accepted is not above the limit here.
            let added = span.message.len() as u64;
            if self.max_bytes != 0 && self.bytes + added > self.max_bytes {
                if self.when_too_large == WhenTooLarge::Refuse {
                    return Err(CombineError::TooLarge { max_bytes: self.max_bytes });
                }
                self.truncated = true;
                return Ok(());
            }
            self.bytes += added;
            let (resource, scope) = *rows[span.run].get_or_insert_with(|| {
                let resource = self.resources.row(traces_data.slice(resource_range));
                (resource, self.scopes.row(traces_data.slice(scope_range)))
            });
            self.spans.push(SpanEntry {
                resource,
                scope,
                id,
                parent: SpanId::from_slice(fields.parent_span_id),
                kind: fields.kind,
                start: fields.start,
                message: traces_data.slice_ref(span.message),
            });
        }
        Ok(())
    }

    /// The spans as a part for another combiner: in the order in which they came, and with the ids that they came with.
    pub fn finish_part(self) -> CombinedTrace {
        let spans = self.spans.into_iter().map(SpanEntry::owned);
        let (resources, scopes) = (self.resources.all, self.scopes.all);
        let resources = grouped(spans, |row| resources[row].clone(), |row| scopes[row].clone());
        CombinedTrace { resources, truncated: self.truncated }
    }

    /// The trace. More than one part: sorted by start, then span id; a single one keeps its order.
    pub fn finish(mut self, shared_ids: SharedIds) -> CombinedTrace {
        if self.non_empty_parts > 1 {
            self.spans.sort_by_key(|span| (span.start, span.id));
        }
        if shared_ids == SharedIds::Separated {
            separate_shared_ids(&mut self.spans);
        }
        self.finish_part()
    }
}

/// Groups Span messages by resource and scope, to which they refer by index.
pub(super) fn grouped(
    spans: impl Iterator<Item = ((u32, u32), Bytes)>,
    resource: impl Fn(usize) -> Bytes,
    scope: impl Fn(usize) -> Bytes,
) -> Vec<ResourceGroup> {
    let of_scope = |(row, spans): (u32, _)| ScopeGroup { scope: scope(row as usize), spans };
    let of_resource = |(row, scopes): (u32, Vec<_>)| ResourceGroup {
        resource: resource(row as usize),
        scopes: scopes.into_iter().map(of_scope).collect(),
    };
    tactus_model::otlp::grouped(spans).into_iter().map(of_resource).collect()
}

impl Messages {
    fn row(&mut self, message: Bytes) -> u32 {
        if let Some(&row) = self.index.get(&message) {
            return row;
        }
        let row = self.all.len() as u32;
        self.all.push(message.clone());
        self.index.insert(message, row);
        row
    }
}
