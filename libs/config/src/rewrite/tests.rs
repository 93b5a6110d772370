use crate::duration::GoDuration;
use crate::from_yaml;

#[test]
fn removed_keys_are_dropped_or_moved() {
    let config = from_yaml(
        "search_enabled: true\nquery_frontend: {query_shards: 7, tolerate_failed_blocks: 1}\n\
         distributor: {log_received_traces: true, max_span_attr_byte: 9}\n\
         storage: {trace: {block: {row_group_size_bytes: 5}, azure: {storage-account-name: x, use_v2_sdk: true}}}\n",
    )
    .unwrap();
    assert_eq!(config.query_frontend.trace_by_id.query_shards, 7);
    assert!(config.distributor.log_received_spans.enabled);
    assert_eq!(config.distributor.max_attribute_bytes, 9);
    assert_eq!(config.storage.trace.block.parquet_row_group_size_bytes, 5);
    assert_eq!(config.storage.trace.azure.storage_account_name, "x");
}

#[test]
fn removed_key_is_weaker_than_its_successor() {
    let config = from_yaml("distributor: {max_span_attr_byte: 9, max_attribute_bytes: 8}").unwrap();
    assert_eq!(config.distributor.max_attribute_bytes, 8);
}

#[test]
fn moved_key_of_wrong_type_is_reported_where_it_stands() {
    let text = from_yaml("a1: 1\ndistributor:\n  max_span_attr_byte: many\n").unwrap_err();
    assert!(text.contains("line 3: cannot unmarshal !!str `many`"), "{text}");
}

#[test]
fn tempo_3_retention_stands_in_for_the_compactor_section() {
    let worker = "backend_worker: {compaction: {block_retention: 720h}}\n";
    let scheduler =
        "backend_scheduler: {provider: {compaction: {compaction: {block_retention: 480h}}}}\n";
    let retention = |text: &str| from_yaml(text).unwrap().compactor.compaction.block_retention;
    assert_eq!(retention(worker), GoDuration::hours(720));
    assert_eq!(retention(&format!("compactor:\n{worker}")), GoDuration::hours(720));
    assert_eq!(retention(&format!("{worker}{scheduler}")), GoDuration::hours(480));
    for other in ["max_block_bytes: 5000000000", "compaction_window: 2h", ""] {
        let other = format!(
            "backend_scheduler: {{provider: {{compaction: {{compaction: {{{other}}}}}}}}}\n"
        );
        assert_eq!(retention(&format!("{worker}{other}")), GoDuration::hours(720), "{other}");
    }
    assert_eq!(
        retention(&format!("{worker}compactor: {{compaction: {{block_retention: 1h}}}}")),
        GoDuration::hours(1)
    );
    let both = crate::load::parse(&format!("{worker}compactor: {{ring: {{instance_port: 7}}}}"));
    let ignored = "backend_worker.compaction ignored, since the file has a section compactor";
    assert_eq!(both.unwrap().warnings, [ignored]);
}

#[test]
fn null_protocol_is_on_and_absent_protocol_is_off() {
    let config =
        from_yaml("distributor: {receivers: {otlp/two: {protocols: {grpc: }}, zipkin: }}").unwrap();
    let receivers = &config.distributor.receivers;
    let protocols = &receivers.otlp["otlp/two"].protocols;
    assert_eq!(protocols.grpc.as_ref().unwrap().server.endpoint, ":4317");
    assert!(protocols.http.is_none());
    assert_eq!(receivers.zipkin["zipkin"].server.endpoint, ":9411");
    assert!(receivers.jaeger.is_empty());
}

#[test]
fn unknown_receiver_is_refused() {
    let text = from_yaml("distributor: {receivers: {statsd: {}}}").unwrap_err();
    assert!(text.contains("field statsd not found in type distributor.receivers"), "{text}");
}

#[test]
fn flat_limits_are_read_over_the_defaults() {
    let config = from_yaml(
        "overrides:\n  max_traces_per_user: 5\n  ingestion_burst_size_bytes: 6\n  block_retention: 7d\n  \
         metrics_generator_processor_span_metrics_dimensions: [a]\n  \
         metrics_generator_forwarder_queue_size: 8\n  cost_attribution: {max_cardinality: 3}\n  \
         per_tenant_override_period: 1m\n",
    )
    .unwrap();
    let limits = &config.overrides.defaults;
    assert_eq!(limits.ingestion.max_traces_per_user, 5);
    assert_eq!(limits.ingestion.rate_limit_bytes, 15_000_000);
    assert_eq!(limits.ingestion.burst_size_bytes, 6);
    assert_eq!(limits.compaction.block_retention.to_string(), "1w");
    let dimensions = limits.metrics_generator.processor.span_metrics.dimensions.clone();
    assert_eq!(dimensions.unwrap(), ["a"]);
    assert_eq!(limits.metrics_generator.forwarder.queue_size, 8);
    assert_eq!(limits.cost_attribution.max_cardinality, 3);
    assert_eq!(config.overrides.per_tenant_override_period.to_string(), "1m");
}

#[test]
fn mixed_limits_are_refused_with_both_texts() {
    let text = from_yaml("overrides:\n  max_traces_per_user: 5\n  defaults: {}\n").unwrap_err();
    assert!(text.contains("field max_traces_per_user not found in type overrides"), "{text}");
    assert!(text.contains("also failed in legacy format"), "{text}");
    assert!(
        text.contains("line 3: field defaults not found in type overrides.legacyConfig"),
        "{text}"
    );
}

#[test]
fn flat_limit_of_wrong_type_is_reported_with_its_line() {
    let text = from_yaml("overrides:\n  max_bytes_per_trace: 1\n  max_traces_per_user: many\n")
        .unwrap_err();
    assert!(text.contains("line 3: cannot unmarshal !!str `many` into int"), "{text}");
}
