//! Appends the spans of a push, and records which were refused.

use tactus_model::{AppendError, BatchBuilder, CutTraces, KnownOwners, RunMessages, TooDeepKey};
use tactus_proto::tactus::v1::{PushRequest, SpanRun};

/// Spans of a push that were refused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) too_large: u64,
    pub(crate) too_many_traces: u64,
    pub(crate) too_deep: u64,
    pub(crate) bad_ids: u64,
}

/// The outcome of an accepted push.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) spans: u64,
    pub(crate) refused: Refused,
    /// Key of an attribute that was nested too deeply.
    pub(crate) too_deep_key: Option<TooDeepKey>,
    /// Positions of the refused spans in the push, ascending; those refused because there were too many traces twice.
    pub(crate) refused_spans: Vec<u32>,
    pub(crate) truncated_attributes: u64,
    /// Origins with stored spans. An origin may appear more than once.
    pub(crate) origins: Vec<u64>,
    /// Origins of which this ingester refused some spans that others may have stored.
    pub(crate) incomplete: Vec<u64>,
    /// Traces that lost spans because they were too large.
    pub(crate) cut_traces: CutTraces,
    /// True if one of these traces had lost no span before, since the last cut.
    pub(crate) cuts_anew: bool,
}

impl Appended {
    /// Sets the origin of a run's spans, and records how many were stored or refused. `first` and `refused` are the
    /// numbers of spans and refused spans before the run.
    pub(super) fn note_run(
        &mut self,
        builder: &mut BatchBuilder,
        origin: u64,
        first: usize,
        refused: usize,
    ) {
        builder.set_origin(first, origin);
        self.note_origin(origin, builder.len() > first, self.refused_spans.len() > refused);
    }

    /// Notes whether spans of a run were stored, and whether some were refused.
    pub(super) fn note_origin(&mut self, origin: u64, has_stored: bool, has_refused: bool) {
        if origin == 0 {
            return;
        }
        if has_stored && self.origins.last() != Some(&origin) {
            self.origins.push(origin);
        }
        if has_refused && self.incomplete.last() != Some(&origin) {
            self.incomplete.push(origin);
        }
    }
}

/// Appends a push from the log, all or nothing, except for the spans that were refused when it came in and those with
/// known origins.
pub(crate) fn append_replayed(
    builder: &mut BatchBuilder,
    push: &PushRequest,
    refused: &[u32],
    is_known: impl Fn(u64) -> bool,
) -> Result<Appended, AppendError> {
    let mark = builder.mark();
    let mut appended = Appended::default();
    let mut position = 0;
    let mut owners = KnownOwners::default();
    for run in &push.runs {
        let known = is_known(run.origin);
        let (first, refused_before) = (builder.len(), appended.refused_spans.len());
        let result = builder.append_next_run(&mut owners, messages_of(push, run), |trace, _| {
            position += 1;
            let found = occurrences(refused, position - 1);
            appended.refused_spans.extend_from_slice(found);
            if found.len() == 1 && !known {
                appended.cut_traces.add(trace, 1);
            }
            found.is_empty() && !known
        });
        if let Err(error) = result {
            builder.rollback(mark);
            return Err(error);
        }
        appended.note_run(builder, run.origin, first, refused_before);
    }
    Ok(appended)
}

/// A position as often as the ascending `positions` have it.
fn occurrences(positions: &[u32], position: u32) -> &[u32] {
    let from = &positions[positions.partition_point(|at| *at < position)..];
    &from[..from.partition_point(|at| *at == position)]
}

/// A run with its resource and scope.
pub(super) fn messages_of<'a>(push: &'a PushRequest, run: &'a SpanRun) -> RunMessages<'a> {
    RunMessages {
        resource: push.resources.get(run.resource as usize).map_or(b"", |bytes| bytes),
        scope: push.scopes.get(run.scope as usize).map_or(b"", |bytes| bytes),
        scope_spans: &run.scope_spans,
        origin: run.origin,
    }
}
