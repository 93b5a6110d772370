//! Parameters of Zipkin's API. Times are in milliseconds since 1970, durations in microseconds.

use std::collections::HashSet;
use std::time::Duration;

use tactus_api::request::parse_trace_id;
use tactus_api::{Error, QueryParams, Result, Window};
use tactus_model::TraceId;

/// The time that a search covers if it does not say so.
pub(super) const USUAL_LENGTH: Duration = Duration::from_secs(86_400);

/// Between two conditions of an annotation query.
const AND: &str = " and ";

/// What a span of a trace must be like to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TraceConditions {
    pub(super) service: Option<String>,
    pub(super) remote_service: Option<String>,
    pub(super) span_name: Option<String>,
    /// Keys of tags, each with the value it must have, or names of annotations.
    pub(super) annotations: Vec<(String, Option<String>)>,
    /// Microseconds.
    pub(super) min_duration: Option<u64>,
    /// Microseconds.
    pub(super) max_duration: Option<u64>,
}

/// A search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TracesQuery {
    pub(super) conditions: TraceConditions,
    pub(super) window: Window,
    /// 0 if it does not say.
    pub(super) limit: u32,
}

impl TracesQuery {
    /// `now`: unix nanoseconds. `length`: of the time that it covers if it does not say so.
    pub(super) fn parse(params: &QueryParams<'_>, now: u64, length: Duration) -> Result<Self> {
        let name = |key| params.get(key).filter(|name| *name != "all").map(str::to_owned);
        let min_duration = number(params, "minDuration")?;
        let max_duration = number(params, "maxDuration")?;
        if let (Some(min), Some(max)) = (min_duration, max_duration)
            && max < min
        {
            return invalid("maxDuration should be greater than minDuration");
        }
        let limit = match number(params, "limit")?.map(u32::try_from) {
            None => 0,
            Some(Ok(0)) => return invalid("limit should be greater than 0"),
            Some(Ok(limit)) => limit,
            Some(Err(_)) => return invalid(&format!("limit should be {} at most", u32::MAX)),
        };
        Ok(Self {
            conditions: TraceConditions {
                service: name("serviceName"),
                remote_service: name("remoteServiceName"),
                span_name: name("spanName"),
                annotations: params.get("annotationQuery").map_or_else(Vec::new, annotations),
                min_duration,
                max_duration,
            },
            window: window(params, number(params, "endTs")?.unwrap_or(now / 1_000_000), length)?,
            limit,
        })
    }
}

/// The range of a query for dependencies, whose end must be given.
pub(super) fn dependencies_window(params: &QueryParams<'_>) -> Result<Window> {
    match number(params, "endTs")? {
        Some(end_millis) => window(params, end_millis, USUAL_LENGTH),
        None => invalid("endTs parameter is required"),
    }
}

fn window(params: &QueryParams<'_>, end_millis: u64, length: Duration) -> Result<Window> {
    let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let lookback = number(params, "lookback")?.unwrap_or(length);
    let nanos = |millis: u64| millis.saturating_mul(1_000_000);
    Ok(Window {
        start: nanos(end_millis.saturating_sub(lookback)),
        end: nanos(end_millis).saturating_add(999_999),
    })
}

/// A parameter that must be there.
pub(super) fn required<'p>(params: &'p QueryParams<'_>, name: &str) -> Result<&'p str> {
    params.get(name).ok_or_else(|| Error::Invalid(format!("{name} parameter is required")))
}

/// The id of a trace.
pub(super) fn trace_id(text: &str) -> Result<TraceId> {
    parse_trace_id(text).map_err(|_| {
        Error::Invalid(format!("{text} should be a 1 to 32 character lower-hex string"))
    })
}

/// A list of ids without duplicates.
pub(super) fn trace_ids(params: &QueryParams<'_>) -> Result<Vec<TraceId>> {
    let Some(list) = params.get("traceIds") else {
        return invalid("traceIds parameter is empty");
    };
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    let ids = texts.map(trace_id).collect::<Result<Vec<_>>>()?;
    if ids.is_empty() {
        return invalid("traceIds parameter is empty");
    }
    if ids.len() == 1 {
        return invalid("traceIds should have at least two ids: ask for one by /api/v2/trace/{id}");
    }
    let mut seen = HashSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(twice) => invalid(&format!("traceIds has the id {} twice", twice.to_hex_trimmed())),
        None => Ok(ids),
    }
}

/// `key=value and other key`. A key with a value and without counts with the value.
fn annotations(query: &str) -> Vec<(String, Option<String>)> {
    let parts = query.split(AND).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, value)) if !value.is_empty() => (key.to_owned(), Some(value.to_owned())),
            Some((key, _)) => (key.to_owned(), None),
            None => (part.to_owned(), None),
        })
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

fn number(params: &QueryParams<'_>, name: &str) -> Result<Option<u64>> {
    let Some(text) = params.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => invalid(&format!("{name} should be a positive number, received: {text}")),
    }
}

fn invalid<T>(text: &str) -> Result<T> {
    Err(Error::Invalid(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_123_456_789;

    fn parse(query: &str) -> Result<TracesQuery> {
        TracesQuery::parse(&QueryParams::parse(query), NOW, USUAL_LENGTH)
    }

    #[test]
    fn search_without_parameters_is_the_last_day() {
        let found = parse("").unwrap();
        assert_eq!(found.conditions, TraceConditions::default());
        assert_eq!(found.limit, 0);
        assert_eq!(found.window.end, 1_700_000_000_123_999_999);
        assert_eq!(found.window.start, 1_699_913_600_123_000_000);
    }

    #[test]
    fn search_takes_all_parameters() {
        let found = parse(
            "serviceName=s&spanName=get%20/&remoteServiceName=r&annotationQuery=a%3Db%3Dc%20and%20error%20and%20%3D%20and%20d%3D&minDuration=5&maxDuration=5&endTs=2000&lookback=500&limit=3",
        );
        let annotations = vec![
            ("a".to_owned(), Some("b=c".to_owned())),
            ("error".to_owned(), None),
            ("d".to_owned(), None),
        ];
        let conditions = TraceConditions {
            service: Some("s".to_owned()),
            remote_service: Some("r".to_owned()),
            span_name: Some("get /".to_owned()),
            annotations,
            min_duration: Some(5),
            max_duration: Some(5),
        };
        let window = Window { start: 1_500_000_000, end: 2_000_999_999 };
        assert_eq!(found.unwrap(), TracesQuery { conditions, window, limit: 3 });
        let all = parse("serviceName=all&spanName=all&lookback=99999999999999999999");
        assert!(all.unwrap_err().to_string().starts_with("lookback should be a positive number"));
        assert_eq!(parse("spanName=all").unwrap().conditions, TraceConditions::default());
        assert_eq!(parse("lookback=9999999999999").unwrap().window.start, 0);
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, expected) in [
            ("limit=0", "limit should be greater than 0"),
            ("limit=-1", "limit should be a positive number, received: -1"),
            ("endTs=x", "endTs should be a positive number, received: x"),
            ("minDuration=1s", "minDuration should be a positive number, received: 1s"),
            ("minDuration=2&maxDuration=1", "maxDuration should be greater than minDuration"),
        ] {
            assert_eq!(parse(query).unwrap_err(), Error::Invalid(expected.to_owned()));
        }
        let dependencies = |query| dependencies_window(&QueryParams::parse(query));
        let missing = dependencies("lookback=1").unwrap_err().to_string();
        assert_eq!(missing, "endTs parameter is required");
        assert_eq!(dependencies("endTs=2&lookback=1").unwrap().start, 1_000_000);
    }

    #[test]
    fn ids_are_several_and_distinct() {
        let ids = |query: &str| trace_ids(&QueryParams::parse(query));
        assert_eq!(ids("traceIds=1,%202,").unwrap().len(), 2);
        for (query, expected) in [
            ("", "traceIds parameter is empty"),
            ("traceIds=,", "traceIds parameter is empty"),
            ("traceIds=1,00001", "traceIds has the id 1 twice"),
            ("traceIds=x,1", "x should be a 1 to 32 character lower-hex string"),
            ("traceIds=1", "traceIds should have at least two ids"),
        ] {
            let error = ids(query).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
