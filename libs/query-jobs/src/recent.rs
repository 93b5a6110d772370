//! Recent data: asks all ingesters of a tenant at the same time, and combines their answers.
//!
//! An acknowledged span is stored by a majority of its replicas, so the answer is complete even if a few ingesters
//! fail. If more fail, the answer is built from the rest and marked partial. An ingester whose disk cannot read some of its
//! spans counts as one that failed, but its answer is used. Queries do not wait long for an ingester that is not needed,
//! and do not fail because of one that is gone.

mod ask;
mod merge;
mod once;
mod service;
mod shard_sizes;
mod silent;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tactus_config::sections::querier::Querier as Section;
use tactus_ring::{LookBack, ReadSet, Ring, RingView, Tolerance};
use tactus_rpc::IngesterOf;
use tactus_server::bodies::Bodies;
use tactus_telemetry::metrics::{CounterVec, Kind, Registry};

use shard_sizes::ShardSizes;
use silent::SilentIngesters;

/// The parts of [`RecentData`].
pub struct RecentParts {
    /// The section `querier`.
    pub section: Section,
    /// How long an ingester may be the only one that has a span: until a block is written and its spans given up.
    pub in_ingesters: Duration,
    /// The ingesters.
    pub ring: Arc<Ring>,
    /// The connections to the ingesters.
    pub ingester_at: IngesterOf,
    /// Ingesters that take the writes of a tenant; 0 is all.
    pub shard_size_of: Arc<dyn Fn(&str) -> usize + Send + Sync>,
    /// Memory of their answers, until one is made of them (`server.max_inflight_bytes`).
    pub memory: Arc<Bodies>,
}

/// The recent data of all ingesters, as the service of one.
#[derive(Clone)]
pub struct RecentData {
    parts: Arc<RecentParts>,
    holdings: Arc<once::KeptHoldings>,
    shard_sizes: Arc<ShardSizes>,
    silent: Arc<SilentIngesters>,
    failures: CounterVec<2>,
    partial: CounterVec<1>,
}

tactus_telemetry::debug_of!(it: RecentData { section = it.parts.section });

impl RecentData {
    /// The recent data of these ingesters.
    pub fn new(parts: RecentParts, registry: &Registry) -> Self {
        let failures = registry.counter_vec(
            "tactus_querier_ingester_failures_total",
            "Calls of ingesters for recent data that failed or took too long, by kind of query and gRPC code.",
            ["op", "code"],
        );
        let partial = registry.counter_vec(
            "tactus_querier_partial_recent_answers_total",
            "Answers on recent data that may have gaps, by kind of query.",
            ["op"],
        );
        let parts = Arc::new(parts);
        let ring = Arc::downgrade(&parts);
        registry.register_collector(move |out| {
            let Some(parts) = ring.upgrade() else { return };
            let help = "Ingesters that are asked for recent data.";
            out.family("tempo_querier_ingester_clients", help, Kind::Gauge);
            out.sample(&[], parts.ring.view().instances().len() as f64);
        });
        let (holdings, shard_sizes, silent) = Default::default();
        Self { parts, holdings, shard_sizes, silent, failures, partial }
    }

    /// The ingesters to ask for something of a tenant.
    fn read_set(&self, tenant: &str) -> ReadSet {
        let view = self.parts.ring.view();
        let section = &self.parts.section;
        if !section.shuffle_sharding_ingesters_enabled {
            return all_that_hold_a_span(&view);
        }
        let look_back = section.shuffle_sharding_ingesters_lookback_period.as_std();
        let look_back = look_back.max(self.parts.in_ingesters);
        let size = (self.parts.shard_size_of)(tenant);
        if !self.shard_sizes.is_settled(tenant, size, look_back) || view.has_pending() {
            return all_that_hold_a_span(&view);
        }
        let look_back = LookBack { since: unix_seconds_before(look_back), period: look_back };
        all_that_hold_a_span(&view.shuffle_shard_with_look_back(tenant, size, look_back))
    }
}

/// All ingesters of a view. With two replicas, a write succeeds at one of them, so a span may be missing without
/// either: then none may fail.
fn all_that_hold_a_span(view: &RingView) -> ReadSet {
    let mut set = view.read_set();
    if view.replication_factor() == 2 {
        set.missing = set.missing.max(set.unhealthy.len());
        set.tolerance = match set.tolerance {
            Tolerance::Instances(_) => Tolerance::Instances(0),
            Tolerance::Zones(_) => Tolerance::Zones(0),
        };
    }
    set
}

/// The time this long ago, in Unix seconds.
fn unix_seconds_before(time: Duration) -> i64 {
    i64::try_from(tactus_clock::since_epoch().saturating_sub(time).as_secs()).unwrap_or(i64::MAX)
}
