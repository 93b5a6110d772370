//! TraceQL metrics over a range or for one instant.

use std::time::Duration;

use tactus_config::{GoDuration, parse_go};
use tactus_traceql::{RootExpr, parse, validate};

use super::search::check_query_bytes;
use crate::{Error, QueryParams, Result};

const SECOND: u64 = 1_000_000_000;
/// The most steps of a range if no limit is set. An answer has a value for each step.
const MOST_INTERVALS: u64 = 1_000_000;
const DEFAULT_RANGE: Duration = Duration::from_secs(3600);

/// Limits of a metrics query; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsLimits {
    /// Longest range.
    pub max_duration: Duration,
    /// Most steps of a range; never more than a million.
    pub max_intervals: u64,
    /// Most exemplars of an answer.
    pub max_exemplars: u32,
    /// Most series of an answer.
    pub max_series: u32,
    /// Longest query in bytes.
    pub max_query_bytes: usize,
    /// True if hints that can cost a lot are allowed. Otherwise they are removed from the query.
    pub unsafe_hints: bool,
}

/// A metrics query.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsQuery {
    /// As sent, without hints that are not allowed.
    pub text: String,
    /// The checked tree of `text`; it has a metrics pipeline.
    pub root: RootExpr,
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds, after `start`.
    pub end: u64,
    /// Nanoseconds, not 0.
    pub step: u64,
    /// Exemplars wanted.
    pub exemplars: u32,
    /// Series wanted at most; 0: any.
    pub max_series: u32,
    /// True if each series has one value, for the whole range.
    pub is_instant: bool,
    /// True if the answer explains how the query ran, because a parameter or a hint asks for it.
    pub explain: bool,
}

impl MetricsQuery {
    /// Parses a range query. `now` in unix nanoseconds.
    pub fn parse_range(params: &QueryParams<'_>, limits: &MetricsLimits, now: u64) -> Result<Self> {
        let (start, end) = metrics_range(params, now)?;
        let step = match params.get("step") {
            Some(text) => Some(parse_step(text)?),
            None => None,
        };
        if start > end {
            return Err(invalid("end must be greater than start"));
        }
        let step = step.unwrap_or_else(|| default_step(start, end));
        check_intervals(start, end, step, limits.max_intervals)?;
        Self::parse_rest(params, limits, (start, end, step), Form::Range)
    }

    /// Parses a query for one value a series. `now` in unix nanoseconds.
    pub fn parse_instant(
        params: &QueryParams<'_>,
        limits: &MetricsLimits,
        now: u64,
    ) -> Result<Self> {
        let (start, end) = metrics_range(params, now)?;
        if start >= end {
            return Err(invalid("end must be greater than start"));
        }
        Self::parse_rest(params, limits, (start, end, end - start), Form::Instant)
    }

    fn parse_rest(
        params: &QueryParams<'_>,
        limits: &MetricsLimits,
        (start, end, step): (u64, u64, u64),
        form: Form,
    ) -> Result<Self> {
        let text = params.get("q").or_else(|| params.get("query")).unwrap_or_default();
        check_query_bytes(text, limits.max_query_bytes)?;
        let mut root = parse(text).map_err(|error| match form {
            Form::Range => invalid(error.to_string()),
            Form::Instant => invalid(format!("compiling query: {error}")),
        })?;
        validate(&root).map_err(|error| invalid(format!("compiling query: {error}")))?;
        if root.metrics().is_none() {
            return Err(invalid("not a metrics query"));
        }
        require_times(params)?;
        let limit = limits.max_duration;
        // Steps are whole multiples, so one of a year reads the year around the range.
        let longest = (end - start).max(step);
        if !limit.is_zero() && u128::from(longest) > limit.as_nanos() {
            let is_range = u128::from(end - start) > limit.as_nanos();
            let limit = GoDuration::from(limit);
            return Err(invalid(match is_range {
                true => format!(
                    "metrics query time range exceeds the maximum allowed duration of {limit}"
                ),
                false => {
                    format!("metrics query step exceeds the maximum allowed duration of {limit}")
                }
            }));
        }
        let mut text = text.to_owned();
        if !limits.unsafe_hints && root.hints.only_safe() != root.hints {
            root.hints = root.hints.only_safe();
            text = root.to_string();
        }
        let count = |name| params.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Self {
            text,
            explain: root.hints.explain() || super::wants_explain(params),
            is_instant: form == Form::Instant,
            exemplars: match form {
                Form::Range => exemplars(count("exemplars"), &root, limits.max_exemplars),
                Form::Instant => 0,
            },
            root,
            start,
            end,
            step,
            max_series: smaller_non_zero(count("maxSeries"), limits.max_series),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Range,
    Instant,
}

/// Start and end of a query, from `start`, `end` and `since`; the last hour without them. All in unix nanoseconds.
pub fn metrics_range(params: &QueryParams<'_>, now: u64) -> Result<(u64, u64)> {
    let range = super::range(params)?;
    let length = range.since.unwrap_or(DEFAULT_RANGE).as_nanos();
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let end = if range.end == 0 { now } else { range.end };
    let start = if range.start == 0 { end.min(now).saturating_sub(length) } else { range.start };
    Ok((start, end))
}

/// Refuses a start or end of 0, as gRPC does. It would otherwise count as absent.
fn require_times(params: &QueryParams<'_>) -> Result<()> {
    let is_zero = |name: &&str| params.get(name).and_then(super::parse_time) == Some(0);
    match ["start", "end"].into_iter().find(is_zero) {
        None => Ok(()),
        Some(name) => Err(invalid(format!("{name} required"))),
    }
}

fn parse_step(text: &str) -> Result<u64> {
    let wrong = |why: &str| invalid(format!("cannot parse {text:?} to a valid duration{why}"));
    let nanos = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => {
            let nanos = seconds * 1e9;
            if nanos.abs() >= i64::MAX as f64 {
                return Err(wrong(". It overflows int64"));
            }
            nanos as i64
        }
        Ok(_) => return Err(wrong("")),
        Err(_) => parse_go(text).map_err(|_| wrong(""))?.as_nanos(),
    };
    u64::try_from(nanos)
        .map_err(|_| invalid(format!("cannot parse {text:?}: step must be positive")))
}

fn check_intervals(start: u64, end: u64, step: u64, max: u64) -> Result<()> {
    let max = if max == 0 { MOST_INTERVALS } else { max.min(MOST_INTERVALS) };
    let too_many = |step: u64| (end - start) / step > max;
    if step != 0 && !too_many(step) {
        return Ok(());
    }
    let shown = |nanos: u64| GoDuration(i64::try_from(nanos).unwrap_or(i64::MAX));
    Err(invalid(format!(
        "step of {} is too small, minimum step for given range is {}",
        shown(step),
        shown((end - start) / max)
    )))
}

/// The default step of a range in nanoseconds: about 240 steps, of a multiple of 5 s if possible, otherwise of whole
/// seconds.
pub(crate) fn default_step(start: u64, end: u64) -> u64 {
    let step = end.saturating_sub(start) / 240;
    let fives = step - step % (5 * SECOND);
    if fives > 0 { fives } else { (step - step % SECOND).max(SECOND) }
}

/// The number of exemplars. A hint in the query takes precedence over the parameter `asked`, where 0 means the
/// maximum.
fn exemplars(asked: u32, root: &RootExpr, max: u32) -> u32 {
    let hinted = root.hints.exemplars().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    match hinted {
        Some(count) => count.min(max),
        None if asked == 0 => max,
        None => asked.min(max),
    }
}

fn smaller_non_zero(one: u32, other: u32) -> u32 {
    match (one, other) {
        (0, other) => other,
        (one, 0) => one,
        (one, other) => one.min(other),
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MetricsLimits = MetricsLimits {
        max_duration: Duration::from_secs(3 * 3600),
        max_intervals: 10_000,
        max_exemplars: 100,
        max_series: 0,
        max_query_bytes: 131_072,
        unsafe_hints: false,
    };
    const NOW: u64 = 1_700_000_000 * SECOND;

    fn parse(query: &str) -> Result<MetricsQuery> {
        MetricsQuery::parse_range(&QueryParams::parse(query), &LIMITS, NOW)
    }

    fn error(query: &str) -> String {
        parse(query).unwrap_err().to_string()
    }

    #[test]
    fn default_step_has_the_documented_values() {
        for (minutes, seconds) in [(60, 15), (30, 5), (15, 3), (2, 1), (180, 45), (1440, 360)] {
            assert_eq!(default_step(0, minutes * 60 * SECOND), seconds * SECOND, "{minutes}m");
        }
    }

    #[test]
    fn range_without_times_is_the_last_hour() {
        let query = parse("q={}|rate()").unwrap();
        assert_eq!((query.start, query.end), (NOW - 3600 * SECOND, NOW));
        assert_eq!((query.step, query.exemplars), (15 * SECOND, 100));
        let query = parse("query={}|rate()&start=1&end=20&step=0.5&maxSeries=7").unwrap();
        assert_eq!((query.start, query.end, query.step), (SECOND, 20 * SECOND, SECOND / 2));
        assert_eq!(query.max_series, 7);
    }

    #[test]
    fn longest_range_cannot_be_passed_by_a_long_step() {
        let now = NOW / SECOND;
        let of = |seconds: u64, step: &str| {
            error_of(parse(&format!("q={{}}|rate()&start={}&end={now}&step={step}", now - seconds)))
        };
        let refused = |what: &str| {
            Some(format!("metrics query {what} exceeds the maximum allowed duration of 3h0m0s"))
        };
        assert_eq!(of(60, "30000h"), refused("step"));
        assert_eq!(of(3 * 3600 + 1, "1m"), refused("time range"));
        for (seconds, step) in [(3 * 3600, "1m"), (60, "3h"), (3 * 3600, "7m")] {
            assert_eq!(of(seconds, step), None, "{seconds} {step}");
        }
    }

    fn error_of(parsed: Result<MetricsQuery>) -> Option<String> {
        parsed.err().map(|error| error.to_string())
    }

    #[test]
    fn hints_that_cost_a_lot_are_taken_out() {
        let query = "q={}|rate()with(job_size=5,exemplars=3,explain=true)";
        let safe = parse(query).unwrap();
        assert_eq!(safe.text, "{ true } | rate() with(exemplars=3,explain=true)");
        assert_eq!((safe.root.to_string(), safe.exemplars, safe.explain), (safe.text, 3, true));
        let limits = MetricsLimits { unsafe_hints: true, ..LIMITS };
        let all = MetricsQuery::parse_range(&QueryParams::parse(query), &limits, NOW).unwrap();
        assert_eq!(all.text, "{}|rate()with(job_size=5,exemplars=3,explain=true)");
        assert_eq!(all.root.hints.entries.len(), 3);
    }

    #[test]
    fn explanation_is_asked_for_by_parameter_or_hint() {
        for (query, explain) in [
            ("q={}|rate()", false),
            ("q={}|rate()&explain=true", true),
            ("q={}|rate()&explain=1", true),
            ("q={}|rate()&explain=no", false),
            ("q={}|rate()with(explain=true)", true),
            ("q={}|rate()with(explain=false)&explain=true", true),
        ] {
            assert_eq!(parse(query).unwrap().explain, explain, "{query}");
        }
    }

    #[test]
    fn steps_are_bounded_without_a_limit() {
        let limits = MetricsLimits { max_intervals: 0, ..LIMITS };
        let parse = |step: &str| {
            let query = format!("q={{}}|rate()&start=1&end=10001&step={step}");
            MetricsQuery::parse_range(&QueryParams::parse(&query), &limits, NOW)
        };
        assert!(parse("10ms").is_ok());
        assert_eq!(
            parse("1ms").unwrap_err().to_string(),
            "step of 1ms is too small, minimum step for given range is 10ms"
        );
    }

    #[test]
    fn wrong_steps_and_ranges_are_refused() {
        let range = "q={}|rate()&start=1700000000&end=1700000360";
        assert_eq!(
            error(&format!("{range}&step=35ms")),
            "step of 35ms is too small, minimum step for given range is 36ms"
        );
        assert_eq!(
            error(&format!("{range}&step=0")),
            "step of 0s is too small, minimum step for given range is 36ms"
        );
        assert_eq!(error(&format!("{range}&step=x")), "cannot parse \"x\" to a valid duration");
        assert_eq!(
            error(&format!("{range}&step=-1")),
            "cannot parse \"-1\": step must be positive"
        );
        assert_eq!(
            error(&format!("{range}&step=1e300")),
            "cannot parse \"1e300\" to a valid duration. It overflows int64"
        );
        assert_eq!(error("q={}|rate()&start=20&end=10"), "end must be greater than start");
        assert_eq!(
            error("q={}|rate()&start=1&end=10802"),
            "metrics query time range exceeds the maximum allowed duration of 3h0m0s"
        );
        assert!(parse("q={}|rate()&start=1&end=10801").is_ok());
    }

    #[test]
    fn times_of_zero_are_refused_and_not_taken_as_missing() {
        for (range, expected) in [
            ("start=0&end=0", "start required"),
            ("start=0&end=360", "start required"),
            ("start=0.000&end=360", "start required"),
            ("start=1970-01-01T00:00:00Z", "start required"),
            ("start=5&end=0", "end required"),
            ("start=0&end=1700000000&since=1h", "start required"),
        ] {
            let query = format!("q={{}}|rate()&{range}");
            assert_eq!(error(&query), expected, "{range}");
            let params = QueryParams::parse(&query);
            let instant = MetricsQuery::parse_instant(&params, &LIMITS, NOW).unwrap_err();
            assert_eq!(instant.to_string(), expected, "{range}");
        }
        assert!(parse("q={}|rate()&start=&end=").is_ok(), "an empty parameter is a missing one");
        assert_eq!(error("q={}|rate(&start=0").get(..11), Some("parse error"));
    }

    #[test]
    fn wrong_queries_are_refused() {
        assert!(error("q={}|rate(").starts_with("parse error at line 1, col "));
        assert_eq!(error("q={}"), "not a metrics query");
        assert!(error("q={}|quantile_over_time(duration,2)").starts_with("compiling query: "));
        let instant = MetricsQuery::parse_instant(&QueryParams::parse("q={}|rate("), &LIMITS, NOW);
        assert!(instant.unwrap_err().to_string().starts_with("compiling query: parse error"));
    }

    #[test]
    fn instant_has_one_step() {
        let params = QueryParams::parse("q={}|rate()&start=10&end=20");
        let query = MetricsQuery::parse_instant(&params, &LIMITS, NOW).unwrap();
        assert_eq!((query.step, query.exemplars), (10 * SECOND, 0));
    }
}
