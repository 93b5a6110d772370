//! The parts of a trace that were found, before they are combined.

use std::sync::Arc;

use bytes::Bytes;
use tactus_api::trace::{CombineError, SharedIds, TraceCombiner, TraceFacts, WhenTooLarge};
use tactus_api::{Error, Result};
use tactus_model::merge::SpanSlice;
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_storage::blocklist::ListGaps;

use super::{FoundTrace, TraceMemory};

/// Everything that was found, not combined yet.
pub(super) struct Parts {
    /// Of which slice.
    slice: SpanSlice,
    pub(super) traces: Vec<Bytes>,
    memory: Vec<AnswerMemory>,
    pub(super) inspected_bytes: u64,
    pub(super) damaged_blocks: u32,
    /// What the block list lacked.
    pub(super) list_gaps: ListGaps,
    /// Too few ingesters answered.
    pub(super) recent_partial: bool,
    pub(super) is_part: bool,
    /// The most bytes that one answer has, also if they were left out.
    pub(super) part_bytes: u64,
    /// An answer is of a release that gives no columns of queries, and no slices.
    pub(super) is_of_old_release: bool,
    /// At least this many spans of the trace were never stored, because it was too large.
    pub(super) refused_spans: u64,
}

impl Parts {
    pub(super) fn new(memory: &Arc<Bodies>, slice: SpanSlice) -> Self {
        Self {
            slice,
            traces: Vec::new(),
            memory: vec![AnswerMemory::of(memory)],
            inspected_bytes: 0,
            damaged_blocks: 0,
            list_gaps: ListGaps::default(),
            recent_partial: false,
            is_part: false,
            part_bytes: 0,
            is_of_old_release: false,
            refused_spans: 0,
        }
    }

    /// Notes what an answer says of itself.
    pub(super) fn note_part(&mut self, is_part: bool, part_bytes: u64, has_spans: bool) {
        self.is_part |= is_part;
        self.part_bytes = self.part_bytes.max(part_bytes);
        let is_cut = is_part || !self.slice.is_whole();
        self.is_of_old_release |= is_cut && has_spans && part_bytes == 0;
    }

    /// With what was found of another slice.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.traces.extend(other.traces);
        self.memory.extend(other.memory);
        // Each slice is read out of the same places.
        self.inspected_bytes = self.inspected_bytes.saturating_add(other.inspected_bytes);
        self.damaged_blocks = self.damaged_blocks.max(other.damaged_blocks);
        self.list_gaps = self.list_gaps.max(other.list_gaps);
        self.recent_partial |= other.recent_partial;
        self.is_part |= other.is_part;
        self.is_of_old_release |= other.is_of_old_release;
        self.refused_spans = self.refused_spans.max(other.refused_spans);
        self
    }

    pub(super) fn bytes(&self) -> usize {
        self.traces.iter().map(Bytes::len).sum()
    }

    /// Errors: [`Error::TooManyBytes`].
    pub(super) async fn add(&mut self, trace: Bytes) -> Result<()> {
        if let Some(memory) = self.memory.last_mut() {
            let taken = memory.add(trace.len() as u64).await;
            taken.map_err(|NoRoom| Error::TooManyBytes)?;
        }
        self.traces.push(trace);
        Ok(())
    }
}

/// What there is to say of a trace of which spans were not taken when they came, or left out when blocks were merged.
fn refused_message(spans: u64) -> String {
    format!(
        "Trace exceeded its maximum size (max_bytes_per_trace) when it was received or merged: \
         {spans} spans or more were left out, a partial trace is returned"
    )
}

/// What a trace may have.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    /// 0: any size.
    pub(super) max_bytes: u64,
    /// Bytes of other slices of the trace, which count as well.
    pub(super) before: u64,
    pub(super) when_too_large: WhenTooLarge,
}

impl Limit {
    /// The most bytes of what is left of a trace, of which so many spans were refused; 0: any size.
    fn left(self, refused_spans: u64) -> u64 {
        // Ingesters that cut a trace may each have kept other spans of it: they are to be seen, not refused or cut once
        // more.
        let slack = if refused_spans > 0 { self.max_bytes / 4 } else { 0 };
        match self.max_bytes {
            0 => 0,
            limit => limit.saturating_add(slack).saturating_sub(self.before).max(1),
        }
    }
}

pub(super) fn combine(parts: Parts, limit: Limit, shared_ids: SharedIds) -> Result<FoundTrace> {
    let Limit { max_bytes, when_too_large, .. } = limit;
    let mut combiner = TraceCombiner::new(limit.left(parts.refused_spans), when_too_large);
    for part in &parts.traces {
        combiner.add(part).map_err(|error| match error {
            CombineError::TooLarge { .. } => Error::TraceTooLarge { max_bytes },
            error => Error::Internal(error.to_string()),
        })?;
    }
    let trace = combiner.finish(shared_ids);
    let mut messages = Vec::new();
    if trace.truncated {
        messages.push(format!(
            "Trace exceeds maximum size of {max_bytes} bytes, a partial trace is returned"
        ));
    }
    if parts.refused_spans > 0 && !trace.is_empty() {
        messages.push(refused_message(parts.refused_spans));
    }
    if parts.damaged_blocks > 0 {
        messages.push(format!("{} damaged blocks could not be read", parts.damaged_blocks));
    }
    messages.extend(parts.list_gaps.messages());
    if parts.recent_partial {
        messages.push("too few ingesters answered, recent spans may be missing".to_owned());
    }
    let facts = TraceFacts {
        inspected_bytes: parts.inspected_bytes,
        partial: !messages.is_empty(),
        message: messages.join("; "),
    };
    let memory = TraceMemory { held: parts.memory.into_iter().map(Arc::new).collect() };
    Ok(FoundTrace { trace, facts, is_part: parts.is_part, memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_of_all_slices_together() {
        let limit = Limit { max_bytes: 1_000, before: 700, when_too_large: WhenTooLarge::Cut };
        assert_eq!((limit.left(0), limit.left(5)), (300, 550));
        let full = Limit { before: 1_000, ..limit };
        assert_eq!((full.left(0), full.left(5)), (1, 250), "0 would be any size");
        assert_eq!(Limit { max_bytes: 0, ..limit }.left(5), 0);
    }
}
