//! Parameters of the third version, in camel case or, as they once were, in snake case.

use std::time::Duration;

use tactus_api::QueryParams;

use super::super::params::{boolean, bound, integer, invalid, json_tags, rfc3339};
use crate::jaeger::types::Result;
use crate::jaeger::{JaegerError, TimeRange, TraceFilter};

/// Names of a parameter; the first that is there counts.
type Names = &'static [&'static str];

const SERVICE: Names = &["query.serviceName", "query.service_name"];
/// `query.span_name` is what a version of Jaeger's UI sends.
const OPERATION: Names = &["query.operationName", "query.operation_name", "query.span_name"];
const START: Names = &["query.startTimeMin", "query.start_time_min"];
const END: Names = &["query.startTimeMax", "query.start_time_max"];
const SHORTEST: Names = &["query.durationMin", "query.duration_min"];
const LONGEST: Names = &["query.durationMax", "query.duration_max"];
const DEPTH: Names = &["query.searchDepth", "query.search_depth", "query.num_traces"];
const RAW: Names = &["query.rawTraces", "query.raw_traces"];
const ATTRIBUTES: Names = &["query.attributes"];
const FILTER: Names = &["query.filter"];

/// What a search asks for.
pub(super) fn filter(params: &QueryParams<'_>) -> Result<TraceFilter> {
    if let Some(name) = present(params, FILTER) {
        return Err(invalid(format!("{name} is not supported")));
    }
    let text = |names| {
        present(params, names).and_then(|name| params.get(name)).unwrap_or_default().to_owned()
    };
    let (start, end) = (time(params, START)?, time(params, END)?);
    let (Some(start), Some(end)) = (start, end) else {
        return Err(invalid("query.startTimeMin and query.startTimeMax are required"));
    };
    if start >= end {
        return Err(invalid("query.startTimeMin must be before query.startTimeMax"));
    }
    let (min_duration, max_duration) = (length(params, SHORTEST)?, length(params, LONGEST)?);
    if let (Some(min), Some(max)) = (min_duration, max_duration)
        && max < min
    {
        return Err(invalid("query.durationMax should be greater than query.durationMin"));
    }
    let tags = match present(params, ATTRIBUTES) {
        None => Vec::new(),
        Some(name) => json_tags(params.get(name).unwrap_or_default(), name)?.into_iter().collect(),
    };
    let raw = match present(params, RAW) {
        None => false,
        Some(name) => {
            boolean(params, name).map_err(|_| malformed(name, "not a boolean"))? == Some(true)
        }
    };
    Ok(TraceFilter {
        service: text(SERVICE),
        operation: text(OPERATION),
        tags,
        range: TimeRange { start, end },
        is_usual_range: false,
        min_duration,
        max_duration,
        limit: depth(params)?,
        raw,
    })
}

/// The times of a trace by id, which must be such.
pub(super) fn times(params: &QueryParams<'_>) -> Result<(Option<u64>, Option<u64>)> {
    let start = time(params, &["startTime", "start_time"])?;
    Ok((start, time(params, &["endTime", "end_time"])?))
}

/// The times of dependencies.
pub(super) fn required_times(params: &QueryParams<'_>) -> Result<TimeRange> {
    match times(params)? {
        (None, _) => Err(invalid("startTime is required")),
        (_, None) => Err(invalid("endTime is required")),
        (Some(start), Some(end)) if start >= end => Err(invalid("endTime must be after startTime")),
        (Some(start), Some(end)) => Ok(TimeRange { start, end }),
    }
}

fn present(params: &QueryParams<'_>, names: Names) -> Option<&'static str> {
    names.iter().copied().find(|name| params.get(name).is_some())
}

fn malformed(name: &str, why: impl std::fmt::Display) -> JaegerError {
    invalid(format!("malformed parameter {name}: {why}"))
}

fn time(params: &QueryParams<'_>, names: Names) -> Result<Option<u64>> {
    let Some(name) = present(params, names) else { return Ok(None) };
    rfc3339(params, name).map_err(|error| malformed(name, error))
}

fn length(params: &QueryParams<'_>, names: Names) -> Result<Option<Duration>> {
    let Some(name) = present(params, names) else { return Ok(None) };
    bound(params, name).map_err(|error| malformed(name, error))
}

fn depth(params: &QueryParams<'_>) -> Result<u32> {
    let Some(name) = present(params, DEPTH) else { return Ok(0) };
    match integer(params, name) {
        Ok(None) => Ok(0),
        Ok(Some(depth)) if depth < 0 => Err(malformed(name, "must not be negative")),
        Ok(Some(depth)) => {
            u32::try_from(depth).map_err(|_| malformed(name, format!("{depth} is out of range")))
        }
        Err(error) => Err(malformed(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn operation_has_three_names() {
        let times =
            "query.startTimeMin=2023-11-14T22:00:00Z&query.startTimeMax=2023-11-14T22:30:00Z";
        for name in ["query.operationName", "query.operation_name", "query.span_name"] {
            let query = format!("{times}&{name}=op");
            let filter = filter(&QueryParams::parse(&query)).unwrap();
            assert_eq!(filter.operation, "op", "{name}");
        }
    }

    #[test]
    fn durations_of_zero_bound_nothing() {
        let times =
            "query.startTimeMin=2023-11-14T22:00:00Z&query.startTimeMax=2023-11-14T22:30:00Z";
        let query = format!("{times}&query.durationMin=1s&query.duration_max=0s");
        let filter = filter(&QueryParams::parse(&query)).unwrap();
        let second = Some(Duration::from_secs(1));
        assert_eq!((filter.min_duration, filter.max_duration), (second, None));
    }

    proptest! {
        #[test]
        fn parameters_of_any_text_never_panic(
            names in proptest::collection::vec(
                "query\\.(serviceName|startTimeMin|startTimeMax|durationMin|searchDepth|attributes|rawTraces)",
                0..6,
            ),
            values in proptest::collection::vec(
                "[-+0-9.eEsmh]{0,24}|\\PC{0,12}|-?[0-9]{4,6}-[01][0-9]-[0-3][0-9]T00:00:00Z",
                6,
            ),
        ) {
            let pairs = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
            let query = pairs.collect::<Vec<_>>().join("&");
            let params = QueryParams::parse(&query);
            let _ = filter(&params);
            let _ = required_times(&params);
        }
    }
}
