//! `overrides`: limits, for all tenants and for each.

use super::distributor::DropRule;
use super::generator::{DimensionMapping, FilterPolicy};
use super::minutes;
use super::object_store::{Azure, Gcs, LocalStore, S3};
use super::storage::DedicatedColumn;
use super::tail_sampling::OwnTailSampling;
use super::text;
use crate::duration::{GoDuration, PromDuration};
use crate::field::{Secret, section};
use std::collections::BTreeMap;

section! {
    /// The `overrides` section.
    Overrides {
        defaults: Limits = Limits::built_in(), "limits of every tenant without an entry of its own";
        per_tenant_override_config: String, "file with limits of tenants; read again when it changes";
        per_tenant_override_period: PromDuration = PromDuration::seconds(10), "interval at which that file is checked for changes; 0 is never";
        user_configurable_overrides: UserOverrides, "limits that tenants set by the API";
        enable_legacy_overrides: bool, "no effect here: flat limits are always accepted";
    }

    /// Limits that tenants set by the API.
    UserOverrides {
        enabled: bool, "serve /api/overrides";
        poll_interval: GoDuration = minutes(1), "interval at which the stored limits are read; 0 is only at the start";
        max_bytes: u64 = 33_554_432, "JSON of the limits of all tenants, each counted with 4 KiB besides; beyond it no tenant can set more than it has, and what is stored beyond it has no effect; a single tenant's may have 256 KiB; 0 is no limit";
        client: UserOverridesClient, "where they are stored";
        api: UserOverridesApi, "checks";
    }

    /// Where such limits are stored.
    UserOverridesClient {
        backend: String, "local, s3, gcs or azure";
        confirm_versioning: bool = true, "no effect here: a bucket need not keep versions";
        local: LocalStore, "the local store";
        s3: S3, "the S3 store";
        gcs: Gcs, "the Google store";
        azure: Azure, "the Azure store";
    }

    /// Checks on such limits.
    UserOverridesApi {
        check_for_conflicting_runtime_overrides: bool, "refuse what the operator's file sets";
    }

    /// The limits of a tenant. `Default` is all zero, which is what an entry of the per-tenant file
    /// starts from; the built-in limits are `Limits::built_in`.
    Limits {
        ingestion: IngestionLimits, "limits on spans that come in";
        read: ReadLimits, "limits on queries";
        compaction: CompactionLimits, "retention";
        metrics_generator: GeneratorLimits, "metrics out of spans";
        forwarders: Vec<String>, "names of distributor.forwarders to send to";
        global: GlobalLimits, "limits everywhere";
        storage: StorageLimits, "blocks";
        cost_attribution: CostAttribution, "usage by attribute";
        drop_rules: Vec<DropRule>, "spans and attributes to take out of requests, beside distributor.drop_rules";
        sampling: SamplingLimits, "what clients are told to sample";
        tail_sampling: OwnTailSampling, "in the place of tail_sampling, with the same keys; without policies all is kept";
    }

    /// Limits on spans that come in.
    IngestionLimits {
        rate_strategy: String, "local, or global to divide the limit by the distributors; only of defaults";
        rate_limit_bytes: u64, "bytes a second";
        burst_size_bytes: u64, "bytes at once";
        max_traces_per_user: u64, "live traces of an ingester; 0 is no limit";
        max_global_traces_per_user: u64, "live traces of all ingesters; 0 is no limit";
        tenant_shard_size: usize, "ingesters of a tenant; 0 is all";
        max_attribute_bytes: usize, "longer keys and text values are cut; 0 takes the distributor's";
        artificial_delay: Option<GoDuration>, "the least time that an answer to spans takes; unset takes the distributor's";
        retry_info_enabled: bool, "send the distributor's retry hint";
    }

    /// Limits on queries.
    ReadLimits {
        max_bytes_per_tag_values_query: u64, "bytes of a tag answer; 0 is no limit";
        max_blocks_per_tag_values_query: u64, "blocks a tag query reads; 0 is no limit";
        max_search_duration: PromDuration, "longest range of a search; 0 takes the frontend's";
        max_metrics_duration: PromDuration, "longest range of a metrics query; 0 takes the frontend's";
        unsafe_query_hints: bool, "allow query hints that can cost a lot";
        max_condition_groups_per_tag_query: Option<u64>, "conditions of a tag query";
        left_pad_trace_ids: bool, "fill short trace ids up with zeros";
        metrics_spanonly_fetch: Option<bool>, "no effect here";
        max_concurrent_queries: u64, "queries at a time; more get 429; 0 is no limit";
        max_inspected_bytes: u64, "bytes that one query may read, in addition to the frontend's limit; a query that exceeds it gets 422; 0 is no limit";
        max_query_cpu_time: PromDuration, "CPU time of one query in one process; 0 takes the frontend's";
    }

    /// Retention.
    CompactionLimits {
        block_retention: PromDuration, "delete spans older than this; 0 takes the compactor's";
        compaction_window: PromDuration, "merge blocks of the same window; 0 takes the compactor's";
        compaction_disabled: bool, "do not merge blocks";
        max_bytes: u64, "past this size of the tenant's blocks the oldest are deleted; 0 is no limit";
        retention_policies: Vec<RetentionPolicy>, "traces kept for another time than block_retention; the first query that matches a trace decides, for its spans in one block";
    }

    /// How long traces that match a query are kept.
    RetentionPolicy {
        query: String, "TraceQL that selects traces";
        retention: PromDuration, "delete them when they are older; 0 is never";
    }

    /// Metrics out of spans.
    GeneratorLimits {
        ring_size: usize, "generators of a tenant; 0 is all";
        processors: Vec<String>, "service-graphs, span-metrics, span-metrics-latency, span-metrics-count, span-metrics-size, host-info; local-blocks has no effect";
        max_active_series: u64, "series; 0 is no limit";
        max_active_entities: u64, "label sets; 0 is no limit";
        max_cardinality_per_label: u64, "values of a label; 0 is no limit";
        collection_interval: GoDuration, "interval of collections; 0 takes the registry's";
        disable_collection: bool, "collect, but send nothing";
        generate_native_histograms: String, "classic, native or both";
        native_histogram_bucket_factor: f64, "growth of buckets, above 1; 0 takes the default's";
        native_histogram_max_bucket_number: u32, "most buckets; 0 takes the default's";
        native_histogram_min_reset_duration: GoDuration, "reset at the earliest after; 0 takes the default's";
        trace_id_label_name: String, "label of exemplars; empty is traceID";
        remote_write_headers: BTreeMap<String, Secret>, "headers to send along";
        forwarder: GeneratorForwarder, "queue in the distributor";
        processor: ProcessorLimits, "settings of processors";
        ingestion_time_range_slack: GoDuration, "spans further from now are left out; 0 takes the generator's";
        span_name_sanitization: String, "make span names fewer";
        enable_tracestate_span_multiplier: Option<bool>, "take the weight of a span from the trace state";
        span_multiplier_key: String, "attribute with a span's weight";
    }

    /// The queue in the distributor.
    GeneratorForwarder {
        queue_size: i64, "requests that wait; 0 is 100; those of all tenants together may hold a quarter of distributor.max_inflight_bytes";
        workers: i64, "workers; 0 is 2";
    }

    /// Settings of processors; what is not set comes from metrics_generator.processor.
    ProcessorLimits {
        service_graphs: ServiceGraphsLimits, "calls between services";
        span_metrics: SpanMetricsLimits, "rates, errors, durations";
        local_blocks: LocalBlocksLimits, "recent spans";
        host_info: HostInfoLimits, "hosts seen";
    }

    /// Calls between services.
    ServiceGraphsLimits {
        histogram_buckets: Option<Vec<f64>>, "upper bounds, in seconds";
        dimensions: Option<Vec<String>>, "attributes that become labels";
        peer_attributes: Option<Vec<String>>, "name a service that sent no spans";
        filter_policies: Option<Vec<FilterPolicy>>, "spans to use";
        enable_client_server_prefix: Option<bool>, "labels of both sides";
        enable_messaging_system_latency_histogram: Option<bool>, "time in queues";
        enable_virtual_node_label: Option<bool>, "mark services that sent no spans";
        span_multiplier_key: String, "attribute with a span's weight";
        enable_tracestate_span_multiplier: Option<bool>, "take the weight from the trace state";
    }

    /// Rates, errors, durations.
    SpanMetricsLimits {
        histogram_buckets: Option<Vec<f64>>, "upper bounds, in seconds";
        dimensions: Option<Vec<String>>, "attributes that become labels";
        intrinsic_dimensions: Option<BTreeMap<String, bool>>, "labels from the span itself";
        filter_policies: Option<Vec<FilterPolicy>>, "spans to use";
        dimension_mappings: Option<Vec<DimensionMapping>>, "labels made of several attributes";
        enable_target_info: Option<bool>, "a series a resource";
        target_info_excluded_dimensions: Option<Vec<String>>, "resource attributes to leave out";
        enable_instance_label: Option<bool>, "label instance";
        aliases: Option<Vec<String>>, "further names of the series";
        span_multiplier_key: String, "attribute with a span's weight";
        enable_tracestate_span_multiplier: Option<bool>, "take the weight from the trace state";
    }

    /// Recent spans.
    LocalBlocksLimits {
        max_live_traces: u64, "live traces";
        max_block_duration: GoDuration, "cut a block at this age";
        max_block_bytes: u64, "cut a block at this size";
        flush_check_period: GoDuration, "time between sweeps";
        trace_idle_period: GoDuration, "a trace that gets no spans for this long is written";
        complete_block_timeout: GoDuration, "how long a block is kept";
    }

    /// Hosts seen.
    HostInfoLimits {
        host_identifiers: Option<Vec<String>>, "attributes that name a host";
        metric_name: String, "name of the series";
    }

    /// Limits everywhere.
    GlobalLimits {
        max_bytes_per_trace: u64, "bytes of a trace; 0 is no limit";
    }

    /// Blocks.
    StorageLimits {
        parquet_dedicated_columns: Option<Vec<DedicatedColumn>>, "attributes with a column of their own";
        value_filters_disabled: bool, "write blocks without filters of values, which take 3 % of a block at most and leave out blocks that cannot hold a value";
    }

    /// What clients are told to sample.
    SamplingLimits {
        strategies_file: String, "file of strategies in JSON, or its URL, for the tenant's services; empty takes what the section sampling says";
    }

    /// Usage by attribute.
    CostAttribution {
        max_cardinality: u64, "series; 0 takes the distributor's";
        dimensions: BTreeMap<String, String>, "attribute to label, 64 at most; an empty label is made of the attribute";
    }
}

impl Limits {
    /// The limits of a tenant about which no file says anything.
    pub fn built_in() -> Self {
        Self {
            ingestion: IngestionLimits {
                rate_strategy: text("local"),
                rate_limit_bytes: 15_000_000,
                burst_size_bytes: 20_000_000,
                max_traces_per_user: 10_000,
                retry_info_enabled: true,
                ..IngestionLimits::default()
            },
            read: ReadLimits { max_bytes_per_tag_values_query: 1_000_000, ..ReadLimits::default() },
            metrics_generator: GeneratorLimits {
                generate_native_histograms: text("classic"),
                native_histogram_bucket_factor: 1.1,
                native_histogram_max_bucket_number: 100,
                native_histogram_min_reset_duration: minutes(15),
                ..GeneratorLimits::default()
            },
            global: GlobalLimits { max_bytes_per_trace: 5_000_000 },
            ..Self::default()
        }
    }
}
