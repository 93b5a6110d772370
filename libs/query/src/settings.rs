//! What an operator can set.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use tactus_api::request::{MetricsLimits, SearchLimits};
use tactus_cache::Cache;
use tactus_config::sections::overrides::Limits;
use tactus_config::sections::query_frontend::QueryFrontend;
use tactus_config::{GoDuration, PromDuration};

/// Settings of a query-frontend: the configuration's section `query_frontend`, and what follows from others.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section. Here, `trace_files.max_inflight_bytes` is the limit in effect; 0 refuses all files. So is
    /// `result_cache_bytes`; 0 keeps no answers in memory.
    pub section: Box<QueryFrontend>,
    /// Alternatives of a tag filter at most.
    pub max_condition_groups_per_tag_query: usize,
    /// Requests whose path and query match one of these get 400.
    pub url_deny_list: Vec<Regex>,
    /// Prefix of the paths of the query API, as clients write them.
    pub path_prefix: String,
    /// Interval at which the block list is polled. Blocks that were compacted during the last two intervals are still
    /// read.
    pub blocklist_poll: Duration,
    /// Jobs that a querier in this process runs at a time.
    pub querier_parallelism: usize,
    /// Each span is stored by several ingesters. Metrics then count it by its origin, at one ingester or in a block.
    pub replicated: bool,
    /// The cache of role `frontend-search`, of job answers.
    pub shared_results: Option<Cache>,
    /// Largest request of a streamed answer, in bytes.
    pub max_request_bytes: usize,
    /// Largest message of a streamed answer, in bytes; a larger one ends its stream with an error.
    pub max_message_bytes: usize,
    /// A part of a trace that is larger comes in slices, no larger than a message of another service may be. 0 if there
    /// is no other service.
    pub max_part_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self::new(&QueryFrontend::default());
        settings.section.trace_files.max_inflight_bytes = 1 << 30;
        settings.section.result_cache_bytes = 16 << 20;
        settings
    }
}

impl Settings {
    /// Settings from the section of the configuration, without its regular expressions and without what other sections
    /// set.
    pub fn new(section: &QueryFrontend) -> Self {
        Self {
            section: Box::new(section.clone()),
            max_condition_groups_per_tag_query: 100,
            url_deny_list: Vec::new(),
            path_prefix: String::new(),
            blocklist_poll: Duration::from_secs(5 * 60),
            querier_parallelism: 20,
            replicated: false,
            shared_results: None,
            max_request_bytes: 16 << 20,
            max_message_bytes: 16 << 20,
            max_part_bytes: 8 << 20,
        }
    }

    pub(crate) fn search_limits(&self) -> SearchLimits {
        let search = &self.section.search;
        SearchLimits {
            default_limit: search.default_result_limit,
            max_limit: search.max_result_limit,
            default_spans_per_span_set: search.default_spans_per_span_set,
            max_spans_per_span_set: search.max_spans_per_span_set,
            max_query_bytes: self.section.max_query_expression_size_bytes,
        }
    }

    pub(crate) fn metrics_limits(&self, limits: &QueryLimits) -> MetricsLimits {
        let metrics = &self.section.metrics;
        MetricsLimits {
            max_duration: limits.max_metrics_duration,
            max_intervals: metrics.max_intervals,
            max_exemplars: metrics.max_exemplars,
            max_series: u32::try_from(metrics.max_response_series).unwrap_or(u32::MAX),
            max_query_bytes: self.section.max_query_expression_size_bytes,
            unsafe_hints: limits.unsafe_query_hints,
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
        let section = &*settings.section;
        let or = |own: PromDuration, all: GoDuration| own.non_zero().unwrap_or(all.as_std());
        Self {
            max_bytes_per_trace: global.max_bytes_per_trace,
            max_bytes_per_tag_values_query: read.max_bytes_per_tag_values_query,
            max_search_duration: or(read.max_search_duration, section.search.max_duration),
            max_metrics_duration: or(read.max_metrics_duration, section.metrics.max_duration),
            unsafe_query_hints: read.unsafe_query_hints,
            max_blocks_per_tag_values_query: count(read.max_blocks_per_tag_values_query),
            max_condition_groups_per_tag_query: read
                .max_condition_groups_per_tag_query
                .map_or(settings.max_condition_groups_per_tag_query, count),
            left_pad_trace_ids: read.left_pad_trace_ids,
            max_inspected_bytes: lower(read.max_inspected_bytes, section.max_inspected_bytes),
            max_cpu_time: or(read.max_query_cpu_time, section.max_query_cpu_time),
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
        let mut settings = Settings::default();
        settings.section.search.max_duration = HOUR.into();
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
