//! Metrics expressions: queries whose result is series.

use super::{ArithmeticOperator, Attribute, ComparisonOperator, Pipeline, SpansetFilter};
use crate::static_value::Static;

/// A query for series.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsExpression {
    /// One pipeline and its metrics function.
    Query(Box<MetricsQuery>),
    /// A number next to a query: int or float.
    Constant(Static),
    /// Arithmetic (`+ - * /` only) between series that are matched by labels, or with a constant.
    Binary {
        /// One of add, subtract, multiply, divide.
        operator: ArithmeticOperator,
        /// Left operand.
        left: Box<MetricsExpression>,
        /// Right operand.
        right: Box<MetricsExpression>,
    },
    /// Second stages, applied in order to the combined result of `expression`.
    SecondStages {
        /// A query or arithmetic; never second stages.
        expression: Box<MetricsExpression>,
        /// At least one.
        stages: Vec<SecondStage>,
    },
}

impl MetricsExpression {
    /// Calls `visit` for every metrics query, left to right.
    pub fn for_each_leaf<'a>(&'a self, visit: &mut impl FnMut(&'a MetricsQuery)) {
        match self {
            MetricsExpression::Query(query) => visit(query),
            MetricsExpression::Constant(_) => {}
            MetricsExpression::Binary { left, right, .. } => {
                left.for_each_leaf(visit);
                right.for_each_leaf(visit);
            }
            MetricsExpression::SecondStages { expression, .. } => expression.for_each_leaf(visit),
        }
    }

    /// The leftmost metrics query. `None` only for a bare constant, which the parser does not produce.
    pub fn first_leaf(&self) -> Option<&MetricsQuery> {
        match self {
            MetricsExpression::Query(query) => Some(query),
            MetricsExpression::Constant(_) => None,
            MetricsExpression::Binary { left, right, .. } => {
                left.first_leaf().or_else(|| right.first_leaf())
            }
            MetricsExpression::SecondStages { expression, .. } => expression.first_leaf(),
        }
    }
}

/// `pipeline | metrics function`.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsQuery {
    /// Finds the spans that are counted.
    pub pipeline: Pipeline,
    /// Turns them into series.
    pub stage: MetricsStage,
}

/// The first metrics stage.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsStage {
    /// A function over time, one series for each combination of `by` values.
    Series {
        /// The function.
        function: MetricsFunction,
        /// Grouping attributes as written, possibly repeated; empty without `by`.
        by: Vec<Attribute>,
    },
    /// `compare({ … }, …)`.
    Compare(Compare),
    /// `service_graph(…)`.
    ServiceGraph(GraphMeasure),
}

/// What `service_graph(…)` measures of the calls between services.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphMeasure {
    /// `service_graph()`: calls, errors and the buckets of both latencies.
    All,
    /// `service_graph(calls)`: their number.
    Calls,
    /// `service_graph(rate)`: calls per second.
    Rate,
    /// `service_graph(errors)`: the number of those that failed.
    Errors,
    /// `service_graph(client_latency, q, …)`: the latency that the client saw.
    ClientLatency {
        /// Empty for buckets. Validation guarantees 0 ≤ q ≤ 1.
        quantiles: Vec<f64>,
    },
    /// `service_graph(server_latency, q, …)`: the latency that the server saw.
    ServerLatency {
        /// Empty for buckets. Validation guarantees 0 ≤ q ≤ 1.
        quantiles: Vec<f64>,
    },
}

impl GraphMeasure {
    /// The argument that selects it; empty for [`Self::All`].
    pub fn name(&self) -> &'static str {
        match self {
            GraphMeasure::All => "",
            GraphMeasure::Calls => "calls",
            GraphMeasure::Rate => "rate",
            GraphMeasure::Errors => "errors",
            GraphMeasure::ClientLatency { .. } => "client_latency",
            GraphMeasure::ServerLatency { .. } => "server_latency",
        }
    }

    /// The requested quantiles; none if the measure has none.
    pub fn quantiles(&self) -> &[f64] {
        match self {
            GraphMeasure::ClientLatency { quantiles }
            | GraphMeasure::ServerLatency { quantiles } => quantiles,
            GraphMeasure::All | GraphMeasure::Calls | GraphMeasure::Rate | GraphMeasure::Errors => {
                &[]
            }
        }
    }
}

/// A metrics function and its argument.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    /// `rate()`.
    Rate,
    /// `count_over_time()`.
    CountOverTime,
    /// `min_over_time(a)`.
    MinOverTime(Attribute),
    /// `max_over_time(a)`.
    MaxOverTime(Attribute),
    /// `sum_over_time(a)`.
    SumOverTime(Attribute),
    /// `avg_over_time(a)`.
    AvgOverTime(Attribute),
    /// `histogram_over_time(a)`.
    HistogramOverTime(Attribute),
    /// `quantile_over_time(a, q, …)`.
    QuantileOverTime {
        /// The measured attribute.
        attribute: Attribute,
        /// At least one; validation guarantees 0 ≤ q ≤ 1.
        quantiles: Vec<f64>,
    },
}

impl MetricsFunction {
    /// The function's name in a query and in the label `__name__`.
    pub fn name(&self) -> &'static str {
        match self {
            MetricsFunction::Rate => "rate",
            MetricsFunction::CountOverTime => "count_over_time",
            MetricsFunction::MinOverTime(_) => "min_over_time",
            MetricsFunction::MaxOverTime(_) => "max_over_time",
            MetricsFunction::SumOverTime(_) => "sum_over_time",
            MetricsFunction::AvgOverTime(_) => "avg_over_time",
            MetricsFunction::HistogramOverTime(_) => "histogram_over_time",
            MetricsFunction::QuantileOverTime { .. } => "quantile_over_time",
        }
    }

    /// The measured attribute; none for `rate()` and `count_over_time()`.
    pub fn attribute(&self) -> Option<&Attribute> {
        match self {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => None,
            MetricsFunction::MinOverTime(attribute)
            | MetricsFunction::MaxOverTime(attribute)
            | MetricsFunction::SumOverTime(attribute)
            | MetricsFunction::AvgOverTime(attribute)
            | MetricsFunction::HistogramOverTime(attribute)
            | MetricsFunction::QuantileOverTime { attribute, .. } => Some(attribute),
        }
    }

    /// True if spans are counted by the size of their value.
    pub(crate) fn has_buckets(&self) -> bool {
        matches!(
            self,
            MetricsFunction::HistogramOverTime(_) | MetricsFunction::QuantileOverTime { .. }
        )
    }
}

/// `compare({ selection }, top_n, start, end)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// Spans that match this filter are the selection; all others are the baseline.
    pub selection: SpansetFilter,
    /// Values kept for each side and attribute; 10 if not given. Validation guarantees 1 to 1000.
    pub top_n: i64,
    /// Unix nanoseconds, exclusive; 0 (with `end` 0) for no bound.
    pub start: i64,
    /// Unix nanoseconds, inclusive; 0 for no bound.
    pub end: i64,
}

/// A stage on combined series.
#[derive(Debug, Clone, PartialEq)]
pub enum SecondStage {
    /// Keeps the n largest values of each timestamp; validation guarantees n > 0.
    TopK(i64),
    /// Keeps the n smallest values of each timestamp; validation guarantees n > 0.
    BottomK(i64),
    /// Keeps points for which `value operator threshold` holds.
    Filter {
        /// The comparison.
        operator: ComparisonOperator,
        /// Int, float, or a duration, which means seconds.
        threshold: Static,
    },
}
