//! Which traces may match, judged by some of their spans.
//!
//! Recent data holds the spans of a trace scattered over batches. A trace can only match if some span of it satisfies
//! some filter of the first stage, and that span is in one of the batches.

use tactus_model::{SpanBatch, TraceId};

use super::bitmap::Bitmap;
use super::pipeline::{SpansetPlan, Stage};
use super::query::CompiledQuery;
use super::view::BatchView;

impl CompiledQuery {
    /// The traces of `batch` that may match once all their spans are together, with the earliest start that the
    /// batch knows of each. A trace that is named by none of its batches cannot match.
    pub fn find_candidates(&self, batch: &SpanBatch) -> Vec<(TraceId, u64)> {
        if batch.is_empty() || self.is_never() {
            return Vec::new();
        }
        let view = BatchView::new(batch);
        let spans = match self.stages.first() {
            Some(Stage::Spanset(plan)) if !self.reads_whole_trace => filtered_spans(plan, &view),
            _ => Bitmap::all(view.spans()),
        };
        let mut named = Bitmap::none(view.traces());
        spans.rows().for_each(|row| named.insert(batch.spans.trace[row] as usize));
        let starts = view.trace_times().0;
        let start = |trace: usize| starts.get(trace).copied().unwrap_or(0);
        named.rows().map(|trace| (batch.traces.ids[trace], start(trace))).collect()
    }
}

/// The spans that satisfy any filter of the expression.
pub(crate) fn filtered_spans(plan: &SpansetPlan, view: &BatchView<'_>) -> Bitmap {
    match plan {
        SpansetPlan::Filter(plan) => plan.evaluate(view, &Bitmap::all(view.spans())),
        SpansetPlan::Pipeline(stages) => match stages.first() {
            Some(Stage::Spanset(plan)) => filtered_spans(plan, view),
            _ => Bitmap::all(view.spans()),
        },
        SpansetPlan::Binary { left, right, .. } => {
            let mut spans = filtered_spans(left, view);
            spans.unite(&filtered_spans(right, view));
            spans
        }
    }
}
