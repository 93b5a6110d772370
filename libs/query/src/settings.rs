//! What an operator can set.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use tactus_api::request::{MetricsLimits, SearchLimits};
use tactus_cache::Cache;
use tactus_config::PromDuration;
use tactus_config::sections::overrides::Limits;
use tactus_config::sections::query_frontend::{
    FrontendMetrics, FrontendSearch, FrontendTraceById, Link, OpenTraces, QueryFrontend, QueryLog,
    TraceFiles, Weights,
};

/// Settings of a query-frontend: the configuration's section `query_frontend`, and what follows from others.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most attempts to run a job; 0 counts as 1.
    pub max_retries: usize,
    /// Limit on a tenant's running queries, and on its waiting jobs. Beyond it, a new query gets 429. Running queries
    /// may have more jobs than this waiting.
    pub max_outstanding_per_tenant: usize,
    /// Weights of jobs in the queue.
    pub weights: Weights,
    /// Longer TraceQL gets 400; 0 is no limit.
    pub max_query_expression_size_bytes: usize,
    /// Alternatives of a tag filter at most.
    pub max_condition_groups_per_tag_query: usize,
    /// Queries end this long before now, because newer data may be incomplete.
    pub query_end_cutoff: Duration,
    /// Time limit of any call; zero is none.
    pub api_timeout: Duration,
    /// Processor time that a query may use in one process; zero is no limit (`query_frontend.max_query_cpu_time`).
    pub max_query_cpu_time: Duration,
    /// Requests whose path and query match one of these get 400.
    pub url_deny_list: Vec<Regex>,
    /// Request headers that the log line of a query shows. Without headers, there are no such lines.
    pub log_headers: Vec<String>,
    /// Interval at which the block list is polled. Blocks that were compacted during the last two intervals are still
    /// read.
    pub blocklist_poll: Duration,
    /// Limit on the bytes that the jobs of a query read; beyond it, the query fails. 0 is no limit.
    pub max_inspected_bytes: u64,
    /// Jobs that a querier in this process runs at a time.
    pub querier_parallelism: usize,
    /// Each span is stored by several ingesters. Metrics then count it by its origin, at one ingester or in a block.
    pub replicated: bool,
    /// The cache of job answers.
    pub results: ResultSettings,
    /// Search, and what it shares with tags and values.
    pub search: FrontendSearch,
    /// Trace by id.
    pub trace_by_id: FrontendTraceById,
    /// TraceQL metrics.
    pub metrics: FrontendMetrics,
    /// Streamed answers.
    pub streaming: StreamingSettings,
    /// The lists of running and slow queries.
    pub query_log: QueryLog,
    /// The cache of traces that pages have open.
    pub open_traces: OpenTraces,
    /// Uploaded trace files. The limit in effect is `max_inflight_bytes`; 0 refuses all files.
    pub trace_files: TraceFiles,
    /// A part of a trace that is larger comes in slices, no larger than a message of another service may be. 0 if there
    /// is no other service.
    pub max_part_bytes: u64,
    /// Links that pages show.
    pub links: Vec<Link>,
}

/// Settings of the cache of job answers.
#[derive(Debug, Clone)]
pub struct ResultSettings {
    /// Memory for answers; 0 keeps none in memory (`query_frontend.result_cache_bytes`).
    pub max_bytes: u64,
    /// The cache of role `frontend-search`.
    pub shared: Option<Cache>,
}

impl Default for ResultSettings {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, shared: None }
    }
}

/// Settings of a queue.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Most attempts to run a job; 0 counts as 1 (`query_frontend.max_retries`).
    pub max_attempts: usize,
    /// Jobs of a tenant that may wait before its new queries get 429 (`query_frontend.max_outstanding_per_tenant`).
    pub max_outstanding_per_tenant: usize,
    /// Weights of jobs.
    pub weights: Weights,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_attempts: 2, max_outstanding_per_tenant: 2_000, weights: Weights::default() }
    }
}

/// Settings of streamed answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamingSettings {
    /// Shortest time between two messages of a stream. The last message is sent at once.
    pub interval: Duration,
    /// Bytes of a message, unless a single trace is larger; 0 is no limit.
    pub max_packet_bytes: usize,
    /// Largest request in bytes.
    pub max_request_bytes: usize,
    /// Largest message in bytes; a larger one ends its stream with an error.
    pub max_message_bytes: usize,
}

impl Default for StreamingSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            max_packet_bytes: 2 << 20,
            max_request_bytes: 16 << 20,
            max_message_bytes: 16 << 20,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self::new(&QueryFrontend::default());
        settings.trace_files.max_inflight_bytes = 1 << 30;
        settings
    }
}

impl Settings {
    /// Settings from the section of the configuration, without its regular expressions and without what other sections
    /// set.
    pub fn new(frontend: &QueryFrontend) -> Self {
        Self {
            max_retries: frontend.max_retries,
            max_outstanding_per_tenant: frontend.max_outstanding_per_tenant,
            weights: frontend.weights.clone(),
            max_query_expression_size_bytes: frontend.max_query_expression_size_bytes,
            max_condition_groups_per_tag_query: 100,
            query_end_cutoff: frontend.query_end_cutoff.as_std(),
            api_timeout: frontend.api_timeout.as_std(),
            max_query_cpu_time: frontend.max_query_cpu_time.as_std(),
            url_deny_list: Vec::new(),
            log_headers: frontend.log_query_request_headers.clone(),
            blocklist_poll: Duration::from_secs(5 * 60),
            max_inspected_bytes: frontend.max_inspected_bytes,
            querier_parallelism: 20,
            replicated: false,
            results: ResultSettings::default(),
            search: frontend.search.clone(),
            trace_by_id: frontend.trace_by_id.clone(),
            metrics: frontend.metrics.clone(),
            streaming: StreamingSettings {
                interval: frontend.streaming_interval.as_std(),
                max_packet_bytes: frontend.max_grpc_streaming_packet_size,
                ..StreamingSettings::default()
            },
            query_log: frontend.query_log.clone(),
            open_traces: frontend.open_traces.clone(),
            trace_files: frontend.trace_files.clone(),
            max_part_bytes: 8 << 20,
            links: frontend.links.clone(),
        }
    }

    pub(crate) fn search_limits(&self) -> SearchLimits {
        SearchLimits {
            default_limit: self.search.default_result_limit,
            max_limit: self.search.max_result_limit,
            default_spans_per_span_set: self.search.default_spans_per_span_set,
            max_spans_per_span_set: self.search.max_spans_per_span_set,
            max_query_bytes: self.max_query_expression_size_bytes,
        }
    }

    pub(crate) fn metrics_limits(&self, limits: &QueryLimits) -> MetricsLimits {
        MetricsLimits {
            max_duration: limits.max_metrics_duration,
            max_intervals: self.metrics.max_intervals,
            max_exemplars: self.metrics.max_exemplars,
            max_series: u32::try_from(self.metrics.max_response_series).unwrap_or(u32::MAX),
            max_query_bytes: self.max_query_expression_size_bytes,
            unsafe_hints: limits.unsafe_query_hints,
        }
    }

    /// The settings of this frontend's queue.
    pub fn queue(&self) -> QueueSettings {
        QueueSettings {
            max_attempts: self.max_retries,
            max_outstanding_per_tenant: self.max_outstanding_per_tenant,
            weights: self.weights.clone(),
        }
    }
}

/// The limits of one query, over one tenant or several; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryLimits {
    pub(crate) max_bytes_per_trace: u64,
    pub(crate) max_bytes_per_tag_values_query: u64,
    pub(crate) max_search_duration: Duration,
    pub(crate) max_metrics_duration: Duration,
    pub(crate) unsafe_query_hints: bool,
    pub(crate) max_blocks_per_tag_values_query: usize,
    /// Here, 0 means that none are allowed.
    pub(crate) max_condition_groups_per_tag_query: usize,
    pub(crate) left_pad_trace_ids: bool,
    pub(crate) max_inspected_bytes: u64,
    pub(crate) max_cpu_time: Duration,
}

impl QueryLimits {
    /// The strictest of each limit. For a tenant without a limit of its own, that of the settings counts.
    pub(crate) fn strictest(
        limits: impl Iterator<Item = Arc<Limits>>,
        settings: &Settings,
    ) -> Self {
        let all = limits.map(|limits| Self::of(&limits, settings));
        all.reduce(Self::stricter).unwrap_or_else(|| Self::of(&Limits::built_in(), settings))
    }

    fn of(limits: &Limits, settings: &Settings) -> Self {
        let Limits { read, global, .. } = limits;
        let (search, metrics) = (&settings.search, &settings.metrics);
        let or = |own: PromDuration, all: Duration| own.non_zero().unwrap_or(all);
        Self {
            max_bytes_per_trace: global.max_bytes_per_trace,
            max_bytes_per_tag_values_query: read.max_bytes_per_tag_values_query,
            max_search_duration: or(read.max_search_duration, search.max_duration.as_std()),
            max_metrics_duration: or(read.max_metrics_duration, metrics.max_duration.as_std()),
            unsafe_query_hints: read.unsafe_query_hints,
            max_blocks_per_tag_values_query: count(read.max_blocks_per_tag_values_query),
            max_condition_groups_per_tag_query: read
                .max_condition_groups_per_tag_query
                .map_or(settings.max_condition_groups_per_tag_query, count),
            left_pad_trace_ids: read.left_pad_trace_ids,
            max_inspected_bytes: lower(read.max_inspected_bytes, settings.max_inspected_bytes),
            max_cpu_time: or(read.max_query_cpu_time, settings.max_query_cpu_time),
        }
    }

    fn stricter(self, other: Self) -> Self {
        Self {
            max_bytes_per_trace: lower(self.max_bytes_per_trace, other.max_bytes_per_trace),
            max_bytes_per_tag_values_query: lower(
                self.max_bytes_per_tag_values_query,
                other.max_bytes_per_tag_values_query,
            ),
            max_search_duration: lower(self.max_search_duration, other.max_search_duration),
            max_metrics_duration: lower(self.max_metrics_duration, other.max_metrics_duration),
            unsafe_query_hints: self.unsafe_query_hints && other.unsafe_query_hints,
            max_blocks_per_tag_values_query: lower(
                self.max_blocks_per_tag_values_query,
                other.max_blocks_per_tag_values_query,
            ),
            max_condition_groups_per_tag_query: self
                .max_condition_groups_per_tag_query
                .min(other.max_condition_groups_per_tag_query),
            // All ids of one answer have the same form.
            left_pad_trace_ids: self.left_pad_trace_ids || other.left_pad_trace_ids,
            max_inspected_bytes: lower(self.max_inspected_bytes, other.max_inspected_bytes),
            max_cpu_time: lower(self.max_cpu_time, other.max_cpu_time),
        }
    }
}

/// A limit as a number of things in memory. What does not fit into the type is no limit.
pub(crate) fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The lower of two limits; zero is no limit.
pub(crate) fn lower<T: Default + Ord>(one: T, other: T) -> T {
    let none = T::default();
    if one == none || (other != none && other < one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_config::sections::overrides::{GlobalLimits, ReadLimits};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn tenant_without_a_limit_of_its_own_keeps_the_setting_in_a_list() {
        let search = FrontendSearch { max_duration: HOUR.into(), ..FrontendSearch::default() };
        let settings = Settings { search, ..Settings::default() };
        let own = |hours| {
            let max_search_duration = PromDuration::hours(hours);
            let read = ReadLimits { max_search_duration, ..ReadLimits::default() };
            Arc::new(Limits { read, ..Limits::default() })
        };
        for (limits, longest) in [
            (vec![own(0)], HOUR),
            (vec![own(9)], 9 * HOUR),
            (vec![own(0), own(9)], HOUR),
            (vec![own(9), own(5)], 5 * HOUR),
        ] {
            let found = QueryLimits::strictest(limits.clone().into_iter(), &settings);
            assert_eq!(found.max_search_duration, longest, "{limits:?}");
        }
    }

    #[test]
    fn zero_bytes_are_no_limit_beside_another() {
        let limits = |max_bytes_per_trace| {
            let global = GlobalLimits { max_bytes_per_trace };
            Arc::new(Limits { global, ..Limits::default() })
        };
        for (one, other, expected) in [(0, 7, 7), (7, 0, 7), (7, 5, 5), (0, 0, 0)] {
            let both = [limits(one), limits(other)].into_iter();
            let found = QueryLimits::strictest(both, &Settings::default());
            assert_eq!(found.max_bytes_per_trace, expected);
        }
    }
}
