//! Parameters of the query routes, parsed and checked.

mod message;
mod metrics;
mod path;
mod search;
mod tags;
mod time;
mod trace;

pub use message::{instant_params, range_params, search_params, tag_values_params, tags_params};
pub use metrics::{MetricsLimits, MetricsQuery, default_step, metrics_range};
pub use path::{tag_name, trace_id_text};
pub use search::{
    SearchKind, SearchLimits, SearchQuery, TagConditions, check_query_bytes, parse_traceql,
};
pub use tags::{RequestedTag, TagValuesQuery, TagsQuery, parse_tag_v1, parse_tag_v2};
pub use trace::{TraceMode, TraceQuery, parse_trace_id};

/// True if the parameter `explain` asks how the query is run.
fn wants_explain(params: &crate::QueryParams<'_>) -> bool {
    matches!(params.get("explain"), Some("true" | "1"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::QueryParams;

    const SEARCH: SearchLimits = SearchLimits {
        default_limit: 20,
        max_limit: 0,
        default_spans_per_span_set: 3,
        max_spans_per_span_set: 0,
        max_query_bytes: 0,
    };
    const METRICS: MetricsLimits = MetricsLimits {
        max_duration: Duration::ZERO,
        max_intervals: 0,
        max_exemplars: 0,
        max_series: 0,
        max_query_bytes: 0,
        unsafe_hints: true,
    };

    proptest! {
        #[test]
        fn parameters_of_any_text_never_panic(
            names in proptest::collection::vec(
                "q|tags|limit|spss|start|end|since|step|minDuration|maxDuration|mode|scope|maxSeries",
                0..6,
            ),
            values in proptest::collection::vec("[-+0-9.eEsmh]{0,24}|\\PC{0,12}", 6),
        ) {
            let pairs = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
            let query = pairs.collect::<Vec<_>>().join("&");
            let params = QueryParams::parse(&query);
            let _ = SearchQuery::parse(&params, &SEARCH);
            let _ = TagsQuery::parse(&params);
            let _ = TagValuesQuery::parse(&params);
            let _ = TraceQuery::parse(&params);
            for now in [0, u64::MAX] {
                let _ = MetricsQuery::parse_range(&params, &METRICS, now);
                let _ = MetricsQuery::parse_instant(&params, &METRICS, now);
            }
        }

        #[test]
        fn names_of_any_text_never_panic(name in "\\PC{0,20}") {
            let _ = parse_tag_v1(&name);
            let _ = parse_tag_v2(&name);
            let _ = parse_trace_id(&name);
            let _ = tag_name(&format!("/p/{name}/values"), "/p/");
        }
    }
}
