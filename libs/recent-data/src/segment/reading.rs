//! A segment in the hands of a reader.

use std::{ops::Deref, sync::Arc};

use tactus_model::{SpanBatch, TraceId, merge::TracePart};
use tactus_traceql::eval::Window;

use super::{OpenBatch, Segment, SegmentError};

/// A segment that somebody reads. It stays readable as long as this lives, whatever becomes of it.
#[derive(Debug, Clone)]
pub(crate) struct OpenSegment {
    segment: Arc<Segment>,
    failures: u64,
}

impl OpenSegment {
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        let failures = segment.failures();
        Self { segment, failures }
    }

    /// The segment.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The spans, sorted by trace id. Take them anew for each look: what nobody holds may be forgotten.
    ///
    /// Where something cannot be read there are no spans, or wrong ones, and [`Self::failure`] says so.
    pub(crate) fn batch(&self) -> Arc<OpenBatch> {
        self.segment.batch().unwrap_or_else(|error| {
            self.segment.slot.state().fail(error);
            Arc::default()
        })
    }

    /// A copy of the traces from `first` to `last`; where it cannot be read see [`Self::batch`].
    pub(crate) fn slice(&self, batch: &OpenBatch, first: TraceId, last: TraceId) -> SpanBatch {
        self.unless_failed(self.segment.slice(batch, (first, last), None))
    }

    /// A copy of a trace with the columns of a part; where it cannot be read see [`Self::batch`].
    pub(crate) fn columns_of(
        &self,
        batch: &OpenBatch,
        trace: TraceId,
        part: &TracePart,
    ) -> SpanBatch {
        self.unless_failed(self.segment.slice(batch, (trace, trace), part.besides.as_ref()))
    }

    fn unless_failed(&self, slice: Result<SpanBatch, SegmentError>) -> SpanBatch {
        slice.unwrap_or_else(|error| {
            self.segment.slot.state().fail(error);
            SpanBatch::default()
        })
    }

    /// What could not be read of it.
    pub(crate) fn failure(&self) -> Option<SegmentError> {
        self.segment.failure_since(self.failures)
    }

    /// When the first and the last of its spans start, unix nanoseconds.
    pub(crate) fn starts(&self) -> (u64, u64) {
        if let Some(known) = self.segment.starts.get() {
            return *known;
        }
        let batch = self.batch();
        let starts = batch.spans.start.iter();
        let starts = starts.fold((u64::MAX, 0), |(first, last), &it| (first.min(it), last.max(it)));
        match self.failure() {
            None => *self.segment.starts.get_or_init(|| starts),
            Some(_) => starts,
        }
    }

    /// True if some of its traces may have a moment in common with the window.
    pub(crate) fn touches(&self, window: Window) -> bool {
        if window.is_unbounded() {
            return true;
        }
        let (first, last) = self.starts();
        // Spans that all start at zero have no column of starts.
        first > last || window.touches(first, self.ends().1)
    }

    /// True if all of its traces are within the window for certain.
    pub(crate) fn is_within(&self, window: Window) -> bool {
        let (starts, ends) = (self.starts(), self.ends());
        // A span may end before it starts, by the clock of its host.
        let (first, last) = (starts.0.min(ends.0), starts.1.max(ends.1));
        let Window { start_unix_nanos, end_unix_nanos } = window;
        first > 0 && first >= start_unix_nanos && (end_unix_nanos == 0 || last <= end_unix_nanos)
    }

    /// When the first and the last of its spans end, unix nanoseconds.
    fn ends(&self) -> (u64, u64) {
        if let Some(known) = self.segment.ends.get() {
            return *known;
        }
        let batch = self.batch();
        // A column of zeros is not there.
        let duration = |row| batch.spans.duration.get(row).copied().unwrap_or(0);
        let starts = batch.spans.start.iter().enumerate();
        let ends = starts.map(|(row, start)| start.wrapping_add(duration(row)));
        let ends = ends.fold((u64::MAX, 0), |(first, last), it| (first.min(it), last.max(it)));
        match self.failure() {
            None => *self.segment.ends.get_or_init(|| ends),
            Some(_) => ends,
        }
    }
}

impl Deref for OpenSegment {
    type Target = Segment;

    fn deref(&self) -> &Segment {
        &self.segment
    }
}
