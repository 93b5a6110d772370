//! Explains how a query ran, for people: its plan, from the syntax tree, and the work of its jobs.

use std::collections::{BTreeMap, HashSet};

use tactus_proto::tactus::v1::{JobExplanation, Phase};
use tactus_traceql::{
    Attribute, FieldExpression, LogicalOperator, MetricsExpression, MetricsQuery, MetricsStage,
    Pipeline, PipelineStage, Query, RootExpr, ScalarExpression, ScalarFilter, SpansetExpression,
    UnaryOperator,
};

/// How a query ran, for a client that asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Canonical text of the query as it was run; empty for a search by tags.
    pub query: String,
    /// Its stages.
    pub plan: Plan,
    /// Its time.
    pub window: ExplainedWindow,
    /// The limits that hold for it, by name; 0 is none.
    pub limits: Vec<(&'static str, u64)>,
    /// Jobs planned, and jobs that were answered.
    pub jobs: (u32, u32),
    /// Number of blocks that were read at least in part.
    pub blocks: u32,
    /// Blocks of the tenants that are not read, by reason.
    pub skipped_blocks: Vec<(&'static str, u32)>,
    /// The explanations of the jobs, in the order in which they ended.
    pub explanations: Vec<JobExplanation>,
}

/// The time that a query reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExplainedWindow {
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
    /// Nanoseconds and number of steps of a metrics query.
    pub steps: Option<(u64, usize)>,
}

/// Sums over jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Row groups, segments and live batches that the jobs covered.
    pub parts: u64,
    /// Of them, those that were not read, by reason.
    pub pruned: BTreeMap<String, u64>,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes of decoded columns.
    pub decoded_bytes: u64,
    /// Of them, those that were in the cache.
    pub cached_bytes: u64,
    /// Bytes read that came from a shared cache.
    pub shared_cache_bytes: u64,
    /// Spans looked at.
    pub inspected_spans: u64,
    /// Spans found.
    pub matched_spans: u64,
    /// Processor time in nanoseconds, by phase.
    pub phases: BTreeMap<String, u64>,
}

impl Totals {
    /// Sums up these jobs.
    pub fn of<'j>(jobs: impl IntoIterator<Item = &'j JobExplanation>) -> Self {
        let mut totals = Self::default();
        for job in jobs {
            totals.parts += u64::from(job.parts);
            for pruned in &job.pruned {
                *totals.pruned.entry(pruned.reason.clone()).or_default() += u64::from(pruned.parts);
            }
            totals.read_bytes = totals.read_bytes.saturating_add(job.read_bytes);
            totals.decoded_bytes = totals.decoded_bytes.saturating_add(job.decoded_bytes);
            totals.cached_bytes = totals.cached_bytes.saturating_add(job.cached_bytes);
            totals.shared_cache_bytes =
                totals.shared_cache_bytes.saturating_add(job.shared_cache_bytes);
            totals.inspected_spans = totals.inspected_spans.saturating_add(job.inspected_spans);
            totals.matched_spans = totals.matched_spans.saturating_add(job.matched_spans);
            for Phase { name, nanos } in &job.phases {
                let sum = totals.phases.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*nanos);
            }
        }
        totals
    }
}

/// What a query does, step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// A span is judged together with the other spans of its trace, so that all of them are read.
    pub reads_whole_traces: bool,
    /// In the order in which they run.
    pub stages: Vec<PlannedStage>,
}

/// A step of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStage {
    /// `tags`, `filter`, `spansets`, `aggregate`, `by`, `coalesce`, `select`, `series`, `arithmetic` or `second stage`.
    pub stage: &'static str,
    /// Which of the query's metrics functions it belongs to, from the left; none if there is only one.
    pub leaf: Option<usize>,
    /// Canonical text; of arithmetic the numbers of the functions on both sides instead of their texts, which would be
    /// there once for each operator.
    pub text: String,
    /// Conditions that are evaluated on whole columns, and on the statistics of row groups if there are any.
    pub pushed_down: Vec<String>,
    /// Conditions that are evaluated one span at a time, on the spans that match the others.
    pub span_by_span: Vec<String>,
}

impl Plan {
    /// The plan of a validated query.
    pub fn of(root: &RootExpr) -> Self {
        let mut planner = Planner::default();
        match &root.query {
            Query::Search(pipeline) => planner.pipeline(pipeline),
            Query::Metrics(expression) => {
                let mut leaves = 0;
                expression.for_each_leaf(&mut |_| leaves += 1);
                planner.next_leaf = (leaves > 1).then_some(0);
                planner.metrics(expression);
            }
        }
        planner.plan
    }

    /// The plan of a search without TraceQL; `conditions` in text.
    pub fn of_tags(conditions: Vec<String>) -> Self {
        let text = conditions.join(" && ");
        let stage = PlannedStage {
            stage: "tags",
            leaf: None,
            text,
            pushed_down: conditions,
            span_by_span: Vec::new(),
        };
        Self { reads_whole_traces: true, stages: vec![stage] }
    }
}

#[derive(Default)]
struct Planner {
    plan: Plan,
    /// The number of the next metrics function, if they are numbered.
    next_leaf: Option<usize>,
    leaf: Option<usize>,
}

impl Planner {
    fn push(&mut self, stage: &'static str, text: String) -> &mut PlannedStage {
        let stages = &mut self.plan.stages;
        stages.push(PlannedStage {
            stage,
            leaf: self.leaf,
            text,
            pushed_down: Vec::new(),
            span_by_span: Vec::new(),
        });
        let last = stages.len() - 1;
        &mut stages[last]
    }

    /// Returns how arithmetic names the expression.
    fn metrics(&mut self, expression: &MetricsExpression) -> String {
        let first = self.next_leaf;
        match expression {
            MetricsExpression::Constant(_) => return expression.to_string(),
            MetricsExpression::Query(query) => {
                self.leaf = self.next_leaf;
                self.next_leaf = self.next_leaf.map(|leaf| leaf + 1);
                self.query(query);
                self.leaf = None;
            }
            MetricsExpression::Binary { operator, left, right } => {
                let (left, right) = (self.metrics(left), self.metrics(right));
                self.push("arithmetic", format!("{left} {} {right}", operator.text()));
            }
            MetricsExpression::SecondStages { expression, stages } => {
                self.metrics(expression);
                for stage in stages {
                    let text = stage.to_string();
                    self.push("second stage", text.trim_start_matches([' ', '|']).to_owned());
                }
            }
        }
        functions(first, self.next_leaf)
    }

    fn query(&mut self, query: &MetricsQuery) {
        self.pipeline(&query.pipeline);
        let mut others = false;
        let mut look = |attribute: &Attribute| others |= attribute.depends_on_other_spans();
        match &query.stage {
            MetricsStage::Series { function, by } => {
                function.attribute().into_iter().chain(by).for_each(&mut look);
            }
            MetricsStage::Compare(compare) => {
                compare.selection.expression.for_each_attribute(&mut look);
            }
            MetricsStage::ServiceGraph(_) => others = true,
        }
        self.plan.reads_whole_traces |= others;
        self.push("series", query.stage.to_string());
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for stage in &pipeline.stages {
            self.plan.reads_whole_traces |= needs_other_spans(stage);
            let name = match stage {
                PipelineStage::Spanset(SpansetExpression::Filter(_)) => "filter",
                PipelineStage::Spanset(_) => "spansets",
                PipelineStage::Scalar(_) => "aggregate",
                PipelineStage::By(_) => "by",
                PipelineStage::Coalesce => "coalesce",
                PipelineStage::Select(_) => "select",
            };
            let planned = self.push(name, stage.to_string());
            if let PipelineStage::Spanset(spanset) = stage {
                conditions(spanset, planned);
                for list in [&mut planned.pushed_down, &mut planned.span_by_span] {
                    let mut known = HashSet::new();
                    list.retain(|text| known.insert(text.clone()));
                }
            }
        }
    }
}

/// The functions from a number on, up to before another. Without numbers there is only one.
fn functions(first: Option<usize>, end: Option<usize>) -> String {
    match (first, end) {
        (Some(first), Some(end)) if end > first + 1 => format!("functions {first} to {}", end - 1),
        (Some(only), _) => format!("function {only}"),
        (None, _) => "function".to_owned(),
    }
}

/// Lists the conditions, some of them perhaps more than once.
fn conditions(spanset: &SpansetExpression, planned: &mut PlannedStage) {
    match spanset {
        SpansetExpression::Filter(filter) => field_conditions(&filter.expression, planned),
        SpansetExpression::Pipeline(pipeline) => {
            for stage in &pipeline.stages {
                if let PipelineStage::Spanset(spanset) = stage {
                    conditions(spanset, planned);
                }
            }
        }
        SpansetExpression::Binary { left, right, .. } => {
            conditions(left, planned);
            conditions(right, planned);
        }
    }
}

fn field_conditions(expression: &FieldExpression, planned: &mut PlannedStage) {
    if let FieldExpression::Logical { operator: LogicalOperator::And, operands } = expression {
        operands.iter().for_each(|operand| field_conditions(operand, planned));
    } else if expression.references_span() {
        let list = match is_columnar(expression) {
            true => &mut planned.pushed_down,
            false => &mut planned.span_by_span,
        };
        list.push(expression.to_string());
    }
}

/// True if every condition in the expression is about one attribute and constants.
fn is_columnar(expression: &FieldExpression) -> bool {
    match expression {
        FieldExpression::Static(_) | FieldExpression::Attribute(_) => true,
        FieldExpression::Unary { operator, operand } => match operator {
            UnaryOperator::Not => is_columnar(operand),
            UnaryOperator::Exists | UnaryOperator::NotExists => {
                matches!(**operand, FieldExpression::Attribute(_))
            }
            UnaryOperator::Negate => false,
        },
        FieldExpression::Binary { left, right, .. } => matches!(
            (&**left, &**right),
            (FieldExpression::Attribute(_), FieldExpression::Static(_))
                | (FieldExpression::Static(_), FieldExpression::Attribute(_))
        ),
        FieldExpression::Logical { operands, .. } => operands.iter().all(is_columnar),
    }
}

fn needs_other_spans(stage: &PipelineStage) -> bool {
    match stage {
        PipelineStage::Spanset(SpansetExpression::Filter(filter)) => refers(&filter.expression),
        PipelineStage::Spanset(_) | PipelineStage::Coalesce | PipelineStage::By(_) => true,
        PipelineStage::Scalar(ScalarFilter { left, right, .. }) => {
            has_aggregate(left) || has_aggregate(right)
        }
        PipelineStage::Select(attributes) => {
            attributes.iter().any(Attribute::depends_on_other_spans)
        }
    }
}

fn has_aggregate(expression: &ScalarExpression) -> bool {
    let mut found = false;
    expression.for_each_aggregate(&mut |_| found = true);
    found
}

fn refers(expression: &FieldExpression) -> bool {
    let mut found = false;
    expression.for_each_attribute(&mut |attribute| found |= attribute.depends_on_other_spans());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_traceql::parse_and_validate;

    fn plan(query: &str) -> Plan {
        Plan::of(&parse_and_validate(query).unwrap())
    }

    fn texts(plan: &Plan) -> Vec<(&str, &str)> {
        plan.stages.iter().map(|stage| (stage.stage, stage.text.as_str())).collect()
    }

    #[test]
    fn filter_tells_what_columns_answer() {
        let plan =
            plan(r#"{ span.a = "x" && duration > 1s && (span.b = span.c || kind = client) }"#);
        assert!(!plan.reads_whole_traces);
        let [stage] = &plan.stages[..] else { panic!("{plan:?}") };
        assert_eq!(stage.pushed_down, ["span.a = `x`", "duration > 1s"]);
        assert_eq!(stage.span_by_span, ["(span.b = span.c) || (kind = client)"]);
        assert_eq!(self::plan("{}").stages[0].pushed_down, [""; 0]);
    }

    #[test]
    fn stages_are_listed_in_order() {
        let searched =
            plan("{ span.a = 1 } >> { span.b = 2 } | by(name) | count() > 2 | select(status)");
        assert!(searched.reads_whole_traces);
        assert_eq!(
            texts(&searched),
            [
                ("spansets", "({ span.a = 1 }) >> ({ span.b = 2 })"),
                ("by", "by(name)"),
                ("aggregate", "(count()) > 2"),
                ("select", "select(status)"),
            ]
        );
        assert_eq!(searched.stages[0].pushed_down, ["span.a = 1", "span.b = 2"]);
        let counted = plan("{ status = error } | rate() by(resource.service.name) > 5 | topk(3)");
        assert!(!counted.reads_whole_traces);
        assert_eq!(
            texts(&counted),
            [
                ("filter", "{ status = error }"),
                ("series", "rate()by(resource.service.name)"),
                ("second stage", "> 5"),
                ("second stage", "topk(3)"),
            ]
        );
    }

    #[test]
    fn functions_of_a_calculation_are_numbered() {
        let plan = plan("({ status = error } | rate()) / ({} | rate()) * 100");
        let leaves: Vec<_> = plan.stages.iter().map(|stage| stage.leaf).collect();
        assert_eq!(leaves, [Some(0), Some(0), Some(1), Some(1), None, None]);
        let arithmetic =
            [("arithmetic", "function 0 / function 1"), ("arithmetic", "functions 0 to 1 * 100")];
        assert_eq!(texts(&plan)[4..], arithmetic);
        assert_eq!(texts(&self::plan("2 * ({} | rate())"))[2], ("arithmetic", "2 * function"));
    }

    #[test]
    fn plan_is_about_as_long_as_its_query_however_many_operators_it_has() {
        let sum = format!("({{ name = `{}` }} | rate()){}", "x".repeat(10_000), " + 1".repeat(400));
        let plan = plan(&sum);
        let bytes: usize = plan.stages.iter().map(|stage| stage.text.len()).sum();
        assert_eq!(plan.stages.len(), 402);
        assert!(bytes < 2 * sum.len(), "{bytes}");
    }

    #[test]
    fn condition_that_is_repeated_is_listed_once() {
        let found = plan("{ .a = 1 && .b = .c && .a = 1 && .d = 2 && .b = .c }");
        assert_eq!(found.stages[0].pushed_down, [".a = 1", ".d = 2"]);
        assert_eq!(found.stages[0].span_by_span, [".b = .c"]);
    }

    #[test]
    fn trace_level_attributes_need_whole_traces() {
        for query in [
            "{ parent.span.a = 1 }",
            "{ traceDuration > 1s }",
            "{} | rate() by(rootServiceName)",
            "{} | compare({ nestedSetParent < 0 })",
        ] {
            assert!(plan(query).reads_whole_traces, "{query}");
        }
    }
}
