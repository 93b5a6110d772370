//! Turns an export request into a push for an ingester.

use bytes::Bytes;
use tactus_model::{
    IdProblem, TenantId,
    walk::{ExportWalk, SpanView, walk_export},
    wire::{Reader, WireError, put_message_field},
};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

use crate::{group::Grouping, metrics::TraceCount, root_spans::RootSpans, routes::Route};

/// An export request whose spans are counted and checked, but not copied or sliced yet.
#[derive(Debug)]
pub(crate) struct CheckedExport {
    request: Bytes,
    pub(crate) walk: ExportWalk,
    /// Indices of the runs with an invalid span, ascending.
    bad_runs: Vec<usize>,
    pub(crate) received: u64,
    pub(crate) bad_trace_ids: u64,
    pub(crate) bad_span_ids: u64,
    /// What to tell the client about the first invalid span.
    pub(crate) first_problem: String,
}

impl CheckedExport {
    /// Walks an ExportTraceServiceRequest, and calls `on_valid` for each valid span.
    pub(crate) fn read<'a>(
        request: &'a Bytes,
        mut on_valid: impl FnMut(&SpanView<'a>),
    ) -> Result<Self, WireError> {
        let (mut bad_trace_ids, mut bad_span_ids, mut received) = (0, 0, 0);
        let mut first_problem = String::new();
        let mut bad_runs = Vec::new();
        let walk = walk_export(request, |span| {
            received += 1;
            let Some(problem) = IdProblem::of(span.trace_id, span.span_id) else {
                on_valid(&span);
                return;
            };
            match problem {
                IdProblem::TraceId(_) => bad_trace_ids += 1,
                IdProblem::SpanId(_) => bad_span_ids += 1,
            }
            if first_problem.is_empty() {
                first_problem = problem.to_string();
            }
            if bad_runs.last() != Some(&span.run) {
                bad_runs.push(span.run);
            }
        })?;
        let request = request.clone();
        Ok(Self { request, walk, bad_runs, received, bad_trace_ids, bad_span_ids, first_problem })
    }

    /// The request, with its bad spans.
    pub(crate) fn request(&self) -> &Bytes {
        &self.request
    }

    /// How many spans have valid ids.
    pub(crate) fn valid(&self) -> u64 {
        self.received - self.bad_trace_ids - self.bad_span_ids
    }

    /// The push of the valid spans. It refers to the request's bytes; only runs with an invalid span are copied.
    pub(crate) fn push_for(&self, tenant: &TenantId) -> Result<PushRequest, WireError> {
        let slice = |range: &std::ops::Range<usize>| self.request.slice(range.clone());
        let mut runs = Vec::with_capacity(self.walk.runs.len());
        for (number, run) in self.walk.runs.iter().enumerate() {
            let scope_spans = if self.bad_runs.binary_search(&number).is_ok() {
                valid_spans(&self.request[run.scope_spans.clone()])?
            } else {
                slice(&run.scope_spans)
            };
            if !scope_spans.is_empty() {
                let (resource, scope) = (run.resource, run.scope);
                runs.push(SpanRun { resource, scope, scope_spans, origin: 0 });
            }
        }
        Ok(PushRequest {
            tenant: tenant.as_str().to_owned(),
            resources: self.walk.resources.iter().map(slice).collect(),
            scopes: self.walk.scopes.iter().map(slice).collect(),
            runs,
        })
    }
}

/// A copy of the ScopeSpans fields with the valid spans only.
fn valid_spans(scope_spans: &[u8]) -> Result<Bytes, WireError> {
    let mut out = Vec::with_capacity(scope_spans.len());
    let mut reader = Reader::new(scope_spans);
    while let Some((field, value)) = reader.next_field()? {
        if field != 2 {
            continue;
        }
        let message = value.bytes(2)?;
        let (trace_id, span_id) = tactus_model::walk::span_ids(message)?;
        if IdProblem::of(trace_id, span_id).is_none() {
            put_message_field(&mut out, 2, message);
        }
    }
    Ok(out.into())
}

/// What one walk over the valid spans of a request collects.
pub(crate) struct SeenSpans<'a> {
    pub(crate) traces: TraceCount,
    /// If there are several replica sets.
    pub(crate) grouping: Option<Grouping<'a>>,
    /// Set if root spans are counted for adaptive sampling.
    pub(crate) roots: Option<RootSpans<'a>>,
}

impl<'a> SeenSpans<'a> {
    pub(crate) fn new(route: Option<&'a Route>, counts_roots: bool) -> Self {
        let route = route.filter(|route| route.placement.only_set().is_none());
        Self {
            traces: TraceCount::new(),
            grouping: route.map(|route| Grouping::new(&route.placement, route.tokens)),
            roots: counts_roots.then(RootSpans::default),
        }
    }

    pub(crate) fn add(&mut self, span: &SpanView<'a>) {
        self.traces.add(span.trace_id);
        if let Some(grouping) = &mut self.grouping {
            grouping.add(span);
        }
        if let Some(roots) = &mut self.roots {
            roots.see(span);
        }
    }
}
