//! `metrics_generator`: metrics out of spans.

use super::remote_write::RemoteWrite;
use super::ring::ZonedRing;
use super::storage::{Block, BlockSearch, Wal};
use super::{hours, list, minutes, seconds, text};
use crate::duration::GoDuration;
pub use crate::field::MatchValue;
use crate::field::section;
use std::collections::BTreeMap;

section! {
    /// The metrics generator.
    MetricsGenerator {
        ring: ZonedRing, "ring of generators";
        override_ring_key: String = text("metrics-generator"), "key of the ring";
        ring_mode: String, "no effect here";
        leave_consumer_group_on_shutdown: bool, "no effect here";
        processor: Processors, "what is made of spans";
        registry: Registry, "active series";
        storage: GeneratorStorage, "where metrics go; an empty path leaves the generator off";
        traces_storage: Wal = Wal { path: text(""), ..Wal::default() }, "log of the local-blocks processor";
        traces_query_storage: Wal = Wal { path: text(""), ..Wal::default() }, "no effect here";
        metrics_ingestion_time_range_slack: GoDuration = seconds(30), "spans further from now are left out";
        query_timeout: GoDuration = seconds(30), "no effect here: ingesters answer queries about recent spans";
        limiter_type: String = text("series"), "series or entity";
        codec: String = text("push-bytes"), "no effect here: spans come by gRPC";
        disable_local_blocks: bool, "no effect here";
        disable_grpc: bool, "no effect here";
        ingest_concurrency: i64 = 16, "no effect here";
        instance_id: String, "no effect here: ring.instance_id names this member";
    }

    /// What is made of spans.
    Processors {
        service_graphs: ServiceGraphs, "calls between services";
        span_metrics: SpanMetrics, "rates, errors, durations";
        host_info: HostInfo, "hosts seen";
        local_blocks: LocalBlocks, "no effect here: TraceQL metrics need no local blocks";
    }

    /// Calls between services.
    ServiceGraphs {
        wait: GoDuration = seconds(10), "wait for the other side of a call";
        max_items: i64 = 10_000, "calls that wait";
        workers: i64 = 10, "no effect here";
        histogram_buckets: Vec<f64> = powers_of_two(0.1, 8), "upper bounds, in seconds";
        dimensions: Vec<String>, "attributes that become labels";
        enable_client_server_prefix: bool, "labels of both sides";
        enable_messaging_system_latency_histogram: bool, "time in queues";
        enable_virtual_node_label: bool, "mark services that sent no spans";
        peer_attributes: Vec<String> = list(&["peer.service", "db.name", "db.system"]), "name a service that sent no spans";
        database_name_attributes: Vec<String> = list(&["db.namespace", "db.name", "db.system"]), "name a database";
        span_multiplier_key: String, "attribute with a span's weight";
        enable_tracestate_span_multiplier: bool, "take the weight from the trace state";
        filter_policies: Vec<FilterPolicy>, "spans to use";
    }

    /// Rates, errors, durations.
    SpanMetrics {
        histogram_buckets: Vec<f64> = powers_of_two(0.002, 14), "upper bounds, in seconds";
        intrinsic_dimensions: IntrinsicDimensions, "labels from the span itself";
        dimensions: Vec<String>, "attributes that become labels";
        dimension_mappings: Vec<DimensionMapping>, "labels made of several attributes";
        enable_target_info: bool, "a series a resource";
        target_info_excluded_dimensions: Vec<String>, "resource attributes to leave out";
        enable_instance_label: bool = true, "label instance";
        filter_policies: Vec<FilterPolicy>, "spans to use";
        span_multiplier_key: String, "attribute with a span's weight";
        enable_tracestate_span_multiplier: bool, "take the weight from the trace state";
        aliases: Vec<String>, "otel_seconds and otel_milliseconds show the series also under the names of the OpenTelemetry Collector";
        subprocessors: BTreeMap<String, bool> = [("0", true), ("1", true), ("2", true)].map(|(key, on)| (text(key), on)).into(), "no effect here";
    }

    /// Labels from the span itself.
    IntrinsicDimensions {
        service: bool = true, "service name";
        span_name: bool = true, "span name";
        span_kind: bool = true, "span kind";
        status_code: bool = true, "status";
        status_message: bool, "status message";
    }

    /// A label made of several attributes.
    DimensionMapping {
        name: String, "label";
        source_labels: Vec<String>, "attributes";
        join: String, "text between their values";
    }

    /// Spans to use: matched by `include` and not by `exclude`.
    FilterPolicy {
        include: Option<PolicyMatch>, "all must match";
        include_any: Option<PolicyMatch>, "one must match";
        exclude: Option<PolicyMatch>, "none may match";
    }

    /// Attributes to match.
    PolicyMatch {
        match_type: String, "strict or regex";
        attributes: Vec<MatchAttribute>, "attributes";
    }

    /// One attribute to match.
    MatchAttribute {
        key: String, "name with its scope";
        value: MatchValue, "value or regular expression";
    }

    /// Hosts seen.
    HostInfo {
        host_identifiers: Vec<String> = list(&["k8s.node.name", "host.id"]), "attributes that name a host";
        metric_name: String = text("traces_host_info"), "name of the series";
    }

    /// Recent spans for TraceQL metrics: ingesters answer for them, so that nothing here has an effect.
    LocalBlocks {
        block: Block, "blocks";
        search: BlockSearch, "reading of blocks";
        flush_check_period: GoDuration = seconds(10), "time between sweeps";
        trace_idle_period: GoDuration = seconds(5), "a trace that gets no spans for this long is written";
        trace_live_period: GoDuration = seconds(30), "a trace is written at this age in any case";
        max_block_duration: GoDuration = minutes(1), "cut a block at this age";
        max_block_bytes: u64 = 500_000_000, "cut a block at this size";
        concurrency: i64 = 4, "blocks written at a time";
        complete_block_timeout: GoDuration = hours(1), "how long a block is kept";
        max_live_traces: u64, "live traces; 0 is no limit";
        max_live_traces_bytes: u64 = 250_000_000, "bytes of live traces";
        filter_server_spans: bool = true, "keep only server spans";
        flush_to_storage: bool, "upload the blocks";
        concurrent_blocks: i64 = 10, "blocks queried at a time";
        time_overlap_cutoff: f64 = 0.2, "no effect here: times are always checked";
    }

    /// Active series.
    Registry {
        collection_interval: GoDuration = seconds(15), "interval of collections";
        stale_duration: GoDuration = minutes(15), "a series that does not change for this long, and for two collection intervals, ends";
        staleness_markers: bool, "tell the receiver when a series ends";
        external_labels: BTreeMap<String, String>, "labels of every series; an empty value removes the label of that name";
        inject_tenant_id_as: String, "label that holds the tenant";
        max_label_name_length: i64 = 1_024, "longer names are cut";
        max_label_value_length: i64 = 2_048, "longer values are cut";
        max_bytes: u64 = 100_663_296, "memory of the series of all tenants, about, without what remote write keeps of them; beyond it new combinations of labels count under metric_overflow; pages of series that are scraped may take as much; 0 is no limit";
    }

    /// Where metrics go.
    GeneratorStorage {
        path: String, "directory of the logs of unsent samples";
        wal: GeneratorWal, "the log";
        remote_write_flush_deadline: GoDuration = minutes(1), "time to send the rest at shutdown";
        remote_write_add_org_id_header: bool = true, "send the tenant along";
        remote_write: Vec<RemoteWrite>, "where to send";
    }

    /// The log of metrics.
    GeneratorWal {
        wal_segment_size: i64 = 134_217_728, "bytes of a file of the log from which the next one begins, at most an eighth of max_bytes; files in which labels would take more than a quarter become larger, up to a third of max_bytes";
        wal_compression: String = text("none"), "no effect here";
        stripe_size: i64 = 16_384, "no effect here";
        truncate_frequency: GoDuration = hours(2), "no effect here";
        min_wal_time: i64 = 300_000, "no effect here";
        max_wal_time: i64 = 14_400_000, "milliseconds after which unsent samples are dropped";
        max_bytes: u64 = 1_073_741_824, "most bytes of a tenant's log; the oldest samples are dropped first";
        no_lockfile: bool, "no effect here";
    }
}

/// `count` bounds that double from `first`, free of binary rounding noise.
fn powers_of_two(first: f64, count: u32) -> Vec<f64> {
    // Doubling is exact in binary, so only the first value carries its rounding.
    (0..count).map(|power| first * f64::from(1_u32 << power)).collect()
}
