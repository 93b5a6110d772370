//! TraceQL metrics: series over time, counted from spans.
//!
//! There are two halves, so that sources can be counted separately and in any order. [`CompiledMetrics`] turns batches
//! into [`PartialSeries`] (one [`MetricsCollector`] for each job). [`MetricsCombiner`] adds up the partial series of
//! all jobs, and computes quantiles, averages, second stages and arithmetic from the totals, once. Partial series are
//! sums, minima and the like, so that dividing the data differently never changes the answer.

mod answer;
mod answer_series;
mod arithmetic;
mod buckets;
mod collect;
mod combine;
mod compile;
mod exemplars_answer;
mod gather;
mod graph;
mod grid;
mod leaf_answer;
mod partial;
mod second_stage;

pub use answer::{AnswerOptions, Labels, MetricsAnswer, MetricsError, Series};
pub use buckets::quantile_within_bucket;
pub use collect::MetricsCollector;
pub use combine::MetricsCombiner;
pub(crate) use compile::buckets_are_nanoseconds;
pub use compile::{CompiledMetrics, MetricsOptions};
pub use grid::Grid;
pub use partial::{ComparedSide, Exemplar, LabelValue, PartialSeries, Point, SeriesKey};
