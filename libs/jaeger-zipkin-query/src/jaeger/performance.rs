//! The performance of services over time, as the Monitor tab of Jaeger's UI shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use tactus_api::request::MetricsQuery;
use tactus_jaeger::adjust::{EMPTY_SERVICE, MISSING_SERVICE, NO_TEXT_SERVICE};
use tactus_model::TenantId;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::Listed;
use tactus_traceql::metrics::{Grid, LabelValue, Series, quantile_within_bucket};

use super::matching;
use super::queries::JaegerQueries;
use super::types::{JaegerError, Result, kind_name};

/// Steps of a query where no limit is set.
const MOST_STEPS: u64 = 1_000_000;

/// Buckets of durations for each doubling, the most there can be: latencies are right to a fifth.
const BUCKETS: u8 = 4;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// The duration that this part of the spans (0 to 1) does not exceed, in milliseconds. NaN without spans.
    Latencies {
        /// 0.95: the duration that 95 % do not exceed.
        quantile: f64,
    },
    /// Spans a second.
    Calls,
    /// The part of the spans that failed, 0 to 1; 0 without spans.
    Errors,
}

/// Which spans to measure, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PerformanceQuery {
    /// Their services, one at least.
    pub(crate) services: Vec<String>,
    /// Their kinds; empty is any.
    pub(crate) kinds: Vec<SpanKind>,
    /// Their tags; all must match.
    pub(crate) tags: Vec<(String, String)>,
    /// A series for each operation of a service, not one for the service.
    pub(crate) by_operation: bool,
    /// The last point, nanoseconds since 1970.
    pub(crate) end: u64,
    /// From the first point to the last.
    pub(crate) length: Duration,
    /// From one point to the next.
    pub(crate) step: Duration,
    /// A point is made of the spans of so long a time before it. Rounded up to whole steps.
    pub(crate) rate_per: Duration,
}

/// A measure of a service, or of an operation of it, over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PerformanceSeries {
    /// The service.
    pub(crate) service: String,
    /// The operation, if that was asked for.
    pub(crate) operation: Option<String>,
    /// Milliseconds since 1970, ascending, and values.
    pub(crate) points: Vec<(i64, f64)>,
}

const NIL: &LabelValue = &LabelValue::Nil;

/// Service, and operation if series are by it.
type Key = (String, Option<String>);

/// The steps of a query.
struct Steps {
    grid: Grid,
    /// Steps that make a point.
    per_point: usize,
    /// Points before are only there to fill the window of those after; milliseconds since 1970.
    first_millis: i64,
    /// The end of the query, nanoseconds since 1970. The last step may reach beyond it: it has less spans than the others.
    end: u64,
}

impl JaegerQueries {
    /// Measures spans. Errors: a step that is too small for the range, a range that is longer than a search may be.
    pub(crate) async fn performance(
        &self,
        tenants: &[TenantId],
        measure: Measure,
        query: &PerformanceQuery,
    ) -> Result<Listed<Vec<PerformanceSeries>>> {
        let services = self.of_services(tenants, &query.services).await?;
        let Some(spans) = spans(query, services) else { return Ok(Listed::default()) };
        let groups = match query.by_operation {
            true => "resource.service.name, name",
            false => "resource.service.name",
        };
        let stage = match measure {
            Measure::Latencies { .. } => {
                format!("histogram_over_time(duration) by ({groups}) with(buckets={BUCKETS})")
            }
            Measure::Calls => format!("count_over_time() by ({groups})"),
            Measure::Errors => format!("count_over_time() by ({groups}, status)"),
        };
        let text = format!("{spans} | {stage}");
        let root = self.frontend.parse_traceql(tenants, &text).await?;
        let (start, step) = self.range(tenants, query)?;
        let query_of_steps = MetricsQuery {
            text,
            root,
            start,
            end: query.end,
            step,
            exemplars: 0,
            max_series: 0,
            is_instant: false,
            explain: false,
        };
        let found = self.frontend.query_metrics(tenants, &query_of_steps).await?;
        let length = u64::try_from(query.length.as_nanos()).unwrap_or(u64::MAX);
        let first = query.end.saturating_sub(length) / 1_000_000;
        let steps = Steps {
            grid: found.grid,
            per_point: usize::try_from(nanos(query.rate_per).div_ceil(step)).unwrap_or(usize::MAX),
            first_millis: i64::try_from(first).unwrap_or(i64::MAX),
            end: query.end,
        };
        let list = match measure {
            Measure::Latencies { quantile } => latencies(found.answer.series, &steps, quantile),
            Measure::Calls => calls(found.answer.series, &steps),
            Measure::Errors => errors(found.answer.series, &steps),
        };
        Ok(Listed { list, partial: found.partial })
    }

    /// Start and step of the steps, in nanoseconds.
    fn range(&self, tenants: &[TenantId], query: &PerformanceQuery) -> Result<(u64, u64)> {
        let step = nanos(query.step);
        if step == 0 || query.rate_per.is_zero() {
            let text = "'step' and 'ratePer' must be greater than 0";
            return Err(JaegerError::Invalid(text.to_owned()));
        }
        if let Some(limit) = self.frontend.longest_search(tenants)
            && query.length > limit
        {
            return Err(JaegerError::Invalid(format!(
                "'lookback' is longer than the {} s that a query may cover",
                limit.as_secs()
            )));
        }
        let length = nanos(query.length).saturating_add(nanos(query.rate_per));
        let most = self.frontend.settings.section.metrics.max_intervals;
        let most = if most == 0 { MOST_STEPS } else { most.min(MOST_STEPS) };
        if length / step > most {
            return Err(JaegerError::Invalid(format!(
                "'step' of {} ms is too small: 'lookback' and 'ratePer' would have more than {most} steps",
                query.step.as_millis()
            )));
        }
        if query.end == 0 {
            return Err(JaegerError::Invalid("'endTs' must be greater than 0".to_owned()));
        }
        Ok((query.end.saturating_sub(length), step))
    }
}

/// The spans to measure. `services`: the condition of each service. `None`: there are none.
fn spans(query: &PerformanceQuery, services: Vec<String>) -> Option<String> {
    let mut conditions = vec![matching::any(services)];
    if !query.kinds.is_empty() {
        let kinds = query.kinds.iter().map(|&kind| format!("kind = {}", kind_name(kind)));
        conditions.push(matching::any(kinds.collect()));
    }
    matching::spans(conditions, &query.tags)
}

fn calls(series: Vec<Series>, steps: &Steps) -> Vec<PerformanceSeries> {
    let mut counts: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for series in series {
        let counts = counts.entry(key(&series)).or_insert_with(|| steps.zeros());
        add(counts, &steps.values(&series));
    }
    let rates = counts.into_iter().map(|(key, counts)| {
        let rate = |(step, count)| count / steps.seconds(step);
        steps.series(key, sums(&counts, steps.per_point).into_iter().enumerate().map(rate))
    });
    rates.collect()
}

fn errors(series: Vec<Series>, steps: &Steps) -> Vec<PerformanceSeries> {
    let mut counts: BTreeMap<Key, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for series in series {
        let none = || (steps.zeros(), steps.zeros());
        let (all, failed) = counts.entry(key(&series)).or_insert_with(none);
        let values = steps.values(&series);
        add(all, &values);
        if matches!(label(&series, "status"), LabelValue::String(status) if &**status == "error") {
            add(failed, &values);
        }
    }
    let parts = counts.into_iter().map(|(key, (all, failed))| {
        let (all, failed) = (sums(&all, steps.per_point), sums(&failed, steps.per_point));
        let part = |(all, failed)| if all > 0.0 { failed / all } else { 0.0 };
        steps.series(key, all.into_iter().zip(failed).map(part))
    });
    parts.collect()
}

fn latencies(series: Vec<Series>, steps: &Steps, quantile: f64) -> Vec<PerformanceSeries> {
    let mut histograms: BTreeMap<Key, BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
    for series in series {
        let Some(bound) = bound(&series) else { continue };
        let buckets = histograms.entry(key(&series)).or_default();
        // Bounds are positive, so their bits have the same order.
        let counts = buckets.entry(bound.to_bits()).or_insert_with(|| steps.zeros());
        add(counts, &steps.values(&series));
    }
    let quantiles = histograms.into_iter().map(|(key, buckets)| {
        let counted = |(bound, counts): (u64, Vec<f64>)| {
            let counts = sums(&counts, steps.per_point);
            (f64::from_bits(bound), counts)
        };
        let buckets: Vec<_> = buckets.into_iter().map(counted).collect();
        let millis = |step: usize| {
            let counts = buckets.iter().filter_map(|(bound, counts)| {
                let count = *counts.get(step)?;
                (count > 0.0).then_some((*bound, count))
            });
            let occupied: Vec<(f64, f64)> = counts.collect();
            if occupied.is_empty() {
                return f64::NAN;
            }
            quantile_within_bucket(&occupied, quantile, BUCKETS) * 1_000.0
        };
        steps.series(key, (0..steps.grid.intervals()).map(millis))
    });
    quantiles.collect()
}

impl Steps {
    /// A value for each step.
    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.grid.intervals()]
    }

    /// The value of each step; 0 for those without.
    fn values(&self, series: &Series) -> Vec<f64> {
        let mut values = self.zeros();
        for &(interval, value) in &series.points {
            if let Some(slot) = values.get_mut(interval as usize) {
                *slot = value;
            }
        }
        values
    }

    /// Seconds that the point of a step is made of.
    fn seconds(&self, step: usize) -> f64 {
        let all = self.grid.step_seconds() * self.per_point as f64;
        let is_last = step + 1 == self.grid.intervals();
        let to_come = if is_last { self.grid.end().saturating_sub(self.end) } else { 0 };
        all - to_come as f64 / 1e9
    }

    /// A series of the values of all steps, without those that come before the first point.
    fn series(
        &self,
        (service, operation): Key,
        values: impl Iterator<Item = f64>,
    ) -> PerformanceSeries {
        let end_millis = i64::try_from(self.end / 1_000_000).unwrap_or(i64::MAX);
        let points = values
            .enumerate()
            .map(|(step, value)| (self.grid.timestamp_millis(step).min(end_millis), value))
            .filter(|(millis, _)| *millis >= self.first_millis)
            .collect();
        PerformanceSeries { service, operation, points }
    }
}

fn add(sums: &mut [f64], values: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += value;
    }
}

/// What adjusted traces show. Series may have the same.
fn key(series: &Series) -> Key {
    let service: &str = match label(series, "resource.service.name") {
        LabelValue::Nil => MISSING_SERVICE,
        LabelValue::String(name) if name.is_empty() => EMPTY_SERVICE,
        LabelValue::String(name) => name,
        LabelValue::Int(_) | LabelValue::Float(_) | LabelValue::Bool(_) => NO_TEXT_SERVICE,
    };
    let operation = match label(series, "name") {
        LabelValue::String(name) if name.is_empty() => Some(matching::EMPTY_NAME.to_owned()),
        LabelValue::String(name) => Some(name.to_string()),
        _ => None,
    };
    (service.to_owned(), operation)
}

/// The value of a label, nothing if there is no such label.
fn label<'s>(series: &'s Series, name: &str) -> &'s LabelValue {
    let mut labels = series.labels.iter();
    let found = labels.find(|(label, _)| label.as_ref() == name);
    found.map_or(NIL, |(_, value)| value)
}

/// Upper bound of the durations of a series, in seconds.
fn bound(series: &Series) -> Option<f64> {
    let mut labels = series.labels.iter();
    match labels.find(|(label, _)| label.as_ref() == "__bucket")? {
        (_, LabelValue::Float(bound)) => Some(*bound),
        _ => None,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// For each step the sum of the last `length` steps, itself included; fewer at the start.
pub(super) fn sums(values: &[f64], length: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = Vec::with_capacity(values.len());
    for (step, value) in values.iter().enumerate() {
        sum += value;
        let leaving = step.checked_sub(length).and_then(|step| values.get(step));
        sum -= leaving.copied().unwrap_or_default();
        sums.push(sum);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_over_the_steps() {
        assert_eq!(sums(&[1.0, 2.0, 3.0, 4.0], 2), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(sums(&[1.0, 2.0], 1), [1.0, 2.0]);
        assert_eq!(sums(&[1.0, 2.0], 9), [1.0, 3.0]);
        assert!(sums(&[], 3).is_empty());
    }
}
