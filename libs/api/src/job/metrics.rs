//! A metrics query over some of the data.

use tactus_proto::tactus::v1::MetricsRequest;
use tactus_traceql::metrics::{CompiledMetrics, Grid, MetricsOptions};
use tactus_traceql::{RootExpr, parse_and_validate};

use super::JobError;

/// A metrics query.
#[derive(Debug)]
pub struct MetricsJob {
    /// What to count, in which intervals.
    pub query: CompiledMetrics,
    /// The query's syntax tree.
    pub root: RootExpr,
}

impl MetricsJob {
    /// Compiles a metrics query.
    pub fn compile(request: &MetricsRequest) -> Result<Self, JobError> {
        let root = parse_and_validate(&request.query)
            .map_err(|error| JobError::Invalid(format!("compiling query: {error}")))?;
        if root.metrics().is_none() {
            return Err(JobError::Invalid("not a metrics query".to_owned()));
        }
        let grid =
            Grid::from_parts(request.start_nanos, request.step_nanos, request.intervals as usize);
        let options = MetricsOptions {
            exemplars: request.exemplars as usize,
            max_bytes: usize::try_from(request.max_series_bytes).unwrap_or(usize::MAX),
        };
        Ok(Self { query: CompiledMetrics::compile(&root, grid, options)?, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> MetricsRequest {
        MetricsRequest {
            query: query.to_owned(),
            start_nanos: 20,
            step_nanos: 10,
            intervals: 3,
            ..MetricsRequest::default()
        }
    }

    #[test]
    fn request_without_a_metrics_function_is_refused() {
        let text = |query| MetricsJob::compile(&request(query)).unwrap_err().to_string();
        assert_eq!(text("{}"), "not a metrics query");
        assert!(text("{} | rate(").starts_with("compiling query: parse error at line 1"));
    }

    #[test]
    fn request_has_the_intervals_that_it_names() {
        let job = MetricsJob::compile(&request("{ false } | rate()")).unwrap();
        assert!(job.query.is_never());
        let job = MetricsJob::compile(&request("{} | rate()")).unwrap();
        assert!(!job.query.is_never() && job.root.metrics().is_some());
        assert_eq!((job.query.grid().start(), job.query.grid().end()), (20, 50));
        let empty = MetricsRequest { intervals: 0, step_nanos: 0, ..request("{} | rate()") };
        assert!(MetricsJob::compile(&empty).unwrap().query.is_never());
    }
}
