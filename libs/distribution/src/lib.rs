//! Brings spans from the receivers to the ingesters: validates them, applies limits, and sends them to each replica
//! until enough replicas have stored them. Copies go to forwarders and metrics generators.
//!
//! Attributes are decoded only if usage is counted by attribute. A walk over the request finds its spans, and the
//! pushes refer to slices of the same bytes, with each resource and scope once. An invalid span is dropped without the
//! rest of its request.
//!
//! ```text
//! request -> budget of memory -> walk, by replica set -> rate -> usage -> one push an ingester -> quorum of each trace
//!                          `-> rate -> drop rules, of tenants that have any            `-> forwarders, copies of what was stored
//!                                                                                     `-> metrics generators, of tenants with processors
//! ```
#![warn(missing_docs)]

mod failure;
pub mod forward;
pub mod generators;
mod group;
mod limit;
mod metrics;
mod peers;
mod placement;
mod push;
mod request;
mod root_spans;
mod routes;
mod settings;
mod span_log;
mod tenants;
mod usage;
mod votes;
mod write;

use std::sync::Arc;

use tactus_drop_rules::RuleBook;
use tactus_sampling::Adaptive;
use tactus_server::bodies::Bodies;
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::Budget;

use crate::{
    forward::Forwarders,
    generators::Generators,
    limit::RateLimiter,
    metrics::Metrics,
    peers::{CallSettings, Peers},
    routes::Routes,
    span_log::SpanLog,
    tenants::Tenants,
};

pub use settings::{Parts, Settings};
pub use usage::UsageTracker;

/// Divisor: a suspect ingester may have this fraction of the allowed bytes in flight.
const SUSPECT_SHARE: u64 = 4;

/// A distributor in front of the ingesters of a ring.
#[derive(Debug)]
pub struct Distributor {
    parts: Parts,
    routes: Routes,
    peers: Peers,
    budget: Arc<Budget>,
    tenants: Tenants,
    limiter: RateLimiter,
    usage: Option<Arc<UsageTracker>>,
    span_log: Option<SpanLog>,
    rules: Option<RuleBook>,
    forwarders: Option<Forwarders>,
    generators: Option<Generators>,
    adaptive: Option<Arc<Adaptive>>,
    metrics: Metrics,
}

impl Distributor {
    /// A distributor that pushes to the ingesters of a ring.
    pub fn new(parts: Parts, registry: &Registry) -> Self {
        let settings = &parts.settings;
        let calls = CallSettings {
            remote_timeout: settings.remote_timeout,
            late_after: settings.late_after(),
            max_suspect_bytes: settings.max_inflight_bytes / SUSPECT_SHARE,
        };
        let section = &settings.section;
        let usage = &section.usage.cost_attribution;
        let usage = usage.enabled.then(|| Arc::new(UsageTracker::new(usage.clone(), registry)));
        let metrics = Metrics::register(registry);
        let inflight = metrics.inflight_bytes.clone();
        Self {
            routes: Routes::new(Arc::clone(&parts.ingesters), section.extend_writes),
            peers: Peers::new(calls, Arc::clone(&parts.ingester_of)),
            budget: Budget::shown(settings.max_inflight_bytes, move |bytes| inflight.add(bytes)),
            tenants: Tenants::new(section.max_tenants),
            limiter: RateLimiter::default(),
            usage,
            span_log: SpanLog::new(section, registry),
            rules: None,
            forwarders: None,
            generators: None,
            adaptive: None,
            metrics,
            parts,
        }
    }

    /// The memory that receivers use for requests, counted from the first byte of each.
    pub fn bodies(&self) -> Arc<Bodies> {
        Bodies::counting(&self.budget, self.metrics.overload_refusals.clone())
    }

    /// Drops spans and changes attributes by these rules.
    #[must_use]
    pub fn with_rules(self, rules: RuleBook) -> Self {
        Self { rules: Some(rules), ..self }
    }

    /// Sends copies of what is stored on.
    #[must_use]
    pub fn with_forwarders(self, forwarders: Forwarders) -> Self {
        Self { forwarders: Some(forwarders), ..self }
    }

    /// Sends what is stored to metrics generators.
    #[must_use]
    pub fn with_generators(self, generators: Option<Generators>) -> Self {
        Self { generators, ..self }
    }

    /// Counts the root spans that are stored, for adaptive sampling.
    #[must_use]
    pub fn with_adaptive_sampling(self, adaptive: Option<Arc<Adaptive>>) -> Self {
        Self { adaptive, ..self }
    }

    /// What `/usage_metrics` shows; `None` if usage is not tracked.
    pub fn usage(&self) -> Option<Arc<UsageTracker>> {
        self.usage.clone()
    }
}

#[cfg(test)]
mod tests;
