//! The series of a query while the answers of its jobs arrive.

use std::sync::Arc;

use parking_lot::Mutex;
use tactus_api::metrics::from_message;
use tactus_api::{Error, Result};
use tactus_proto::tactus::v1::{MetricsResponse, MetricsSeries};
use tactus_traceql::metrics::{Grid, MetricsAnswer, MetricsCombiner};
use tactus_work::{Held, Work};

use crate::current_query::current_work;
use crate::jobs::Outcome;
use crate::long_work::{give_way, pause};
use crate::offload::{hold, offload};
use crate::progress::series_bytes;

/// Answers with more points are added away from the threads that serve connections.
const INLINE_POINTS: usize = 10_000;
/// Series that take more bytes are finished away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;
/// Series that take more bytes are not copied for an answer on the way.
const SNAPSHOT_BYTES: usize = 32 << 20;

/// Where the jobs of a query add their series.
#[derive(Clone)]
pub(super) struct Sum {
    /// Whoever adds to it may wait for memory meanwhile, so threads that serve connections do not wait for it.
    combiner: Arc<Mutex<Option<MetricsCombiner>>>,
    intervals: usize,
    /// For copies, which are made outside of the query's task.
    work: Work,
}

impl Sum {
    /// For the query of this task.
    pub(super) fn new(combiner: MetricsCombiner, grid: &Grid) -> Self {
        Self {
            combiner: Arc::new(Mutex::new(Some(combiner))),
            intervals: grid.intervals(),
            work: current_work().giving_way(give_way),
        }
    }

    /// Adds the series of an answer, and returns the rest of it.
    pub(super) async fn add(
        self,
        outcome: Outcome<MetricsResponse>,
    ) -> Result<Outcome<MetricsResponse>> {
        let Outcome::Answer(mut answer) = outcome else { return Ok(outcome) };
        let series = std::mem::take(&mut answer.series);
        let points: usize = series.iter().map(|series| series.intervals.len()).sum();
        // Each series gets a place for every interval.
        let is_long = points.max(series.len() * self.intervals) > INLINE_POINTS;
        let mut held = Held::default();
        hold(&mut held, series_bytes(&series)).await?;
        let mut left = Some(series);
        if !is_long {
            let sum = self.clone();
            let series = left.take();
            left = offload(false, move || match sum.combiner.try_lock() {
                Some(mut combiner) => add(&mut combiner, series).map(|()| None),
                None => Ok(series),
            })
            .await??;
        }
        if left.is_some() {
            offload(true, move || {
                let _held = held;
                // Whoever has it may let others go first.
                let mut combiner = pause(|| self.combiner.lock());
                add(&mut combiner, left)
            })
            .await??;
        }
        Ok(Outcome::Answer(answer))
    }

    /// The answer to what was added so far, and its memory; `None` if the series are many, some are being added, there is no
    /// memory left for them, or the query ended.
    pub(super) fn snapshot(&self) -> Option<(MetricsAnswer, Held)> {
        let copy = || {
            let combiner = self.combiner.try_lock()?;
            let combiner = combiner.as_ref().filter(|sum| sum.heap_bytes() <= SNAPSHOT_BYTES)?;
            Some(combiner.copy())
        };
        self.work.run(|| finish(copy()?).ok()).ok().flatten()
    }

    /// The answer to what was added, and its memory.
    pub(super) async fn finish(&self) -> Result<(MetricsAnswer, Held)> {
        let now = self.combiner.try_lock().map(|mut sum| sum.take());
        let taken = match now {
            Some(taken) => taken,
            None => {
                let sum = Arc::clone(&self.combiner);
                offload(true, move || pause(|| sum.lock()).take()).await?
            }
        };
        let Some(combiner) = taken else { return Ok(Default::default()) };
        offload(combiner.heap_bytes() > INLINE_BYTES, move || finish(combiner)).await?
    }
}

/// Adds series, unless the query has ended.
fn add(combiner: &mut Option<MetricsCombiner>, series: Option<Vec<MetricsSeries>>) -> Result<()> {
    let Some(combiner) = combiner else { return Ok(()) };
    for part in series.into_iter().flatten() {
        let part = from_message(part).map_err(|error| Error::Internal(error.to_string()));
        combiner.add([part?])?;
    }
    Ok(())
}

fn finish(combiner: MetricsCombiner) -> Result<(MetricsAnswer, Held)> {
    let answer = combiner.finish()?;
    let held = Held::of(answer.heap_bytes());
    Ok((answer, held))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::current_query::{as_query, new_number};
    use tactus_proto::otlp::{AnyValue, any_value::Value};
    use tactus_traceql::metrics::AnswerOptions;
    use tactus_work::memory::{Budget, QueryMemory};

    fn answer(first: i64) -> Outcome<MetricsResponse> {
        let series = |number| MetricsSeries {
            labels: vec![AnyValue { value: Some(Value::IntValue(number)) }],
            intervals: vec![0],
            values: vec![1.0],
            ..MetricsSeries::default()
        };
        let series = (first..first + 5_000).map(series).collect();
        Outcome::Answer(MetricsResponse { series, ..MetricsResponse::default() })
    }

    /// The series of a query for which this many answers are added.
    async fn run(memory: &Arc<QueryMemory>, answers: i64) -> Result<usize> {
        let root = tactus_traceql::parse("{ } | rate() by (span.n)").unwrap();
        let query = async {
            let grid = Grid::range(0, 60, 60, None);
            let sum = Sum::new(MetricsCombiner::new(&root, grid, AnswerOptions::default()), &grid);
            for number in 0..answers {
                sum.clone().add(answer(number * 5_000)).await?;
            }
            assert!(sum.snapshot().is_some());
            let (answer, held) = sum.finish().await?;
            assert!(memory.used() > 0 && held.has_room());
            Ok(answer.series.len())
        };
        as_query(new_number(), &[], Duration::ZERO, Duration::ZERO, Some(memory), query).await
    }

    #[tokio::test]
    async fn series_of_all_queries_have_one_bound_and_are_given_back() {
        let all = Budget::new(20_000_000);
        let memory = QueryMemory::within(&all);
        assert_eq!(run(&memory, 2).await, Ok(10_000));
        assert_eq!(memory.used(), 0);
        let alone = run(&memory, 20).await.unwrap_err();
        let too_large = tactus_work::Over::TooLarge { limit: 20_000_000 };
        assert_eq!(alone, Error::NeedsTooMuchMemory(too_large.to_string()));
        assert_eq!(memory.used(), 0);
        let _others = all.reserve(19_000_000).unwrap();
        assert_eq!(run(&memory, 2).await, Err(Error::TooManyBytes));
        assert_eq!(memory.used(), 19_000_000);
    }
}
