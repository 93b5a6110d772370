//! One round: writes some traces, and queries them until all are found or the time is over.

use std::time::{Duration, Instant};

use http::HeaderValue;
use serde::Serialize;

use super::content::Derivation;
use super::continuous::now;
use super::metrics::Metrics;
use super::problem::Query;
use super::queries;
use super::server::Servers;
use crate::error::{Error, Result};

/// A round uses the shortest possible interval: each millisecond is a slot.
const INTERVAL: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(100);

/// The result of one query for a trace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checked {
    pub(crate) tenant: String,
    #[serde(rename = "traceID")]
    pub(crate) trace_id: String,
    pub(crate) spans: usize,
    pub(crate) query: Query,
    /// Time from the acknowledgement until the answer was right.
    pub(crate) found_after_seconds: Option<f64>,
    /// What is wrong with the last answer.
    pub(crate) problem: Option<String>,
}

/// Writes `count` traces and runs every query for each. Errors: a trace was not accepted.
pub(crate) async fn round(
    servers: &Servers,
    metrics: &Metrics,
    seed: &str,
    tenant: Option<&(String, HeaderValue)>,
    count: u64,
    within: Duration,
) -> Result<Vec<Checked>> {
    let name = tenant.map(|(name, _)| name.as_str());
    let header = tenant.map(|(_, header)| header);
    let derivation = Derivation::new(seed, name, INTERVAL);
    let last = derivation.slot(now());
    let mut written = Vec::new();
    for slot in (last - count..last).map(|slot| slot + 1) {
        let trace = derivation.trace(slot);
        let server = servers.push_at(slot);
        server
            .push(trace.request(false, true, ""), header)
            .await
            .map_err(|failure| Error::Push { url: server.url.clone(), source: failure })?;
        written.push((slot, trace, Instant::now()));
    }
    let deadline = Instant::now() + within;
    let mut out = Vec::new();
    for (slot, trace, acknowledged) in &written {
        for query in Query::ALL {
            let server = servers.query_at(slot + query as u64);
            let answer = loop {
                let answer = queries::ask(server, header, trace, query, metrics).await;
                if answer.is_ok() || Instant::now() >= deadline {
                    break answer;
                }
                tokio::time::sleep(PAUSE).await;
            };
            let found = answer.is_ok().then(|| acknowledged.elapsed().as_secs_f64());
            out.push(Checked {
                tenant: name.unwrap_or_default().to_owned(),
                trace_id: trace.id.to_hex(),
                spans: trace.spans.len(),
                query,
                found_after_seconds: found,
                problem: answer.err().map(|problem| problem.to_string()),
            });
        }
    }
    Ok(out)
}
