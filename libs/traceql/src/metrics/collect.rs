//! Counts the spans of batches.
//!
//! A batch is counted column by column: first the rows that the pipeline leaves, then the interval of each, the number
//! of its series and its measured value, and finally one pass that adds up. Labels become text once for each batch and
//! value, not for each span.

pub(super) mod cells;
mod compare;
mod exemplars;
mod graph;
mod labels;
mod measure;
mod measured;
mod rows;
mod sample;
mod series;

use std::collections::HashMap;

use tactus_model::SpanBatch;
use tactus_work::{Held, is_over, tick};

use self::compare::{AttributeNumber, ComparedRows, Comparison};
use self::exemplars::Exemplars;
use self::graph::GraphCounts;
use self::labels::{Labels, SeriesColumn};
use self::measured::{Measured, unit};
use self::rows::{Reach, Rows};
use self::sample::Sample;
use self::series::{SeriesNumber, SeriesTable};
use super::compile::{CompiledMetrics, Function, Leaf};
use super::{Exemplar, Grid, LabelValue, MetricsError, PartialSeries, SeriesKey};
use crate::eval::operand::Operand;
use crate::eval::pipeline::{self, SpansetPlan, Spansets, Stage};
use crate::eval::plan::Plan;
use crate::eval::view::{BatchView, column};
use crate::eval::{Bitmap, EvaluateError};

/// Limit on the number of intervals. No grid that can be answered has as many.
const MOST_INTERVALS: usize = 1 << 24;

/// Estimated bytes of a row while its batch is counted: its index, its value and the key of its series.
const ROW_BYTES: usize = 128;
/// Estimated bytes for each row and label: its number, also in a table.
const LABEL_BYTES: usize = 12;

/// The series of one job while its batches are processed.
#[derive(Debug)]
pub struct MetricsCollector {
    leaves: Vec<Counts>,
    sample: Sample,
    inspected: u64,
    matched: u64,
}

/// The series of one function.
#[derive(Debug)]
enum Counts {
    Series { labels: Vec<Labels>, series: SeriesTable, exemplars: Option<Exemplars<SeriesNumber>> },
    Compared { comparison: Comparison, exemplars: Option<Exemplars<(bool, Vec<AttributeNumber>)>> },
    Graph(GraphCounts),
}

/// A batch and what all functions ask of it.
struct Offer<'a> {
    view: &'a BatchView<'a>,
    starts: &'a [u64],
    reach: Reach,
    /// The spans that are looked at; `None`: all.
    sample: Option<Bitmap>,
    /// The spans that may be counted; `None`: all.
    counted: Option<Bitmap>,
}

impl MetricsCollector {
    /// A collector without series.
    pub fn new(query: &CompiledMetrics) -> Self {
        let counts = |leaf: &Leaf| match &leaf.function {
            Function::Series { by, .. } => Counts::Series {
                labels: by.iter().map(|_| Labels::default()).collect(),
                series: SeriesTable::default(),
                exemplars: Exemplars::new(leaf.exemplars, query.grid),
            },
            Function::Compare { top_n, .. } => Counts::Compared {
                comparison: Comparison::new(*top_n),
                exemplars: Exemplars::new(leaf.exemplars, query.grid),
            },
            Function::Graph { .. } => Counts::Graph(GraphCounts::default()),
        };
        Self {
            leaves: query.leaves.iter().map(counts).collect(),
            sample: Sample::default(),
            inspected: 0,
            matched: 0,
        }
    }

    /// Counts the spans of a batch that the query finds. If `counted` is given, only spans in it are counted; the
    /// others take part in the pipeline. `query` must be the one the collector was created for, and the batch must have
    /// the columns of its projection.
    ///
    /// Errors: the query cannot be evaluated on this data, or the series became too large. After an error, do not use
    /// the collector again.
    pub fn observe(
        &mut self,
        query: &CompiledMetrics,
        batch: &SpanBatch,
        counted: Option<&Bitmap>,
    ) -> Result<(), MetricsError> {
        self.inspected += counted.map_or(batch.len(), Bitmap::count) as u64;
        if batch.is_empty() || query.is_never() {
            return Ok(());
        }
        let view = BatchView::new(batch);
        let sample = self.sample.take(query.sampling, &view);
        let Some(starts) = column(&batch.spans.start, batch.len()) else { return Ok(()) };
        let Some(reach) = Reach::of(query.grid, starts) else { return Ok(()) };
        if reach.first + reach.width > MOST_INTERVALS {
            return Err(MetricsError::TooLarge { limit_bytes: query.options.max_bytes });
        }
        let mut allowed = counted.cloned();
        if !reach.is_whole {
            let inside = reach.inside(query.grid, starts);
            allowed = Some(match allowed {
                None => inside,
                Some(mut counted) => {
                    counted.intersect(&inside);
                    counted
                }
            });
        }
        let offer = Offer { view: &view, starts, reach, sample, counted: allowed };
        for (leaf, counts) in query.leaves.iter().zip(&mut self.leaves) {
            if tick(1 + (batch.len() / 16) as u32) {
                break;
            }
            if let (Counts::Graph(counts), Function::Graph { parts, by }) =
                (&mut *counts, &leaf.function)
            {
                // Edges are sampled, not spans, because an edge is found only if both of its spans are there.
                let matched = offer.kept(leaf, None)?;
                self.matched +=
                    counts.observe(query, (parts, *by), matched.as_ref(), &offer) as u64;
                continue;
            }
            let rows = offer.rows(leaf)?;
            if rows.len() > 0 {
                self.matched += counts.observe(query, leaf, rows, &offer) as u64;
            }
        }
        let limit_bytes = query.options.max_bytes;
        if limit_bytes > 0 && self.heap_bytes() > limit_bytes {
            return Err(MetricsError::TooLarge { limit_bytes });
        }
        Ok(())
    }

    /// Spans of all batches so far that might be counted. A span that is in several batches might be counted in one of
    /// them.
    pub fn inspected_spans(&self) -> u64 {
        self.inspected
    }

    /// Spans that were counted, once for each function of the query that counted them.
    pub fn matched_spans(&self) -> u64 {
        self.matched
    }

    /// Approximate bytes of series, points and labels.
    pub fn heap_bytes(&self) -> usize {
        let bytes = |counts: &Counts| match counts {
            Counts::Series { labels, series, .. } => {
                series.heap_bytes() + labels.iter().map(Labels::heap_bytes).sum::<usize>()
            }
            Counts::Compared { comparison, .. } => comparison.heap_bytes(),
            Counts::Graph(counts) => counts.heap_bytes(),
        };
        self.leaves.iter().map(bytes).sum()
    }

    /// Takes its memory, which counts as used until the result is dropped. For what is made of the series.
    pub fn take_held(&mut self) -> Vec<Held> {
        let held = |counts: &mut Counts| match counts {
            Counts::Series { labels, series, exemplars } => {
                let held = labels.iter_mut().map(Labels::take_held).chain([series.take_held()]);
                held.chain(exemplars.iter_mut().map(Exemplars::take_held)).collect()
            }
            Counts::Compared { comparison, exemplars } => {
                let mut held = comparison.take_held();
                held.extend(exemplars.iter_mut().map(Exemplars::take_held));
                held
            }
            Counts::Graph(counts) => counts.take_held(),
        };
        let of_leaves = self.leaves.iter_mut().flat_map(held);
        of_leaves.collect()
    }

    /// Lets the collectors of one source scale what they sampled by the same factor, whichever of them saw which batch.
    pub fn share_sample(collectors: &mut [Self]) {
        let all = collectors.iter().fold(Sample::default(), |all, one| all.joined(one.sample));
        collectors.iter_mut().for_each(|collector| collector.sample = all);
    }

    /// The series that have points, in no order.
    pub fn finish(self, query: &CompiledMetrics) -> Vec<PartialSeries> {
        let scale = self.sample.scale();
        let mut finished = Vec::new();
        for (number, (leaf, counts)) in query.leaves.iter().zip(self.leaves).enumerate() {
            finished.extend(counts.finish(number as u32, leaf, query.grid, scale));
        }
        finished
    }
}

impl Offer<'_> {
    /// The spans that a leaf counts, provided that they have the measured value.
    fn rows(&self, leaf: &Leaf) -> Result<Rows, EvaluateError> {
        let mut spans = self.kept(leaf, self.sample.clone())?;
        if let Some(counted) = &self.counted {
            match &mut spans {
                Some(spans) => spans.intersect(counted),
                None => return Ok(Rows::of(counted)),
            }
        }
        Ok(spans.map_or(Rows::All(self.view.spans()), |spans| Rows::of(&spans)))
    }

    /// Those of `spans` (`None`: all of the batch) that the pipeline of a leaf leaves; `None`: all of the batch.
    fn kept(&self, leaf: &Leaf, spans: Option<Bitmap>) -> Result<Option<Bitmap>, EvaluateError> {
        if leaf.stages.iter().all(keeps_everything) {
            return Ok(spans);
        }
        let view = self.view;
        let mut all = spans.unwrap_or_else(|| Bitmap::all(view.spans()));
        // Filters do not need to know which span belongs to which trace.
        if leaf.stages.iter().all(|stage| filter_of(stage).is_some()) {
            for plan in leaf.stages.iter().filter_map(filter_of) {
                if all.is_empty() || tick(1 + (view.spans() / 16) as u32) {
                    break;
                }
                let found = plan.evaluate(view, &all);
                all.intersect(&found);
            }
            return Ok(Some(all));
        }
        Ok(Some(pipeline::run(&leaf.stages, Spansets::of_traces(view, all), view)?.spans))
    }
}

fn filter_of(stage: &Stage) -> Option<&Plan> {
    match stage {
        Stage::Spanset(SpansetPlan::Filter(plan)) => Some(plan),
        _ => None,
    }
}

fn keeps_everything(stage: &Stage) -> bool {
    matches!(stage, Stage::Spanset(SpansetPlan::Filter(Plan::Constant(true))))
}

impl Counts {
    /// Counts spans. Returns how many of them had the measured value.
    fn observe(
        &mut self,
        query: &CompiledMetrics,
        leaf: &Leaf,
        rows: Rows,
        offer: &Offer<'_>,
    ) -> usize {
        match (self, &leaf.function) {
            (
                Counts::Series { labels, series, exemplars },
                Function::Series { measured: function, by_size, by },
            ) => {
                let measured = Measured::of(function, *by_size, rows, offer.view);
                if measured.rows.len() == 0 {
                    return 0;
                }
                let by: Vec<_> =
                    by.iter().map(|attribute| Operand::bind_label(attribute, offer.view)).collect();
                let _columns = Held::of(measured.rows.len() * (ROW_BYTES + by.len() * LABEL_BYTES));
                if is_over() {
                    return 0;
                }
                let columns = SeriesColumn::of(&by, &measured.rows, offer.view, labels);
                measured.add_up(query, function.joining(), &columns, offer, series);
                if let Some(exemplars) = exemplars {
                    exemplars.choose(&measured.rows, offer.view);
                    let describe = |place| {
                        let key = measured.key(&columns, place);
                        let number = series.find(&key).unwrap_or_else(|| series.number(&key));
                        (measured.shown_value(function, place, offer.view), number)
                    };
                    exemplars.look_at(&measured.rows, offer.view, &leaf.shown, describe, |_| 1);
                }
                measured.rows.len()
            }
            (
                Counts::Compared { comparison, exemplars },
                Function::Compare { selection, start, end, .. },
            ) => {
                let selected = selection.evaluate(offer.view, &Bitmap::all(offer.view.spans()));
                let is_bounded = (*start, *end) != (0, 0);
                let sides = rows.map(|row| {
                    let at = offer.starts[row];
                    selected.contains(row) && (!is_bounded || (at > *start && at <= *end))
                });
                let (reach, starts) = (&offer.reach, offer.starts);
                let weights = query.weighing.map(|by| sample::weights(by, &rows, offer.view));
                let compared = ComparedRows { rows: &rows, sides, reach, starts, weights };
                comparison.observe(&compared, offer.view);
                if let Some(exemplars) = exemplars {
                    exemplars.choose(&rows, offer.view);
                    let describe = |place| {
                        let attributes = comparison.attributes_of(rows.at(place), offer.view);
                        (None, (compared.sides[place], attributes))
                    };
                    let copies = |(_, attributes): &(bool, Vec<_>)| attributes.len();
                    exemplars.look_at(&rows, offer.view, &leaf.shown, describe, copies);
                }
                rows.len()
            }
            // A collector of another query.
            _ => 0,
        }
    }

    fn finish(self, number: u32, leaf: &Leaf, grid: Grid, scale: f64) -> Vec<PartialSeries> {
        let inside = |exemplar: &Exemplar| grid.interval_of(exemplar.start_unix_nanos).is_some();
        match (self, &leaf.function) {
            (Counts::Series { labels, series, exemplars }, Function::Series { measured, .. }) => {
                let mut of_series: HashMap<SeriesNumber, Vec<Exemplar>> = HashMap::new();
                let found = exemplars.into_iter().flat_map(Exemplars::finish);
                for (series, exemplar) in found.filter(|(_, exemplar)| inside(exemplar)) {
                    of_series.entry(series).or_default().push(exemplar);
                }
                let (joining, unit) = (measured.joining(), unit(measured));
                series
                    .into_series()
                    .map(|(key, series, points)| {
                        let (bucket, numbers) = match key.split_last() {
                            Some((&bucket, numbers)) => (bucket as u8, numbers),
                            None => (0, &[][..]),
                        };
                        let values = numbers.iter().zip(&labels);
                        let values: Vec<LabelValue> =
                            values.map(|(&number, labels)| labels.value(number).clone()).collect();
                        PartialSeries {
                            leaf: number,
                            key: SeriesKey::Group {
                                values,
                                bucket: (bucket > 0).then_some(bucket),
                            },
                            points: points.finish(joining, scale, unit),
                            exemplars: of_series.remove(&series).unwrap_or_default(),
                        }
                    })
                    .collect()
            }
            (Counts::Compared { comparison, exemplars }, Function::Compare { .. }) => {
                let mut of_total: HashMap<_, Vec<Exemplar>> = HashMap::new();
                for ((side, attributes), exemplar) in
                    exemplars.into_iter().flat_map(Exemplars::finish)
                {
                    for attribute in attributes {
                        of_total.entry((attribute, side)).or_default().push(exemplar.clone());
                    }
                }
                comparison.finish(number, scale, of_total)
            }
            (Counts::Graph(counts), Function::Graph { .. }) => counts.finish(number, scale),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
