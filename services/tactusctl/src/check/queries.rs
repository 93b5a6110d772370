//! The four queries for a trace.

use std::time::{Duration, Instant};

use form_urlencoded::Serializer;
use http::HeaderValue;

use super::compare;
use super::content::{CheckTrace, ROOT_NAME};
use super::metrics::Metrics;
use super::problem::{Problem, Query};
use super::server::QueryServer;

const PROTOBUF: &str = "application/protobuf";
const JSON: &str = "application/json";
/// Seconds before and after a trace that a query covers.
const MARGIN_SECONDS: u64 = 120;

impl Query {
    fn path(self, trace: &CheckTrace) -> (String, &'static str) {
        let seconds = trace.start_unix_nanos / 1_000_000_000;
        let (start, end) = (seconds.saturating_sub(MARGIN_SECONDS), seconds + MARGIN_SECONDS);
        let mut parameters = Serializer::new(String::new());
        parameters.append_pair("start", &start.to_string()).append_pair("end", &end.to_string());
        let key = &trace.key;
        let (path, accept) = match self {
            Self::ById => (format!("/api/v2/traces/{}", trace.id.to_hex()), PROTOBUF),
            Self::Search => {
                parameters.append_pair("tags", &format!("check.key={key}"));
                parameters.append_pair("limit", "10");
                ("/api/search".to_owned(), JSON)
            }
            Self::TraceQl => {
                let ratio = trace.searched_ratio();
                let spans = format!("span.check.ratio >= {ratio:.3}");
                // A search evaluates one block at a time. It does not see relations between blocks before these are merged.
                let query = match trace.is_divided {
                    true => format!(
                        "{{ span.check.key = \"{key}\" && span.check.index > 0 && {spans} }}"
                    ),
                    false => {
                        format!(
                            "{{ name = \"{ROOT_NAME}\" && span.check.key = \"{key}\" }} >> {{ {spans} }}"
                        )
                    }
                };
                parameters.append_pair("q", &query);
                parameters.append_pair("limit", "10").append_pair("spss", "100");
                ("/api/search".to_owned(), JSON)
            }
            Self::Metrics => {
                let query = format!(
                    "{{ span.check.key = \"{key}\" }} | count_over_time() by (resource.service.name)"
                );
                parameters.append_pair("q", &query).append_pair("step", "60s");
                ("/api/metrics/query_range".to_owned(), JSON)
            }
        };
        (format!("{path}?{}", parameters.finish()), accept)
    }
}

/// Runs one of the queries, and compares the answer with what was written.
pub(crate) async fn ask(
    server: &QueryServer,
    tenant: Option<&HeaderValue>,
    trace: &CheckTrace,
    query: Query,
    metrics: &Metrics,
) -> Result<(), Problem> {
    let (path, accept) = query.path(trace);
    let began = Instant::now();
    let answer = server.get(&path, accept, tenant).await;
    metrics.queried(&server.url, query, &answer, began.elapsed());
    let Some(body) = answer.map_err(Problem::Failed)? else {
        return Err(Problem::NotFound);
    };
    match query {
        Query::ById => compare::by_id(trace, body),
        Query::Search => compare::search(trace, &body),
        Query::TraceQl => compare::traceql(trace, &body),
        Query::Metrics => compare::metrics(trace, &body),
    }
}

/// The request for the newest traces of an origin between two times since 1970, each with its `check.written`.
pub(crate) fn history_path(origin: &str, start: Duration, end: Duration) -> String {
    let query = format!(
        "{{ name = \"{ROOT_NAME}\" && resource.check.origin = \"{origin}\" }} | select(span.check.written, span.check.slot)"
    );
    let mut parameters = Serializer::new(String::new());
    parameters
        .append_pair("q", &query)
        .append_pair("start", &start.as_secs().to_string())
        .append_pair("end", &end.as_secs().to_string())
        .append_pair("limit", "20")
        .append_pair("spss", "1");
    format!("/api/search?{}", parameters.finish())
}
