//! Appends the spans of a push, and records which were refused.

use tactus_model::{AppendError, BatchBuilder, CutTraces, TooDeepKey, TraceId};
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
    /// Positions of the refused spans in the push, ascending.
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
        if origin == 0 {
            return;
        }
        if builder.len() > first && self.origins.last() != Some(&origin) {
            self.origins.push(origin);
        }
        if self.refused_spans.len() > refused && self.incomplete.last() != Some(&origin) {
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
    for run in &push.runs {
        let known = is_known(run.origin);
        let (first, refused_before) = (builder.len(), appended.refused_spans.len());
        let result = append_run(builder, push, run, |trace, _| {
            position += 1;
            let was_refused = refused.binary_search(&(position - 1)).is_ok();
            if was_refused {
                appended.refused_spans.push(position - 1);
                // The trace is new: it was refused because of the number of traces, and mostly has no spans at all.
                if !known {
                    appended.cut_traces.add(trace, 1);
                }
            }
            !was_refused && !known
        });
        if let Err(error) = result {
            builder.rollback(mark);
            return Err(error);
        }
        appended.note_run(builder, run.origin, first, refused_before);
    }
    Ok(appended)
}

pub(super) fn append_run(
    builder: &mut BatchBuilder,
    push: &PushRequest,
    run: &SpanRun,
    admit: impl FnMut(TraceId, usize) -> bool,
) -> Result<u64, AppendError> {
    let resource = push.resources.get(run.resource as usize).map_or(&b""[..], |bytes| bytes);
    let scope = push.scopes.get(run.scope as usize).map_or(&b""[..], |bytes| bytes);
    builder.append_run(resource, scope, &run.scope_spans, admit)
}
