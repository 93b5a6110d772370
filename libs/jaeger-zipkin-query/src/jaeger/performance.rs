//! The performance of services over time, as the Monitor tab of Jaeger's UI shows it.

mod series;

use std::time::Duration;

use tactus_api::request::MetricsQuery;
use tactus_model::TenantId;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;
use tactus_query::offload;

use super::matching;
use super::queries::JaegerQueries;
use super::types::{JaegerError, Result, kind_name};
use crate::sending::ToSend;
pub(crate) use series::PerformanceSeries;
use series::{Steps, by_key};

/// Steps of a query where no limit is set.
const MOST_STEPS: u64 = 1_000_000;

/// Points that an answer may have: some 85 MB of JSON.
const MOST_POINTS: usize = 1_000_000;

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

/// What was measured.
pub(crate) struct Performance {
    /// By service, then operation.
    pub(crate) series: Vec<PerformanceSeries>,
    /// Something could not be read, so values may be too small.
    pub(crate) partial: bool,
    /// What it takes to send the series.
    pub(crate) to_send: ToSend,
}

impl JaegerQueries {
    /// Measures spans. Errors: a step that is too small for the range or for so many series, a range that is longer than a
    /// search may be.
    pub(crate) async fn performance(
        &self,
        tenants: &[TenantId],
        measure: Measure,
        query: &PerformanceQuery,
    ) -> Result<Performance> {
        let (memory, to_whom) = (&self.frontend.memory, tenants.to_vec());
        let services = self.of_services(tenants, &query.services).await?;
        let Some(spans) = spans(query, services) else {
            let to_send = ToSend::decoded(memory, to_whom, 0).await?;
            return Ok(Performance { series: Vec::new(), partial: false, to_send });
        };
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
        let found_series = found.answer.series;
        let series = offload(true, move || by_key(found_series, measure, steps)).await?;
        let points = series.len().saturating_mul(steps.grid.intervals());
        if points > MOST_POINTS {
            return Err(JaegerError::Invalid(format!(
                "the answer would have {points} points, more than {MOST_POINTS}: use a longer 'step', a shorter 'lookback' or fewer services"
            )));
        }
        let bytes: u64 = series.iter().map(PerformanceSeries::bytes).sum();
        // The memory of the query is held until there is some to send its answer.
        let to_send = ToSend::decoded(memory, to_whom, bytes).await?;
        Ok(Performance { series, partial: found.partial, to_send })
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
