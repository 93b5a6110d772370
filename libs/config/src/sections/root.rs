//! The root of the file.

use super::cache::CacheSection;
use super::client::{Backoff, ComponentClient};
use super::compactor::{BackendScheduler, BackendWorker, Compactor, SchedulerClient};
use super::distributor::Distributor;
use super::generator::MetricsGenerator;
use super::ingester::Ingester;
use super::kafka::{BlockBuilder, Ingest, LiveStore};
use super::memberlist::Memberlist;
use super::overrides::Overrides;
use super::querier::Querier;
use super::query_frontend::QueryFrontend;
use super::sampling::Sampling;
use super::server::{Auth, InternalServer, Server};
use super::storage::Storage;
use super::tail_sampling::TailSampling;
use super::text;
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The whole configuration. `Default` is what an empty file means.
    Config {
        target: String = text("all"), "component to run";
        multitenancy_enabled: bool, "require the header X-Scope-OrgID; off, all belongs to single-tenant";
        auth_enabled: bool, "older name of multitenancy_enabled";
        http_api_prefix: String, "prefix of the query API's paths";
        stream_over_http_enabled: bool, "serve the streaming gRPC API on the HTTP port as well";
        shutdown_delay: GoDuration, "how long the process stays up, but not ready, at shutdown";
        enable_go_runtime_metrics: bool, "no effect here";
        partition_ring_live_store: bool, "no effect here";
        span_profiling: bool, "no effect here";
        server: Server, "listeners";
        internal_server: InternalServer, "a listener for probes";
        auth: Auth, "built-in authentication";
        distributor: Distributor, "the distributor";
        ingester: Ingester, "the ingester";
        ingester_client: ComponentClient, "connections to ingesters";
        querier: Querier, "the querier";
        query_frontend: QueryFrontend, "the query-frontend";
        compactor: Compactor, "the compactor";
        metrics_generator: MetricsGenerator, "the metrics generator";
        metrics_generator_client: ComponentClient, "connections to metrics generators";
        storage: Storage, "storage";
        sampling: Sampling, "what clients are told to sample";
        overrides: Overrides, "limits of tenants";
        tail_sampling: TailSampling, "whole traces that are kept, of every tenant without policies of its own";
        memberlist: Memberlist, "gossip";
        cache: CacheSection, "caches";
        usage_report: UsageReport, "usage reports";
        memory: Memory, "memory of the process";
        ingest: Ingest, "Kafka";
        block_builder: BlockBuilder, "block builder of the Kafka architecture";
        live_store: LiveStore, "live store of the Kafka architecture";
        live_store_client: ComponentClient, "connections to live stores";
        backend_scheduler: BackendScheduler, "scheduler of Tempo 3";
        backend_scheduler_client: SchedulerClient, "connections to that scheduler";
        backend_worker: BackendWorker, "worker of Tempo 3";
    }

    /// Memory of the process.
    Memory {
        automemlimit_enabled: bool, "no effect here";
        automemlimit_ratio: f64 = 0.8, "no effect here";
    }
}

impl Config {
    /// True when requests must name their tenant: either spelling of the key turns it on.
    pub fn multitenant(&self) -> bool {
        self.multitenancy_enabled || self.auth_enabled
    }
}

section! {
    /// Anonymous reports, which this program does not send.
    UsageReport {
        reporting_enabled: bool = true, "read, but nothing is ever reported";
        backoff: Backoff = Backoff { max_retries: 0, ..Backoff::default() }, "read, but nothing is ever reported";
    }
}
