//! `POST /api/tail-sampling/dry-run`: which stored traces would be kept by tail sampling policies.

mod dry_run;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::routing::post;
use serde_json::{Value, json};
use tactus_api::request::metrics_range;
use tactus_api::{Error, Result};
use tactus_config::Config;
use tactus_config::sections::tail_sampling::{Policy, TailSampling};
use tactus_model::TenantId;
use tactus_overrides::Overrides;
use tactus_tail_sampling::Policies;

use crate::frontend::Frontend;
use crate::http::{Answer, Answered, Asked, Call, begin_calls};
use crate::parsing::LONG;
use crate::trace_lookup::TraceLookup;
use dry_run::{Found, Tally};

const DEFAULT_TRACES: u32 = 1_000;
const MOST_TRACES: u32 = 10_000;
/// Bytes of a body: what is made of it takes many times as much.
const MOST_BODY_BYTES: usize = 256 << 10;

/// Returns the policies of a tenant at this moment.
pub type PoliciesOf = Arc<dyn Fn(&TenantId) -> Vec<Policy> + Send + Sync>;

/// The policies from the configuration and the limits of tenants.
pub fn policies_of(config: &Config, overrides: Arc<Overrides>) -> PoliciesOf {
    let of_all = config.tail_sampling.policies.clone();
    Arc::new(move |tenant| match &overrides.of(tenant).tail_sampling.0 {
        Some(own) => own.policies.clone(),
        None => of_all.clone(),
    })
}

/// The route. A body in YAML or JSON says which `policies` to try; without one it is what the tenant has now.
/// `start` and `end` as for metrics queries, `limit`: the number of traces, the newest ones.
pub fn router(frontend: Arc<Frontend>, present: PoliciesOf) -> Router {
    let route = Router::new().route("/api/tail-sampling/dry-run", post(dry_run));
    begin_calls(route.with_state(present), &frontend)
}

async fn dry_run(
    State(present): State<PoliciesOf>,
    Extension(call): Asked,
    body: Bytes,
) -> Answered {
    let Call { frontend, tenants, .. } = &call;
    let params = call.params();
    if body.len() > MOST_BODY_BYTES {
        let text = format!("body: larger than {MOST_BODY_BYTES} bytes");
        return Err(Error::Invalid(text).into());
    }
    let (start, end) = metrics_range(&params, tactus_clock::unix_nanos())?;
    if end < start {
        return Err(Error::Invalid("end must not be before start".to_owned()).into());
    }
    let limit = match params.get("limit") {
        None => DEFAULT_TRACES,
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=MOST_TRACES).contains(limit));
            limit.ok_or_else(|| Error::Invalid(format!("limit must be from 1 to {MOST_TRACES}")))?
        }
    };
    // Policies contain queries and regular expressions, which may take long to compile.
    let of = tenants.clone();
    let compile = move || {
        let configured = policies(&of, &body, &present)?;
        let policies = Policies::compile(&configured)
            .map_err(|error| Error::Invalid(format!("policies: {error}")))?;
        Ok((configured, Arc::new(policies)))
    };
    let (configured, policies) = frontend.parse(tenants, LONG, compile).await?;
    let lookup = TraceLookup { query: "{ }".to_owned(), limit, start, end };
    let found = frontend.try_policies(tenants, &lookup, Arc::clone(&policies)).await?;
    Ok(Answer::json(&report(&configured, &policies, &lookup, &found)))
}

/// The policies of the body, or else those of the tenants.
fn policies(tenants: &[TenantId], body: &[u8], present: &PoliciesOf) -> Result<Vec<Policy>> {
    let text =
        std::str::from_utf8(body).map_err(|_| Error::Invalid("body: not UTF-8".to_owned()))?;
    if !text.trim().is_empty() {
        let section = TailSampling::parse(text);
        return Ok(section.map_err(|reason| Error::Invalid(format!("body: {reason}")))?.policies);
    }
    match tenants {
        [tenant] => Ok(present(tenant)),
        _ => {
            let reason = "several tenants have no policies together: send policies";
            Err(Error::Invalid(reason.to_owned()))
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

/// Numbers of traces, spans and bytes, and their share of the total.
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
