//! Intermediate results of metrics queries.

use std::ops::Range;

use tactus_api::metrics::{MetricsFacts, instant_response, range_response};
use tactus_proto::tempopb::{QueryInstantResponse, QueryRangeResponse, SearchMetrics};
use tactus_traceql::metrics::{Grid, MetricsAnswer};
use tactus_traceql::{MetricsExpression, MetricsStage, RootExpr, SecondStage};
use tactus_work::Held;

use super::outlet::Outlet;
use super::packets;
use super::pending::Pending;
use crate::offload::offload_later;

/// What a streamed metrics query shows of itself.
#[derive(Debug)]
pub(crate) struct MetricsProgress {
    differences: Differences,
    /// Jobs by the number of intervals up to the last that they may count in.
    pub(crate) pending: Pending,
    shows_series: bool,
    packet_bytes: usize,
}

/// Makes the answer to what was counted so far, with its memory; `None` if that would cost too much, or the query ended.
pub(crate) type Snapshot = Box<dyn FnOnce() -> Option<(MetricsAnswer, Held)> + Send>;

#[derive(Debug)]
enum Differences {
    /// Points of intervals that no job counts in any more. All from `sent` on were sent.
    Range { outlet: Outlet<QueryRangeResponse>, sent: u64 },
    /// All series as they are.
    Instant(Outlet<QueryInstantResponse>),
}

impl MetricsProgress {
    pub(crate) fn of_range(
        root: &RootExpr,
        outlet: Outlet<QueryRangeResponse>,
        packet_bytes: usize,
    ) -> Self {
        Self::new(root, Differences::Range { outlet, sent: u64::MAX }, packet_bytes)
    }

    pub(crate) fn of_instant(
        root: &RootExpr,
        outlet: Outlet<QueryInstantResponse>,
        packet_bytes: usize,
    ) -> Self {
        Self::new(root, Differences::Instant(outlet), packet_bytes)
    }

    fn new(root: &RootExpr, differences: Differences, packet_bytes: usize) -> Self {
        let shows_series = root.metrics().is_some_and(only_grows);
        Self { differences, pending: Pending::new(), shows_series, packet_bytes }
    }

    /// Sends what is new, if it is time. `snapshot` runs on a thread that may block, and later.
    pub(crate) fn tell(&mut self, grid: &Grid, metrics: &SearchMetrics, snapshot: Snapshot) {
        let facts = MetricsFacts { metrics: *metrics, ..MetricsFacts::default() };
        let (packet_bytes, grid) = (self.packet_bytes, *grid);
        match &mut self.differences {
            Differences::Range { outlet, sent } => {
                let Some(place) = outlet.place(false) else { return };
                let new = self.pending.bound().min(*sent)..*sent;
                *sent = new.start;
                let send = move |answer| {
                    let response = range_response(answer, &grid, facts);
                    place.send(packets::range(response, packet_bytes));
                };
                if new.is_empty() || !self.shows_series {
                    return send(MetricsAnswer::default());
                }
                let answer = move || {
                    let (answer, _held) = snapshot().unzip();
                    send(within(complete(answer), &new, &grid));
                };
                offload_later(answer);
            }
            Differences::Instant(outlet) => {
                let Some(place) = outlet.place(false) else { return };
                let send = move |answer| {
                    let response = instant_response(answer, facts);
                    place.send(packets::instant(response, packet_bytes));
                };
                if !self.shows_series {
                    return send(MetricsAnswer::default());
                }
                let answer = move || {
                    let (answer, _held) = snapshot().unzip();
                    send(complete(answer));
                };
                offload_later(answer);
            }
        }
    }
}

/// True if series and points that are shown stay when more is counted. The largest of few need not be those of all.
fn only_grows(expression: &MetricsExpression) -> bool {
    let picks =
        |stage: &SecondStage| matches!(stage, SecondStage::TopK(_) | SecondStage::BottomK(_));
    match expression {
        MetricsExpression::Query(query) => !matches!(query.stage, MetricsStage::Compare(_)),
        MetricsExpression::Constant(_) => true,
        MetricsExpression::Binary { left, right, .. } => only_grows(left) && only_grows(right),
        MetricsExpression::SecondStages { expression, stages } => {
            only_grows(expression) && !stages.iter().any(picks)
        }
    }
}

/// The answer, unless it was cut: which series it has can change still.
fn complete(answer: Option<MetricsAnswer>) -> MetricsAnswer {
    answer.filter(|answer| !answer.truncated).unwrap_or_default()
}

/// The part of an answer in these intervals.
fn within(mut answer: MetricsAnswer, intervals: &Range<u64>, grid: &Grid) -> MetricsAnswer {
    for series in &mut answer.series {
        series.points.retain(|(interval, _)| intervals.contains(&u64::from(*interval)));
        series.exemplars.retain(|exemplar| {
            let interval = grid.interval_of(exemplar.start_unix_nanos);
            interval.is_some_and(|interval| intervals.contains(&(interval as u64)))
        });
    }
    answer.series.retain(|series| !series.points.is_empty());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_queries_that_pick_are_shown_at_the_end_only() {
        for (query, shown) in [
            ("{} | rate() by (name)", true),
            ("{} | rate() by (name) > 5", true),
            ("({} | rate()) / ({ status = error } | rate())", true),
            ("{} | rate() by (name) | topk(5)", false),
            ("{} | rate() by (name) | bottomk(5)", false),
            ("{} | compare({ status = error })", false),
        ] {
            let root = tactus_traceql::parse(query).unwrap();
            assert_eq!(only_grows(root.metrics().unwrap()), shown, "{query}");
        }
    }
}
