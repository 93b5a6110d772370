//! Parameters of the query routes, parsed and checked.

mod message;
mod metrics;
mod search;
mod tags;
mod trace;

use std::fmt::Display;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tactus_config::parse_prometheus;

use crate::{Error, QueryParams, RequestedRange, Result};

pub use message::{
    instant_params, range_params, search_params, tag_values_params, tags_params, trace_params,
};
pub use metrics::{MetricsLimits, MetricsQuery, metrics_range};
pub use search::{
    SearchKind, SearchLimits, SearchQuery, TagConditions, check_query_bytes, parse_traceql,
};
pub use tags::{RequestedTag, TagValuesQuery, TagsQuery, parse_tag_v1, parse_tag_v2};
pub use trace::{TraceMode, TraceQuery, parse_trace_id};

/// True if the parameter `explain` asks how the query is run.
fn wants_explain(params: &crate::QueryParams<'_>) -> bool {
    matches!(params.get("explain"), Some("true" | "1"))
}

tactus_model::words! {
    /// Encodings of an answer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Encoding: content_type {
        /// Protobuf-JSON.
        #[default]
        Json = "application/json",
        /// Binary protobuf.
        Protobuf = "application/protobuf",
        /// Compact JSON for language models, where an answer has one; else as [`Encoding::Json`].
        Llm = "application/vnd.grafana.llm+json",
    }
}

impl Encoding {
    /// By the first value of the `Accept` header. Quality values do not count: protobuf wins over JSON wherever
    /// it stands.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        if accept.contains(Self::Protobuf.content_type()) {
            Self::Protobuf
        } else if accept.contains("application/vnd.grafana.llm")
            && !accept.contains(Self::Json.content_type())
        {
            Self::Llm
        } else {
            Self::Json
        }
    }
}

/// The decoded tag name of `<prefix><name>/values`; `None` for any other path. `raw_path` is not decoded yet, because
/// a name may contain slashes and dots, which are lost if the path is decoded or split first.
pub fn tag_name(raw_path: &str, prefix: &str) -> Option<String> {
    let name = raw_path.strip_prefix(prefix)?.strip_suffix("/values")?;
    Some(percent_decode_str(name).decode_utf8_lossy().into_owned())
}

/// The decoded trace id of `<prefix><id>`; `None` for any other path.
pub fn trace_id_text(raw_path: &str, prefix: &str) -> Option<String> {
    let id = raw_path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/'))?;
    Some(percent_decode_str(id).decode_utf8_lossy().into_owned())
}

/// `start`, `end` and `since` of a request. Errors name the parameter.
fn range(params: &QueryParams<'_>) -> Result<RequestedRange> {
    let time = |name: &str| match params.get(name) {
        None => Ok(0),
        Some(text) => parse_time(text).ok_or_else(|| {
            Error::Invalid(format!(
                "could not parse '{name}' parameter: cannot parse {text:?} to a valid timestamp"
            ))
        }),
    };
    Ok(RequestedRange { start: time("start")?, end: time("end")?, since: since(params)? })
}

/// The error of searches and queries for tags if a range is invalid.
fn date_range_error(error: Error) -> Error {
    Error::Invalid(format!("error parsing date range: {error}"))
}

/// The error of a range that ends before it starts.
fn reversed_range(start: impl Display, end: impl Display) -> Error {
    Error::Invalid(format!(
        "http parameter start must be before end. received start={start} end={end}"
    ))
}

/// The parameter `since`.
fn since(params: &QueryParams<'_>) -> Result<Option<Duration>> {
    let Some(text) = params.get("since") else { return Ok(None) };
    match parse_prometheus(text) {
        Ok(duration) => Ok(Some(duration.as_std())),
        Err(error) => Err(Error::Invalid(format!("could not parse 'since' parameter: {error}"))),
    }
}

/// Parses a time to Unix nanoseconds: whole seconds (up to ten digits), nanoseconds (more digits), seconds with a
/// fraction of which three digits count, or RFC 3339. `None` for other texts, and for times before 1970.
pub fn parse_time(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().ok()?;
        return if text.len() <= 10 { number.checked_mul(1_000_000_000) } else { Some(number) };
    }
    if let Some((whole, fraction)) = text.split_once('.')
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
    {
        let millis = format!("{:0<3.3}", fraction).parse::<u64>().ok()?;
        let seconds = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
        return seconds.checked_mul(1_000)?.checked_add(millis)?.checked_mul(1_000_000);
    }
    parse_rfc3339(text)
}

/// Parses a time in RFC 3339 to Unix nanoseconds. `None` for other texts, and for times before 1970.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::QueryParams;

    const SEARCH: SearchLimits = SearchLimits {
        default_limit: 20,
        max_limit: 0,
        default_spans_per_span_set: 3,
        max_spans_per_span_set: 0,
        max_query_bytes: 0,
    };

    const METRICS: MetricsLimits = MetricsLimits {
        max_duration: Duration::ZERO,
        max_intervals: 0,
        max_exemplars: 0,
        max_series: 0,
        max_query_bytes: 0,
        unsafe_hints: true,
    };

    proptest! {
        #[test]
        fn parameters_of_any_text_never_panic(
            names in proptest::collection::vec(
                "q|tags|limit|spss|start|end|since|step|minDuration|maxDuration|mode|scope|maxSeries",
                0..6,
            ),
            values in proptest::collection::vec("[-+0-9.eEsmh]{0,24}|\\PC{0,12}", 6),
        ) {
            let pairs = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
            let query = pairs.collect::<Vec<_>>().join("&");
            let params = QueryParams::parse(&query);
            let _ = SearchQuery::parse(&params, &SEARCH);
            let _ = TagsQuery::parse(&params);
            let _ = TagValuesQuery::parse(&params);
            let _ = TraceQuery::parse(&params);
            for now in [0, u64::MAX] {
                let _ = MetricsQuery::parse_range(&params, &METRICS, now);
                let _ = MetricsQuery::parse_instant(&params, &METRICS, now);
            }
        }

        #[test]
        fn names_of_any_text_never_panic(name in "\\PC{0,20}") {
            let _ = parse_tag_v1(&name);
            let _ = parse_tag_v2(&name);
            let _ = parse_trace_id(&name);
            let _ = tag_name(&format!("/p/{name}/values"), "/p/");
        }
    }

    #[test]
    fn accept_is_searched_in_fixed_order() {
        let cases = [
            (None, Encoding::Json),
            (Some("*/*"), Encoding::Json),
            (Some("text/html,application/protobuf;q=0.1"), Encoding::Protobuf),
            (Some("application/json, application/protobuf"), Encoding::Protobuf),
            (Some("application/vnd.grafana.llm"), Encoding::Llm),
            (Some("application/vnd.grafana.llm, application/json"), Encoding::Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(Encoding::negotiate(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn tag_names_keep_slashes_and_dots() {
        let prefix = "/api/v2/search/tag/";
        let name = |path: &str| tag_name(&format!("{prefix}{path}"), prefix);
        assert_eq!(name("span.a%2Fb/values").as_deref(), Some("span.a/b"));
        assert_eq!(name("span.a/b/values").as_deref(), Some("span.a/b"));
        assert_eq!(name("span.%22a%20b%22/values").as_deref(), Some("span.\"a b\""));
        assert_eq!(name("a/values/values").as_deref(), Some("a/values"));
        assert_eq!(name("/values").as_deref(), Some(""));
        assert_eq!(name("span.a"), None);
        assert_eq!(tag_name("/api/search/tag/a/values", prefix), None);
    }

    #[test]
    fn trace_ids_are_one_segment() {
        assert_eq!(trace_id_text("/api/traces/ff", "/api/traces/").as_deref(), Some("ff"));
        assert_eq!(trace_id_text("/api/traces/a/b", "/api/traces/"), None);
        assert_eq!(trace_id_text("/api/traces/", "/api/traces/"), None);
    }

    #[test]
    fn times_are_read_in_all_forms() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000_000_000_000)),
            ("1700000000000000001", Some(1_700_000_000_000_000_001)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1.12345", Some(1_123_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000)),
            ("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500_000_000)),
            ("x", None),
            ("-5", None),
            ("1.x", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_times_name_their_parameter() {
        let error = |query| range(&QueryParams::parse(query)).unwrap_err().to_string();
        assert!(error("end=x").starts_with("could not parse 'end' parameter: "));
        assert!(error("since=30").starts_with("could not parse 'since' parameter: "));
    }
}
