//! The query that compares.

use tactus_api::request::{MetricsLimits, MetricsQuery, parse_traceql};
use tactus_api::{Error, QueryParams, Result};
use tactus_traceql::ast::{
    Compare, MetricsStage, Pipeline, PipelineStage, Query, SpansetExpression,
};

use crate::service_graph::measured;

/// Values of an attribute and a side that are counted; rarer ones count as missing.
const COUNTED_VALUES: i64 = 1_000;

/// The metrics query that compares, and the selection in its canonical text.
pub(super) fn comparison(
    params: &QueryParams<'_>,
    limits: &MetricsLimits,
) -> Result<(MetricsQuery, String)> {
    // Each for itself: put together, halves could mean something else.
    let part =
        |name: &str| parse_traceql(params.get(name).unwrap_or("{ }"), limits.max_query_bytes);
    let refused = |name: &str, text: &str| Error::Invalid(format!("{name}: must be {text}"));
    let not_metrics = |name: &str| refused(name, "a query for spans, not for metrics");
    // What runs has the hints of `q`; those of a selection tell nothing of it.
    let (all, selection) = (part("q")?, part("selection")?);
    let Query::Search(Pipeline { mut stages }) = selection.query else {
        return Err(not_metrics("selection"));
    };
    let (Some(PipelineStage::Spanset(SpansetExpression::Filter(selection))), true) =
        (stages.pop(), stages.is_empty())
    else {
        return Err(refused("selection", "one filter, as { duration > 1s }"));
    };
    let selected = selection.to_string();
    let compare = Compare { selection, top_n: COUNTED_VALUES, start: 0, end: 0 };
    let compared = measured(all, MetricsStage::Compare(compare));
    let text = compared.ok_or_else(|| not_metrics("q"))?.to_string();
    let parameters = with_range_of(params, &text);
    let parameters = QueryParams::parse(&parameters);
    let mut query = MetricsQuery::parse_instant(&parameters, limits, tactus_clock::unix_nanos())?;
    // Bounded by bytes. Any number of series less would be a random part of them.
    query.max_series = 0;
    Ok((query, selected))
}

/// The parameters of a metrics query for the range of a request.
fn with_range_of(params: &QueryParams<'_>, query: &str) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    parameters.append_pair("q", query);
    for name in ["start", "end", "since"] {
        if let Some(value) = params.get(name) {
            parameters.append_pair(name, value);
        }
    }
    parameters.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_the_query_are_those_of_the_comparison_and_selections_have_none() {
        let compared = |q: &str, selection: &str| -> Result<(usize, Query, String)> {
            let limits = MetricsLimits {
                max_duration: std::time::Duration::ZERO,
                max_intervals: 0,
                max_exemplars: 0,
                max_series: 0,
                max_query_bytes: 0,
                unsafe_hints: false,
            };
            let mut params = form_urlencoded::Serializer::new(String::new());
            params.append_pair("q", q).append_pair("selection", selection);
            params.append_pair("start", "1700000000").append_pair("end", "1700003600");
            let params = params.finish();
            let (query, selection) = comparison(&QueryParams::parse(&params), &limits)?;
            Ok((query.root.hints.entries.len(), query.root.query, selection))
        };
        let (none, plain, selection) = compared("{ .a = 1 }", "{ .b = 2 }").unwrap();
        assert_eq!((none, &*selection), (0, &*parse_traceql("{ .b = 2 }", 0).unwrap().to_string()));
        for (q, selection, hints) in [
            ("{ .a = 1 } with (most_recent=true)", "{ .b = 2 }", 1),
            ("{ .a = 1 } with (job_size=1)", "{ .b = 2 } with (most_recent=true)", 0),
        ] {
            let (found, query, _) = compared(q, selection).unwrap();
            assert_eq!((found, query), (hints, plain.clone()), "{q} and {selection}");
        }
        for (q, selection, text) in [
            ("{ } | rate()", "{ }", "q: must be a query for spans"),
            ("{ }", "{ } | rate()", "selection: must be a query for spans"),
            ("{ }", "{ } | select(name)", "selection: must be one filter"),
        ] {
            let error = compared(q, selection).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
