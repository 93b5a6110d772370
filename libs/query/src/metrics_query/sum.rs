//! The series of a query while its jobs come in.

use std::sync::Arc;

use parking_lot::Mutex;
use tactus_api::metrics::from_message;
use tactus_api::{Error, Result};
use tactus_proto::tactus::v1::MetricsResponse;
use tactus_traceql::metrics::{MetricsAnswer, MetricsCombiner};

use crate::jobs::Outcome;
use crate::offload::offload;

/// Answers with more points are added away from the threads that serve connections.
const INLINE_POINTS: usize = 10_000;
/// Series that take more bytes are finished away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;
/// Series that take more bytes are not copied for an answer on the way.
const SNAPSHOT_BYTES: usize = 32 << 20;

/// Where the jobs of a query add their series.
#[derive(Clone)]
pub(super) struct Sum(Arc<Mutex<Option<MetricsCombiner>>>);

impl Sum {
    pub(super) fn new(combiner: MetricsCombiner) -> Self {
        Self(Arc::new(Mutex::new(Some(combiner))))
    }

    /// Adds the series of an answer, and returns the rest of it.
    pub(super) async fn add(
        self,
        outcome: Outcome<MetricsResponse>,
    ) -> Result<Outcome<MetricsResponse>> {
        let Outcome::Answer(mut answer) = outcome else { return Ok(outcome) };
        let series = std::mem::take(&mut answer.series);
        let points: usize = series.iter().map(|series| series.intervals.len()).sum();
        let add = move || {
            let parts = series.into_iter().map(from_message).collect::<Result<_, _>>();
            let parts = parts.map_err(|error| Error::Internal(error.to_string()))?;
            match &mut *self.0.lock() {
                Some(combiner) => combiner.add(parts).map_err(Error::from),
                // The query ended.
                None => Ok(()),
            }
        };
        offload(points > INLINE_POINTS, add).await??;
        Ok(Outcome::Answer(answer))
    }

    /// The answer to what was added so far; `None` if the series are many, or the query ended.
    pub(super) fn snapshot(&self) -> Option<MetricsAnswer> {
        let combiner =
            self.0.lock().as_ref().filter(|sum| sum.heap_bytes() <= SNAPSHOT_BYTES).cloned();
        combiner?.finish().ok()
    }

    /// The answer to what was added.
    pub(super) async fn finish(&self) -> Result<MetricsAnswer> {
        let Some(combiner) = self.0.lock().take() else { return Ok(MetricsAnswer::default()) };
        let finished = offload(combiner.heap_bytes() > INLINE_BYTES, move || combiner.finish());
        Ok(finished.await??)
    }
}
