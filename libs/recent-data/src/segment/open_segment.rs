//! A segment that a query reads.

use std::{ops::Deref, sync::Arc};

use tactus_model::{SpanBatch, TraceId, merge::TracePart};
use tactus_traceql::eval::Window;

use super::{OpenBatch, Segment, SegmentError};

/// A segment that is being read. It stays readable as long as this exists, even if it is released meanwhile.
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

    /// The spans, sorted by trace id. Call this again before each use, so that unused columns can be dropped.
    ///
    /// If something cannot be read, spans are missing or wrong, and [`Self::failure`] returns the error.
    pub(crate) fn batch(&self) -> Arc<OpenBatch> {
        self.segment.batch().unwrap_or_else(|error| {
            self.segment.slot.state().fail(error);
            Arc::default()
        })
    }

    /// A copy of the traces from `first` to `last`. Read errors are reported as by [`Self::batch`].
    pub(crate) fn slice(&self, batch: &OpenBatch, first: TraceId, last: TraceId) -> SpanBatch {
        self.unless_failed(self.segment.slice(batch, (first, last), None))
    }

    /// A copy of a trace with the columns of a part. Read errors are reported as by [`Self::batch`].
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

    /// The error, if something could not be read since this was opened.
    pub(crate) fn failure(&self) -> Option<SegmentError> {
        self.segment.failure_since(self.failures)
    }

    /// Start of the first and of the last span, in unix nanoseconds.
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

    /// True if some of its traces may overlap the window.
    pub(crate) fn touches(&self, window: Window) -> bool {
        if window.is_unbounded() {
            return true;
        }
        let (first, last) = self.starts();
        // If all spans start at zero, there is no column of starts.
        first > last || window.touches(first, self.ends().1.max(last))
    }

    /// True if all of its traces are certainly within the window.
    pub(crate) fn is_within(&self, window: Window) -> bool {
        let (starts, ends) = (self.starts(), self.ends());
        // A span may end before it starts, by the clock of its host.
        let (first, last) = (starts.0.min(ends.0), starts.1.max(ends.1));
        let Window { start_unix_nanos, end_unix_nanos } = window;
        first > 0 && first >= start_unix_nanos && (end_unix_nanos == 0 || last <= end_unix_nanos)
    }

    /// When the first and the last of its spans end, in unix nanoseconds.
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
