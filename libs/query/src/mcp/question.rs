//! Turns the arguments of a tool into the request that a client of the HTTP API would send.

use std::fmt;

use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::StatusCode;
use tactus_api::Error;
use tactus_api::request::{parse_tag_v2, parse_time, parse_trace_id};
use tactus_model::TenantId;
use tactus_model::error_text::cut_str;
use tactus_traceql::RootExpr;

use super::documents::Document;
use super::message::{Arguments, Member};
use super::tools::{SCOPES, Tool};
use crate::frontend::Frontend;

const NANOS_A_SECOND: u64 = 1_000_000_000;
const NANOS_A_MILLISECOND: u64 = 1_000_000;
const NANOS_A_MICROSECOND: u64 = 1_000;

/// The time range of a tool that is not told one.
const DEFAULT_RANGE_NANOS: u64 = 3_600 * NANOS_A_SECOND;

/// Why a tool has no answer. The text is for the model, which can try again with other arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolError {
    /// An argument is missing or wrong.
    Argument { name: &'static str, reason: String },
    /// The query is of the kind that other tools are for.
    OtherTool { reason: String },
    /// The route answered with an error.
    Failed { status: StatusCode, reason: String },
    /// The answer is longer than any model reads.
    TooLong { max_bytes: usize },
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { name, reason } => write!(f, "argument {name}: {reason}"),
            Self::OtherTool { reason } => f.write_str(reason),
            Self::Failed { status, reason } => {
                let status = status.as_u16();
                write!(f, "tool failed with http status code {status} and reason {reason}")
            }
            Self::TooLong { max_bytes } => write!(
                f,
                "the answer is longer than {max_bytes} bytes: ask for a shorter time range or fewer series"
            ),
        }
    }
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        Self::Failed { status: error.http_status(), reason: error.to_string() }
    }
}

/// What is to be done for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The path and query of a route of the query API.
    Route(String),
    /// The answer itself.
    Text(Bytes),
}

impl Question {
    /// Reads and checks the arguments. `now`: Unix nanoseconds.
    pub(super) async fn of(
        tool: Tool,
        arguments: Arguments,
        frontend: &Frontend,
        tenants: &[TenantId],
        now: u64,
    ) -> Result<Self, ToolError> {
        let Arguments { query, start, end, trace_id, scope, name, filter_query } = arguments;
        match tool {
            Tool::Search | Tool::MetricsInstant | Tool::MetricsRange => {
                let query = required("query", query)?;
                let range = Range::of(optional("start", start)?, optional("end", end)?, now)?;
                let root = parse_query("query", &query, frontend, tenants).await?;
                check_kind(tool, &root)?;
                Ok(query_route(tool, &query, range))
            }
            Tool::Trace => {
                let id = required("trace_id", trace_id)?;
                parse_trace_id(&id).map_err(|error| argument("trace_id", error.to_string()))?;
                Ok(Self::Route(format!("/api/v2/traces/{id}")))
            }
            Tool::AttributeNames => {
                let scope = optional("scope", scope)?;
                if let Some(scope) = &scope
                    && !SCOPES.contains(&scope.as_str())
                {
                    return Err(unknown("scope", scope, SCOPES));
                }
                let range = Range::of(None, None, now)?;
                Ok(route("/api/v2/search/tags", range.seconds(), &[("scope", scope)]))
            }
            Tool::AttributeValues => {
                let name = required("name", name)?;
                parse_tag_v2(&name).map_err(|error| argument("name", error.to_string()))?;
                let filter = optional("filter-query", filter_query)?;
                if let Some(filter) = &filter {
                    parse_query("filter-query", filter, frontend, tenants).await?;
                }
                let range = Range::of(None, None, now)?;
                let path = format!("/api/v2/search/tag/{}/values", as_part_of_path(&name));
                Ok(route(&path, range.seconds(), &[("q", filter)]))
            }
            Tool::Documentation => Ok(Self::Text(documentation(&required("name", name)?))),
        }
    }
}

/// The document of this name. For any other the first that a model needs, so that it does not have to ask again.
fn documentation(name: &str) -> Bytes {
    if let Some(found) = Document::OF_TOOL.iter().find(|document| document.name() == name) {
        return Bytes::from_static(found.content().as_bytes());
    }
    let names: Vec<_> = Document::OF_TOOL.iter().map(|document| document.name()).collect();
    let (first, names, name) = (Document::Basic, names.join(", "), cut_str(name));
    let (shown, content) = (first.name(), first.content());
    format!("There is no document {name:?}, only {names}. This is {shown}.\n\n{content}").into()
}

fn argument(name: &'static str, reason: impl Into<String>) -> ToolError {
    ToolError::Argument { name, reason: reason.into() }
}

fn unknown(name: &'static str, value: &str, known: &[&str]) -> ToolError {
    let known = known.join(", ");
    argument(name, format!("expected one of {known}, not {:?}", cut_str(value)))
}

/// An empty argument counts as absent, as an empty parameter does.
fn optional(name: &'static str, value: Member<String>) -> Result<Option<String>, ToolError> {
    match value {
        Member::Absent => Ok(None),
        Member::Is(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Member::Other => Err(argument(name, "expected a string")),
    }
}

fn required(name: &'static str, value: Member<String>) -> Result<String, ToolError> {
    optional(name, value)?.ok_or_else(|| argument(name, "is required"))
}

/// Parses a query before it is sent on, so that an error leads the model to the documentation.
async fn parse_query(
    name: &'static str,
    query: &str,
    frontend: &Frontend,
    tenants: &[TenantId],
) -> Result<RootExpr, ToolError> {
    match frontend.parse_traceql(tenants, query).await {
        Ok(root) => Ok(root),
        Err(Error::Invalid(reason)) => {
            let docs = Tool::Documentation.name();
            let reason = cut_str(&reason);
            Err(argument(name, format!("{reason} (the tool {docs} describes the language)")))
        }
        Err(error) => Err(error.into()),
    }
}

/// A search of a metrics query would run and ignore the metrics; the model would not notice.
fn check_kind(tool: Tool, root: &RootExpr) -> Result<(), ToolError> {
    let (search, instant, range) =
        (Tool::Search.name(), Tool::MetricsInstant.name(), Tool::MetricsRange.name());
    let reason = match (tool == Tool::Search, root.metrics().is_some()) {
        (true, true) => {
            format!("this is a TraceQL metrics query: use the tool {instant} or {range} instead")
        }
        (false, false) => format!(
            "this is a TraceQL search: use the tool {search} instead, or end the query in a metrics function such as | rate()"
        ),
        _ => return Ok(()),
    };
    Err(ToolError::OtherTool { reason })
}

fn query_route(tool: Tool, query: &str, range: Range) -> Question {
    let (path, times) = match tool {
        Tool::MetricsInstant => ("/api/metrics/query", range.milliseconds()),
        Tool::MetricsRange => ("/api/metrics/query_range", range.milliseconds()),
        _ => ("/api/search", range.seconds()),
    };
    route(path, times, &[("q", Some(query.to_owned()))])
}

fn route(
    path: &str,
    (start, end): (String, String),
    params: &[(&str, Option<String>)],
) -> Question {
    let mut encoded = Serializer::new(String::new());
    for (name, value) in params {
        if let Some(value) = value {
            encoded.append_pair(name, value);
        }
    }
    encoded.append_pair("start", &start).append_pair("end", &end);
    Question::Route(format!("{path}?{}", encoded.finish()))
}

/// Encoded, with `%20` for a blank: a plus sign is one only in parameters.
fn as_part_of_path(name: &str) -> String {
    byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A time range in Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
}

impl Range {
    /// An hour, until now unless another end is given.
    fn of(start: Option<String>, end: Option<String>, now: u64) -> Result<Self, ToolError> {
        let time = |name, text: Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let wrong = || {
                let text = cut_str(&text);
                let expected = "expected a time as 2026-01-31T12:00:00Z or Unix seconds";
                argument(name, format!("{expected}, not {text:?}"))
            };
            parse_time_of_model(&text).map(Some).ok_or_else(wrong)
        };
        let (start, end) = (time("start", start)?, time("end", end)?);
        let end = end.unwrap_or(now);
        let start = start.unwrap_or_else(|| end.saturating_sub(DEFAULT_RANGE_NANOS));
        if start >= end {
            return Err(argument("start", "must be before end, which is now if it is not given"));
        }
        Ok(Self { start, end })
    }

    /// Whole seconds around the range.
    fn seconds(self) -> (String, String) {
        let (start, end) = (self.start / NANOS_A_SECOND, self.end.div_ceil(NANOS_A_SECOND));
        (start.to_string(), end.to_string())
    }

    /// Seconds with a fraction: unlike a number of nanoseconds they mean the same for any time.
    fn milliseconds(self) -> (String, String) {
        let text = |nanos: u64| {
            let millis = nanos / NANOS_A_MILLISECOND;
            format!("{}.{:03}", millis / 1_000, millis % 1_000)
        };
        (text(self.start), text(self.end))
    }
}

/// Unix nanoseconds of a time as on the routes, which may also lack its zone. The number of digits tells the unit of a number: any other
/// than these is a date, or a time that nobody means.
fn parse_time_of_model(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let unit = match text.len() {
            9 | 10 => NANOS_A_SECOND,
            13 => NANOS_A_MILLISECOND,
            16 => NANOS_A_MICROSECOND,
            19 => 1,
            _ => return None,
        };
        return text.parse::<u64>().ok()?.checked_mul(unit);
    }
    parse_time(text).or_else(|| parse_time(&format!("{text}Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_003_600 * NANOS_A_SECOND + 1;

    fn range(start: &str, end: &str) -> Result<Range, ToolError> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Range::of(given(start), given(end), NOW)
    }

    #[test]
    fn range_is_an_hour_unless_it_is_given() {
        let seconds = |start, end| range(start, end).unwrap().seconds();
        let pair = |start: &str, end: &str| (start.to_owned(), end.to_owned());
        assert_eq!(seconds("", ""), pair("1700000000", "1700003601"));
        assert_eq!(seconds("", "2023-11-14T22:13:20+00:00"), pair("1699996400", "1700000000"));
        assert_eq!(seconds("2023-11-14T23:13:19.9+01:00", ""), pair("1699999999", "1700003601"));
        let exact = range("1970-01-01T00:00:05.25Z", "").unwrap().milliseconds();
        assert_eq!(exact, pair("5.250", "1700003600.000"));
    }

    #[test]
    fn times_of_models_are_read_in_all_forms() {
        for text in [
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20",
            "2023-11-14T23:13:20+01:00",
        ] {
            let start = range(text, "").map(|range| range.start);
            assert_eq!(start, Ok(1_700_000_000 * NANOS_A_SECOND), "{text}");
        }
    }

    #[test]
    fn unknown_document_is_the_first_with_the_names_of_all() {
        let text = |name| String::from_utf8(documentation(name).to_vec()).unwrap();
        let basic = text("basic");
        let expected = "There is no document \"query\", only basic, aggregates, structural, metrics. This is basic.\n\n";
        assert_eq!(text("query"), format!("{expected}{basic}"));
        assert_ne!(text("metrics"), basic);
    }

    #[test]
    fn wrong_times_name_their_argument() {
        for (start, end, name) in [
            ("yesterday", "", "start"),
            ("-1700000000", "", "start"),
            ("20231114", "", "start"),
            ("99999999999999999999", "", "start"),
            ("", "2023-11-14", "end"),
            ("", "1969-01-01T00:00:00Z", "end"),
            ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z", "start"),
            ("2099-11-14T22:13:20Z", "", "start"),
        ] {
            let error = range(start, end).unwrap_err();
            assert!(matches!(error, ToolError::Argument { name: of, .. } if of == name), "{error}");
        }
    }

    #[test]
    fn names_are_encoded_for_a_path() {
        assert_eq!(as_part_of_path("span.\"a b/+\""), "span.%22a%20b%2F%2B%22");
    }
}
