//! The metrics of the Monitor tab.

mod family;

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use tactus_api::QueryParams;
use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

use super::call::{self, Answered, Call, Segment, is_pretty};
use super::params::{all, boolean, millis, tag_pairs, unable_to_parse};
use crate::jaeger::types::Result;
use crate::jaeger::{Measure, Performance, PerformanceQuery, parse_kind};

const DEFAULT_LENGTH: Duration = Duration::from_secs(3600);
const DEFAULT_STEP: Duration = Duration::from_secs(5);
const DEFAULT_RATE_PER: Duration = Duration::from_secs(600);

/// Shortest step, in milliseconds.
const MIN_STEP_MILLIS: u64 = 1;

/// `/api/metrics/minstep`.
pub(super) async fn min_step(call: Call<1>) -> Answered<1> {
    call::data(MIN_STEP_MILLIS, is_pretty(&call.params()))
}

/// `/api/metrics/{latencies,calls,errors}`. The answer stands without an envelope.
pub(super) async fn metrics(
    Segment(kind): Segment<1>,
    call: Result<Call<1>, Response>,
) -> Response {
    if !matches!(kind.as_str(), "latencies" | "calls" | "errors") {
        return tactus_server::http::not_found().await;
    }
    match call {
        Ok(call) => family(&kind, call).await.into_response(),
        Err(refusal) => refusal,
    }
}

async fn family(kind: &str, call: Call<1>) -> Answered<1> {
    let params = call.params();
    let query = query(&params, tactus_clock::unix_nanos())?;
    let measure = match kind {
        "latencies" => Measure::Latencies { quantile: quantile(&params)? },
        "calls" => Measure::Calls,
        _ => Measure::Errors,
    };
    let found = call.shared.performance(&call.tenants, measure, &query).await?;
    let Performance { series, partial, to_send } = found;
    let pieces = family::pieces(measure, query.by_operation, series);
    Ok(call::sent(to_send, pieces, is_pretty(&params)).await?.partial(partial))
}

fn query(params: &QueryParams<'_>, now: u64) -> Result<PerformanceQuery> {
    let services: Vec<String> = all(params, "service").map(str::to_owned).collect();
    if services.is_empty() {
        return Err(unable_to_parse("service", "please provide at least one service name"));
    }
    let duration = |name, default| -> Result<Duration> {
        Ok(millis(params, name)?.map_or(default, Duration::from_nanos))
    };
    Ok(PerformanceQuery {
        services,
        kinds: kinds(params)?,
        tags: tag_pairs(params)?,
        by_operation: boolean(params, "groupByOperation")?.unwrap_or(false),
        end: millis(params, "endTs")?.unwrap_or(now),
        length: duration("lookback", DEFAULT_LENGTH)?,
        step: duration("step", DEFAULT_STEP)?,
        rate_per: duration("ratePer", DEFAULT_RATE_PER)?,
    })
}

fn kinds(params: &QueryParams<'_>) -> Result<Vec<SpanKind>> {
    let mut kinds = Vec::new();
    for name in all(params, "spanKind") {
        let unsupported =
            || unable_to_parse("spanKind", format!("unsupported span kind: '{name}'"));
        let kind = parse_kind(name).ok_or_else(unsupported)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        kinds.push(SpanKind::Server);
    }
    Ok(kinds)
}

fn quantile(params: &QueryParams<'_>) -> Result<f64> {
    let Some(text) = params.get("quantile") else {
        return Err(unable_to_parse(
            "quantile",
            "strconv.ParseFloat: parsing \"\": invalid syntax",
        ));
    };
    match text.parse::<f64>() {
        Ok(quantile) if (0.0..=1.0).contains(&quantile) => Ok(quantile),
        Ok(_) => Err(unable_to_parse("quantile", "must be between 0 and 1")),
        Err(_) => {
            let why = format!("strconv.ParseFloat: parsing {text:?}: invalid syntax");
            Err(unable_to_parse("quantile", why))
        }
    }
}
