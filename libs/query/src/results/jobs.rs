//! The kinds of jobs, and what their answers depend on.
//!
//! The key of an answer is the whole request except for the fields that are removed here by name. So a new parameter
//! automatically distinguishes answers.

use tactus_proto::tactus::v1::{
    BlockPart, JobExplanation, MetricsInBlockRequest, MetricsResponse, SearchBlockRequest,
    SearchResponse, TagValuesInBlockRequest, TagValuesResponse, TagsInBlockRequest, TagsResponse,
};
use tactus_proto::tempopb::SearchMetrics;
use tactus_storage::Uuid;

use super::{BlockJob, TimeRange};
use crate::metrics::{METADATA, METRICS, SEARCH};

const SECOND: u64 = 1_000_000_000;

/// Longer queries are kept as they are written: all jobs of a query ask for its canonical text.
const MAX_CANONICAL_BYTES: usize = 4 << 10;

/// The same query in one way of writing it.
fn canonical(text: &mut String) {
    if text.len() > MAX_CANONICAL_BYTES {
        return;
    }
    let Ok(query) = tactus_traceql::parse(text) else { return };
    let canonical = query.to_string();
    // A text that means something else, or that says less, must not stand for this one.
    if tactus_traceql::parse(&canonical).is_ok_and(|again| again == query) {
        *text = canonical;
    }
}

/// A range in whole seconds; an end of 0 is none.
fn nanos(start: u32, end: u32) -> (u64, u64) {
    let end = if end == 0 { u64::MAX } else { u64::from(end) * SECOND };
    (u64::from(start) * SECOND, end)
}

/// What jobs for one request on one part of a block have alike: their kind, the operation that they are for, and the
/// field of the request.
macro_rules! asks {
    ($kind:literal, $op:ident, $request:ident) => {
        const KIND: &'static str = $kind;
        const OP: &'static str = $op;

        fn part(&self) -> Option<(&str, &BlockPart)> {
            Some((&self.$request.as_ref()?.tenant, self.part.as_ref()?))
        }
    };
}

impl BlockJob for SearchBlockRequest {
    asks!("sj", SEARCH, search);

    fn explains(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.explain)
    }

    fn essence(&self) -> Self {
        let mut job = self.clone();
        if let Some(search) = &mut job.search {
            search.explain = false;
            canonical(&mut search.query);
        }
        job
    }

    fn any_time(mut self) -> Option<(Self, TimeRange)> {
        let search = self.search.as_mut()?;
        let (start, end) = nanos(search.start, search.end);
        (search.start, search.end) = (0, 0);
        Some((self, TimeRange { start, end, base: 0 }))
    }

    fn restate(answer: &mut SearchResponse, explanations: Vec<JobExplanation>) {
        answer.metrics = Some(SearchMetrics::default());
        answer.explanations = explanations;
    }
}

impl BlockJob for MetricsInBlockRequest {
    asks!("qr", METRICS, metrics);

    fn explains(&self) -> bool {
        self.metrics.as_ref().is_some_and(|metrics| metrics.explain)
    }

    fn essence(&self) -> Self {
        let mut job = Self {
            metrics: self.metrics.clone(),
            part: self.part.clone(),
            counted_block_ids: Vec::new(),
        };
        if let Some(metrics) = &mut job.metrics {
            metrics.explain = false;
            canonical(&mut metrics.query);
        }
        job
    }

    fn counted_blocks(&self) -> Option<Vec<u8>> {
        let ids = self.counted_block_ids.iter();
        let ids = ids.map(|id| Uuid::parse_str(id).map(Uuid::into_bytes));
        let mut ids = ids.collect::<Result<Vec<_>, _>>().ok()?;
        ids.sort_unstable();
        Some(ids.concat())
    }

    /// Intervals that lie alike have the same spans in them, only under other numbers. Exemplars are chosen by chance, so
    /// many of each part of the range: how long it is matters to them.
    fn any_time(mut self) -> Option<(Self, TimeRange)> {
        let metrics = self.metrics.as_mut()?;
        let base = metrics.start_nanos;
        let length = metrics.step_nanos.checked_mul(metrics.intervals.into())?;
        // The start itself belongs to the interval before.
        let (start, end) = (base.checked_add(1)?, base.checked_add(length)?);
        metrics.start_nanos = base.checked_rem(metrics.step_nanos)?;
        if metrics.exemplars == 0 {
            metrics.intervals = 0;
        }
        Some((self, TimeRange { start, end, base }))
    }

    fn rebase(&self, answer: &mut MetricsResponse, base: u64) -> bool {
        let Some(metrics) = &self.metrics else { return false };
        let (old, new, step) =
            (i128::from(base), i128::from(metrics.start_nanos), metrics.step_nanos);
        let Some(shift) = (old - new).checked_div(step.into()) else { return false };
        if (old - new) % i128::from(step) != 0 {
            return false;
        }
        for series in &mut answer.series {
            for interval in &mut series.intervals {
                match u32::try_from(i128::from(*interval) + shift) {
                    Ok(shifted) if shifted < metrics.intervals => *interval = shifted,
                    _ => return false,
                }
            }
        }
        true
    }

    fn restate(answer: &mut MetricsResponse, explanations: Vec<JobExplanation>) {
        answer.metrics = Some(SearchMetrics::default());
        answer.explanations = explanations;
    }
}

/// Jobs for names: tags, and the values of a tag.
macro_rules! names_job {
    ($job:ident, $answer:ident, $kind:literal, $request:ident) => {
        impl BlockJob for $job {
            asks!($kind, METADATA, $request);

            fn explains(&self) -> bool {
                false
            }

            fn essence(&self) -> Self {
                self.clone()
            }

            fn any_time(mut self) -> Option<(Self, TimeRange)> {
                let request = self.$request.as_mut()?;
                let (start, end) = nanos(request.start, request.end);
                (request.start, request.end) = (0, 0);
                Some((self, TimeRange { start, end, base: 0 }))
            }

            fn restate(answer: &mut $answer, _explanations: Vec<JobExplanation>) {
                answer.inspected_bytes = 0;
            }
        }
    };
}

names_job!(TagsInBlockRequest, TagsResponse, "st", tags);
names_job!(TagValuesInBlockRequest, TagValuesResponse, "stv", values);
