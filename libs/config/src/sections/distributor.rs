//! `distributor`: receivers, limits on attributes, forwarding, and rules on what is taken out of requests, which tenants have
//! as well.

use super::kafka::Kafka;
use super::receivers::Receivers;
use super::ring::Ring;
use super::{minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The distributor.
    Distributor {
        receivers: Receivers, "ports that spans come in by; with none named the target all starts OTLP, Jaeger and Zipkin, others OTLP/gRPC, Jaeger gRPC and Jaeger Thrift over HTTP";
        ring: Ring = Ring { heartbeat_timeout: minutes(5), ..Ring::default() }, "ring of distributors, for the global rate strategy";
        override_ring_key: String = text("distributor"), "key of the ring";
        log_received_spans: LogSpans, "log each span that comes in, to find out where spans go; not for every day";
        log_discarded_spans: LogSpans, "log each span that is not stored, with the reason";
        metric_received_spans: MetricSpans, "count spans by name and service, in tempo_distributor_debug_spans_received_total";
        forwarders: Vec<Forwarder>, "further places to send spans to; tenants choose them";
        drop_rules: Vec<DropRule>, "spans and attributes to take out of the requests of all tenants, before a tenant's own rules";
        usage: Usage, "usage by attribute";
        extend_writes: bool = true, "write to the next ingester when one is not active";
        retry_after_on_resource_exhausted: GoDuration = seconds(5), "retry hint in refusals; 0 sends none";
        max_attribute_bytes: usize = 2_048, "longer keys and text values are cut; 0 is no limit";
        max_inflight_bytes: u64, "memory for pushes from their first byte, including the decompressed and decoded forms and copies for replicas; beyond the limit pushes are refused with a retry hint; bodies as received use half of it at most; set it to at least 15 times the largest body; 0 takes a tenth of the memory, 256 MiB at most";
        max_tenants: usize = 10_000, "tenants that sent something in the last ten minutes; pushes of further ones are refused with a retry hint; 0 is no limit";
        hedging_delay: GoDuration = GoDuration::millis(250), "if an ingester takes longer to answer and too few replicas have its spans, they also go to the next one; 0 waits for failures";
        artificial_delay: GoDuration, "the least time that an answer takes; a test aid";
        ingester_write_path_enabled: bool = true, "no effect here: spans always go to ingesters";
        kafka_write_path_enabled: bool, "no effect here: spans always go to ingesters";
        kafka_config: Kafka = Kafka::unset(), "no effect here";
    }

    /// One log line a span.
    LogSpans {
        enabled: bool, "on";
        include_all_attributes: bool, "with service, name, kind, status, duration, and the attributes that are no arrays, maps or bytes";
        filter_by_status_error: bool, "only spans with an error";
    }

    /// Counts of spans by name and service.
    MetricSpans {
        enabled: bool, "on";
        root_only: bool, "only spans without a parent";
    }

    /// A further place to send spans to.
    Forwarder {
        name: String, "name that overrides refer to";
        backend: String, "otlpgrpc";
        otlpgrpc: ForwarderOtlp, "OTLP over gRPC";
        filter: ForwarderFilter, "spans to leave out";
        max_queued_bytes: u64 = 64 << 20, "requests that wait or are on their way, in bytes, in equal parts for each endpoint; more are not forwarded";
        workers: usize = 4, "requests of a tenant sent to an endpoint at a time";
        timeout: GoDuration = seconds(5), "time that sending one may take";
    }

    /// OTLP over gRPC.
    ForwarderOtlp {
        endpoints: Vec<String>, "addresses, host:port; each gets every request";
        tls: ForwarderTls, "TLS";
    }

    /// TLS of a forwarder.
    ForwarderTls {
        insecure: bool, "connect without TLS";
        cert_file: String, "authorities to trust, PEM file";
    }

    /// Spans that are not forwarded.
    ForwarderFilter {
        traces: ForwarderConditions, "conditions";
    }

    /// A span that matches any condition is left out.
    ForwarderConditions {
        span: Vec<String>, "TraceQL filters on single spans";
        spanevent: Vec<String>, "none may be set: events are not left out";
    }

    /// Usage by attribute.
    Usage {
        cost_attribution: UsageTracker, "bytes by attribute, at /usage_metrics";
    }

    /// Bytes by attribute.
    UsageTracker {
        enabled: bool, "track";
        max_cardinality: u64 = 10_000, "series of one tenant";
        stale_duration: GoDuration = minutes(15), "a series that does not change for this long ends";
        max_bytes: u64 = 67_108_864, "memory for the series of all tenants; past it, new series of each tenant are counted as one";
    }
}

section! {
    /// A rule on single spans.
    DropRule {
        name: String, "name, in metrics";
        query: String = text("{ }"), "the spans, as one TraceQL filter that asks nothing of other spans";
        action: String = text("drop"), "drop, remove_attributes or hash_attributes";
        attributes: Vec<String>, "attributes to remove or hash: span.x, resource.x, event.x, link.x, or .x of span and resource";
    }
}
