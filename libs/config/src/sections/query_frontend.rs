//! `query_frontend`: limits, sharding and service levels of queries.

use super::query_apis::{JaegerApis, ZipkinApi};
use super::{hours, minutes, seconds, text};
use crate::duration::GoDuration;
use crate::field::section;

section! {
    /// The query-frontend.
    QueryFrontend {
        max_outstanding_per_tenant: usize = 2_000, "jobs of a tenant that may wait, and queries that it may have in flight; while there are as many new queries get 429";
        max_batch_size: i64 = 7, "no effect here: a querier is sent each job by itself";
        max_retries: usize = 2, "attempts of a failed job";
        response_consumers: usize = 10, "no effect here";
        log_query_request_headers: Vec<String>, "headers of requests that the log shows with each query, in a line of level info; empty: there are no such lines; never those whose names speak of secrets: Authorization, cookies, tokens, keys, passwords";
        multi_tenant_queries_enabled: bool = true, "accept `a|b` as tenant";
        max_tenants_per_query: usize = 100, "tenants of such a list; 0 is no limit";
        max_query_expression_size_bytes: usize = 131_072, "longer TraceQL gets 400";
        api_timeout: GoDuration = minutes(5), "time for any query; 0 is no limit";
        max_query_cpu_time: GoDuration = minutes(5), "CPU time of one query in one process; a query that exceeds it gets 422; 0 is no limit";
        url_deny_list: Vec<String>, "regular expressions; a query whose path and parameters, as sent or decoded, match one gets 400";
        allowed_headers: Vec<String>, "no effect here: queriers are handed no headers";
        query_end_cutoff: GoDuration, "queries end this long before now";
        max_inspected_bytes: u64, "bytes that one query may read; a query that exceeds it gets 422; 0 is no limit";
        result_cache_bytes: i64 = -1, "memory for answers of jobs on whole blocks; 0 keeps none, -1 takes a 64th of the memory there is, 256 MiB at most";
        rf1_after: String = text("0001-01-01T00:00:00Z"), "no effect here";
        mcp_server: McpServer, "tools for language models, at /api/mcp";
        jaeger: JaegerApis, "Jaeger's query APIs";
        zipkin: ZipkinApi, "Zipkin's query API";
        max_grpc_streaming_packet_size: usize = 1_048_576, "most bytes of one message of a streamed answer; 0 is no limit";
        streaming_interval: GoDuration = GoDuration::millis(500), "time between two messages of a streamed answer, at least";
        skip_ast_transformations: Vec<String>, "no effect here";
        live_tail: FrontendLiveTail, "spans shown while they are pushed";
        query_log: QueryLog, "the queries of the status page";
        open_traces: OpenTraces, "traces that pages have open";
        trace_files: TraceFiles, "files with traces that are opened in the pages, or sent to Jaeger's /api/transform";
        links: Vec<Link>, "links that pages show at spans, resources and events";
        weights: Weights, "weights of jobs in the queue";
        search: FrontendSearch, "search";
        trace_by_id: FrontendTraceById, "trace by id";
        metrics: FrontendMetrics, "TraceQL metrics";
    }

    /// Tools for language models.
    McpServer {
        enabled: bool, "serve /api/mcp";
    }

    /// Spans shown while they are pushed.
    FrontendLiveTail {
        max_tails_per_tenant: usize = 5, "live tails of a tenant at a time; a further one gets 429";
        max_spans_per_second: u32 = 200, "spans a second that a live tail shows at most; the tail shows how many were dropped";
        max_buffered_spans: usize = 1_000, "spans that wait for a slow reader; beyond it the oldest are dropped and counted";
        max_duration: GoDuration = hours(1), "longest duration of a live tail";
    }

    /// The queries of the status page, at /ui/api/queries.
    QueryLog {
        slow_after: GoDuration = seconds(5), "a query that took longer is remembered";
        max_slow_queries: usize = 200, "number of them that are remembered, the last ones; 0 remembers none";
    }

    /// Traces that pages have open: kept, so that details of their spans are not read from storage again.
    OpenTraces {
        max_bytes: u64 = 67_108_864, "memory for them; 0 keeps none";
        keep_for: GoDuration = seconds(60), "how long each is kept before it is read again";
    }

    /// Files with traces. None is stored: a page sends its file with each question about it.
    TraceFiles {
        max_bytes: usize = 16_777_216, "largest file, in bytes, decompressed";
        max_spans: usize = 200_000, "most spans of a file; a larger one is refused";
        max_inflight_bytes: u64, "memory of files that are read at a time, each counted as it arrives and as eight times its bytes once it is there; those of one tenant leave an eighth of it to others; a further one gets 429; 0 takes a tenth of the memory, 256 MiB at most";
    }

    /// A link from what a page shows to logs, metrics, profiles or anything else.
    Link {
        title: String, "its text";
        url: String, "http or https; {resource.x}, {span.x} and {event.x} stand for attributes, others for ids and times: see docs/ui.md";
        shown_with as "match": String, "shown only where there is this attribute, as span.db.system, or has this value, as span.db.system=redis; empty is everywhere";
    }

    /// Weights of jobs in the queue.
    Weights {
        request_with_weights: bool = true, "use weights";
        retry_with_weights: bool = true, "use weights for retries";
        max_traceql_conditions: i64 = 4, "more conditions weigh more";
        max_regex_conditions: i64 = 1, "more regular expressions weigh more";
    }

    /// Search.
    FrontendSearch {
        concurrent_jobs: usize = 1_000, "jobs of one query at a time";
        target_bytes_per_job: u64 = 104_857_600, "size of one job";
        default_result_limit: u32 = 20, "limit of a query that sets none";
        max_result_limit: u32 = 262_144, "highest limit of a query; 0 is no limit";
        max_duration: GoDuration = hours(168), "longest time range; 0 is no limit";
        query_backend_after: GoDuration = minutes(15), "length of the range, up to now, of a query without a range; 0 is 15m";
        query_ingesters_until: GoDuration = minutes(30), "no effect here: ingesters are asked for spans of any age";
        ingester_shards: usize = 3, "no effect here";
        most_recent_shards: i64 = 200, "no effect here: the newest blocks always come first";
        default_spans_per_span_set: u32 = 3, "spans shown of each spanset unless the query says otherwise";
        max_spans_per_span_set: u32 = 100, "most spans a query can ask for; 0 is no limit";
        timeout: GoDuration, "time for one search; api_timeout holds if that is shorter, or this is 0";
        metadata_slo: Slo, "service level of tag queries";
        @inline {
            slo: Slo, "service level of searches";
        }
    }

    /// A service level: met when either is; both zero means always met.
    Slo {
        duration_slo: GoDuration, "a query within the service level is answered within this time";
        throughput_bytes_slo: f64, "or inspects at least this many bytes a second";
    }

    /// Trace by id.
    FrontendTraceById {
        query_shards: i64 = 50, "parts of the block list, 2 to 100000";
        concurrent_shards: i64, "parts at a time; 0 is all";
        external_enabled: bool, "no effect here: there is no further source of traces";
        @inline {
            slo: Slo, "service level";
        }
    }

    /// TraceQL metrics.
    FrontendMetrics {
        concurrent_jobs: usize = 1_000, "jobs of one query at a time";
        target_bytes_per_job: u64 = 104_857_600, "size of one job";
        max_duration: GoDuration = hours(3), "longest time range; 0 is no limit";
        query_backend_after: GoDuration = minutes(30), "no effect here: ingesters and blocks are asked for spans of any age";
        interval: GoDuration = minutes(5), "no effect here: a job covers the whole time of its part of a block";
        max_exemplars: u32 = 100, "exemplars of one answer";
        max_response_series: usize, "series of one answer; 0 is no limit";
        max_series_bytes: u64 = 134_217_728, "memory of the series of one query, in each job and where they are added; a query beyond gets 422; 0 is no limit";
        max_intervals: u64 = 10_000, "steps of one query";
        streaming_shards: usize = 200, "no effect here: a streamed answer shows the intervals whose jobs are done";
        @inline {
            slo: Slo, "service level";
        }
    }
}
