//! The order of spans in the file: grouped by resource and scope within each trace.

use tactus_model::{SpanBatch, SpanId};

use super::canonical::{CanonicalResources, canonical_scopes};

/// The order of the spans of a batch in a row group.
///
/// Within a trace, spans are grouped by equal resource and then by equal scope, and sorted by start and id. Resources and
/// scopes are sorted by their first span.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Row of the batch of each span in file order.
    pub(super) order: Vec<u32>,
    /// First span of each trace, and the end.
    pub(super) trace_spans: Vec<u32>,
    /// First resource entry of each trace, and the end.
    pub(super) trace_resources: Vec<u32>,
    /// A resource within a trace.
    pub(super) resources: Vec<ResourceEntry>,
    /// A scope within a resource of a trace.
    pub(super) scopes: Vec<ScopeEntry>,
    pending: Vec<Pending>,
    groups: Vec<Group>,
    reordered: Vec<Pending>,
}

/// One resource of one trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResourceEntry {
    /// Canonical resource.
    pub(super) canonical: u32,
    /// The resource of the batch that came first.
    pub(super) first: u32,
    /// Its scopes.
    pub(super) scopes: u32,
    /// Its spans, in all scopes.
    pub(super) spans: u32,
}

/// One scope of one resource of one trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScopeEntry {
    /// The scope of the batch that came first.
    pub(super) first: u32,
    /// Its spans.
    pub(super) spans: u32,
}

/// A span with its sort key: canonical resource, canonical scope, start, id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    resource: u32,
    scope: u32,
    start: u64,
    id: SpanId,
    row: u32,
}

/// What spans are sorted by within a scope.
type SpanKey = (u64, SpanId, u32);

impl Pending {
    fn key(&self) -> SpanKey {
        (self.start, self.id, self.row)
    }
}

/// The row that came first.
fn first_row(spans: &[Pending]) -> usize {
    spans.iter().map(|span| span.row).min().unwrap_or_default() as usize
}

/// The spans of a scope, with the keys by which groups are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// The first span of the resource.
    of_resource: SpanKey,
    /// The first span of the scope.
    of_scope: SpanKey,
    /// Its place in the list of pending spans, and their number.
    at: u32,
    spans: u32,
}

impl Layout {
    /// Computes the layout of a sorted batch, whose columns must be complete.
    pub(super) fn set(&mut self, batch: &SpanBatch, resources: &CanonicalResources) {
        let scopes = canonical_scopes(batch);
        self.order.clear();
        self.resources.clear();
        self.scopes.clear();
        self.trace_resources.clear();
        self.trace_spans = batch.trace_offsets();
        for trace in 0..batch.traces.ids.len() {
            self.trace_resources.push(self.resources.len() as u32);
            let rows = self.trace_spans[trace]..self.trace_spans[trace + 1];
            self.sort_trace(batch, rows, resources, &scopes);
            self.add_groups(batch);
        }
        self.trace_resources.push(self.resources.len() as u32);
    }

    fn sort_trace(
        &mut self,
        batch: &SpanBatch,
        rows: std::ops::Range<u32>,
        resources: &CanonicalResources,
        scopes: &[u32],
    ) {
        let spans = &batch.spans;
        let (resource_of, scope_of) = (spans.resource.as_slice(), spans.scope.as_slice());
        let (starts, ids) = (spans.start.as_slice(), spans.span_id.as_slice());
        self.pending.clear();
        self.pending.extend(rows.map(|row| {
            let at = row as usize;
            let resource = resources.of_resource[resource_of[at] as usize];
            let scope = scopes[scope_of[at] as usize];
            Pending { resource, scope, start: starts[at], id: ids[at], row }
        }));
        if !self.pending.is_sorted() {
            self.pending.sort_unstable();
        }
        self.sort_groups();
    }

    /// Sorts the groups of a trace, whose spans are sorted in each of them.
    fn sort_groups(&mut self) {
        self.groups.clear();
        let mut at = 0;
        for same_resource in self.pending.chunk_by(|a, b| a.resource == b.resource) {
            let before = self.groups.len();
            for same_scope in same_resource.chunk_by(|a, b| a.scope == b.scope) {
                let first = same_scope[0].key();
                let spans = same_scope.len() as u32;
                self.groups.push(Group { of_resource: first, of_scope: first, at, spans });
                at += spans;
            }
            let of_resource = self.groups[before..].iter().map(|group| group.of_scope).min();
            for group in &mut self.groups[before..] {
                group.of_resource = of_resource.unwrap_or(group.of_scope);
            }
        }
        if self.groups.is_sorted() {
            return;
        }
        self.groups.sort_unstable();
        self.reordered.clear();
        for group in &self.groups {
            let spans = group.at as usize..(group.at + group.spans) as usize;
            self.reordered.extend_from_slice(&self.pending[spans]);
        }
        std::mem::swap(&mut self.pending, &mut self.reordered);
    }

    fn add_groups(&mut self, batch: &SpanBatch) {
        self.order.extend(self.pending.iter().map(|span| span.row));
        for same_resource in self.pending.chunk_by(|a, b| a.resource == b.resource) {
            let scopes_before = self.scopes.len();
            for same_scope in same_resource.chunk_by(|a, b| a.scope == b.scope) {
                self.scopes.push(ScopeEntry {
                    first: batch.spans.scope[first_row(same_scope)],
                    spans: same_scope.len() as u32,
                });
            }
            self.resources.push(ResourceEntry {
                canonical: same_resource[0].resource,
                first: batch.spans.resource[first_row(same_resource)],
                scopes: (self.scopes.len() - scopes_before) as u32,
                spans: same_resource.len() as u32,
            });
        }
    }

    /// Resource entries of a trace.
    pub(super) fn resources_of(&self, trace: usize) -> &[ResourceEntry] {
        let range = self.trace_resources[trace] as usize..self.trace_resources[trace + 1] as usize;
        &self.resources[range]
    }

    /// Spans of a trace as positions in the file order.
    pub(super) fn spans_of(&self, trace: usize) -> std::ops::Range<usize> {
        self.trace_spans[trace] as usize..self.trace_spans[trace + 1] as usize
    }
}
