//! `POST /api/tail-sampling/dry-run`: what policies of tail sampling would keep of the traces that are stored.

mod dry_run;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Uri};
use serde_json::{Value, json};
use tactus_api::request::metrics_range;
use tactus_api::{Error, QueryParams, Result};
use tactus_config::Config;
use tactus_config::sections::tail_sampling::{Policy, TailSampling};
use tactus_model::TenantId;
use tactus_overrides::Overrides;
use tactus_server::http::text;
use tactus_tail_sampling::Policies;

use crate::frontend::{Frontend, unix_nanos_now};
use crate::parsing::LONG;
use crate::trace_lookup::TraceLookup;
use dry_run::{Found, Tally};

const DEFAULT_TRACES: u32 = 1_000;
const MOST_TRACES: u32 = 10_000;

/// The policies that a tenant has now.
pub type PoliciesOf = Arc<dyn Fn(&TenantId) -> Vec<Policy> + Send + Sync>;

#[derive(Clone)]
struct DryRuns {
    frontend: Arc<Frontend>,
    present: PoliciesOf,
}

/// What the configuration and the limits of tenants say.
pub fn policies_of(config: &Config, overrides: Arc<Overrides>) -> PoliciesOf {
    let of_all = config.tail_sampling.policies.clone();
    Arc::new(move |tenant| match &overrides.of(tenant).tail_sampling.0 {
        Some(own) => own.policies.clone(),
        None => of_all.clone(),
    })
}

/// The route. A body in YAML or JSON says which `policies` to try; without one it is what the tenant has now.
/// `start` and `end` as for metrics queries, `limit` the newest so many traces.
pub fn router(frontend: Arc<Frontend>, present: PoliciesOf) -> Router {
    Router::new()
        .route("/api/tail-sampling/dry-run", post(dry_run))
        .with_state(DryRuns { frontend, present })
}

async fn dry_run(
    State(runs): State<DryRuns>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let tenants = match runs.frontend.tenancy.read_tenants(&headers) {
        Ok(tenants) => tenants,
        Err(error) => return error.into_response(),
    };
    match runs.answer(&tenants, &uri, &body).await {
        Ok(report) => ([(CONTENT_TYPE, "application/json")], report.to_string()).into_response(),
        Err(error) => {
            let status = error.http_status();
            if status.is_server_error() {
                tracing::warn!(%error, %status, "dry run failed");
            }
            text(status, error.to_string())
        }
    }
}

impl DryRuns {
    async fn answer(&self, tenants: &[TenantId], uri: &Uri, body: &Bytes) -> Result<Value> {
        let url = uri.path_and_query().map_or("", |url| url.as_str());
        self.frontend.check_url(url)?;
        let params = QueryParams::parse(uri.query().unwrap_or_default());
        let (start, end) = metrics_range(&params, unix_nanos_now())?;
        if end < start {
            return Err(Error::Invalid("end must not be before start".to_owned()));
        }
        let limit = match params.get("limit") {
            None => DEFAULT_TRACES,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=MOST_TRACES).contains(limit)).ok_or_else(
                    || Error::Invalid(format!("limit must be from 1 to {MOST_TRACES}")),
                )?
            }
        };
        // Policies have queries and patterns, which may take long to compile.
        let (runs, of, text) = (self.clone(), tenants.to_vec(), body.clone());
        let compile = move || {
            let configured = runs.policies(&of, &text)?;
            let policies = Policies::compile(&configured)
                .map_err(|error| Error::Invalid(format!("policies: {error}")))?;
            Ok((configured, Arc::new(policies)))
        };
        let (configured, policies) = self.frontend.parse(tenants, LONG, compile).await?;
        let lookup = TraceLookup { query: "{ }".to_owned(), limit, start, end };
        let found = self.frontend.try_policies(tenants, &lookup, Arc::clone(&policies)).await?;
        Ok(report(&configured, &policies, &lookup, &found))
    }

    /// Those of the body, or those that the tenant has.
    fn policies(&self, tenants: &[TenantId], body: &[u8]) -> Result<Vec<Policy>> {
        let text =
            std::str::from_utf8(body).map_err(|_| Error::Invalid("body: not UTF-8".to_owned()))?;
        if !text.trim().is_empty() {
            let section = TailSampling::parse(text);
            return Ok(section
                .map_err(|reason| Error::Invalid(format!("body: {reason}")))?
                .policies);
        }
        match tenants {
            [tenant] => Ok((self.present)(tenant)),
            _ => {
                let reason = "several tenants have no policies together: send policies";
                Err(Error::Invalid(reason.to_owned()))
            }
        }
    }
}

fn report(
    configured: &[Policy],
    policies: &Policies,
    lookup: &TraceLookup,
    found: &Found,
) -> Value {
    let seconds = |nanos: u64| nanos / 1_000_000_000;
    let of_policy = |(place, policy): (usize, &Policy)| {
        let said = found.policies.get(place).copied().unwrap_or_default();
        let mut shown = shown(said.sampled, found.seen);
        shown["name"] = json!(policy.name);
        shown["type"] = json!(policy.kind);
        shown["estimated"] = json!(policies.limits_rate(place));
        shown["failed"] = json!(said.failed_traces);
        shown
    };
    let is_estimated = (0..configured.len()).any(|place| policies.limits_rate(place));
    let mut kept = shown(found.kept, found.seen);
    kept["estimated"] = json!(is_estimated);
    json!({
        "start": seconds(lookup.start),
        "end": seconds(lookup.end),
        "limit": lookup.limit,
        "limitReached": found.limit_reached,
        "partial": found.partial,
        "seen": {
            "traces": found.seen.traces, "spans": found.seen.spans, "bytes": found.seen.bytes,
        },
        "kept": kept,
        "policies": configured.iter().enumerate().map(of_policy).collect::<Vec<_>>(),
    })
}

/// Traces, spans and bytes, and which share of all they are.
fn shown(tally: Tally, of: Tally) -> Value {
    let share = |part: u64, all: u64| if all == 0 { 0.0 } else { part as f64 / all as f64 };
    json!({
        "traces": tally.traces,
        "spans": tally.spans,
        "bytes": tally.bytes,
        "share": {
            "traces": share(tally.traces, of.traces),
            "spans": share(tally.spans, of.spans),
            "bytes": share(tally.bytes, of.bytes),
        },
    })
}
