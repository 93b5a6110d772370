//! The weight of a job in the fair queue.

use moka::sync::Cache;
use tactus_config::sections::query_frontend::Weights;
use tactus_proto::tactus::v1::job::Request as JobRequest;
use tactus_traceql::ast::{
    BinaryOperator, FieldExpression, LogicalOperator, MetricsStage, Pipeline, PipelineStage,
    RootExpr, SpansetExpression, SpansetOperator,
};

/// Weight of a trace by id.
const TRACE: u64 = 2;

/// Number of queries whose weight is remembered, because all jobs of a query ask for it.
const REMEMBERED: u64 = 1_000;

/// Longer queries are not remembered, and have the weight of a heavy one.
const MAX_QUERY_BYTES: usize = 4 << 10;
const HEAVY: u64 = 4;

/// Weighs jobs.
#[derive(Debug)]
pub(super) struct Scales {
    settings: Weights,
    known: Cache<String, u64>,
}

impl Scales {
    pub(super) fn new(settings: Weights) -> Self {
        Self { settings, known: Cache::new(REMEMBERED) }
    }

    /// The weight of a job, at least 1.
    pub(super) fn weigh(&self, job: &JobRequest) -> u64 {
        if !self.settings.request_with_weights {
            return 1;
        }
        match job {
            JobRequest::FindTraceInBlocks(_) | JobRequest::FindRecentTrace(_) => TRACE,
            JobRequest::SearchBlock(job) => {
                self.weigh_query(job.search.as_ref().map_or("", |search| &search.query))
            }
            JobRequest::MetricsInBlock(job) => {
                self.weigh_query(job.metrics.as_ref().map_or("", |metrics| &metrics.query))
            }
            JobRequest::SearchRecent(search) => self.weigh_query(&search.query),
            JobRequest::RecentMetrics(metrics) => self.weigh_query(&metrics.query),
            _ => 1,
        }
    }

    fn weigh_query(&self, text: &str) -> u64 {
        if text.len() > MAX_QUERY_BYTES {
            return HEAVY;
        }
        if let Some(weight) = self.known.get(text) {
            return weight;
        }
        let weight = tactus_traceql::parse(text).map_or(1, |root| weight(&root, &self.settings));
        self.known.insert(text.to_owned(), weight);
        weight
    }
}

/// The parts of a query that determine its weight.
#[derive(Debug, Default)]
struct Contents {
    conditions: i64,
    regexes: i64,
    has_or: bool,
    is_structural: bool,
}

fn weight(root: &RootExpr, settings: &Weights) -> u64 {
    let mut contents = Contents::default();
    contents.add_pipeline(root.search_pipeline());
    let leaf = root.metrics().and_then(|metrics| metrics.first_leaf());
    let reads_all = leaf.is_some_and(|leaf| match leaf.stage {
        MetricsStage::Compare(_) | MetricsStage::ServiceGraph(_) => true,
        MetricsStage::Series { .. } => false,
    });
    let has_many = contents.regexes >= settings.max_regex_conditions.max(1)
        || contents.conditions >= settings.max_traceql_conditions.max(1);
    let reasons = [has_many, contents.has_or, contents.is_structural, reads_all];
    1 + reasons.into_iter().map(u64::from).sum::<u64>()
}

impl Contents {
    fn add_pipeline(&mut self, pipeline: &Pipeline) {
        for stage in &pipeline.stages {
            if let PipelineStage::Spanset(spanset) = stage {
                self.add_spanset(spanset);
            }
        }
    }

    fn add_spanset(&mut self, spanset: &SpansetExpression) {
        match spanset {
            SpansetExpression::Filter(filter) => self.add(&filter.expression),
            SpansetExpression::Pipeline(pipeline) => self.add_pipeline(pipeline),
            SpansetExpression::Binary { operator, left, right } => {
                match operator {
                    SpansetOperator::And => {}
                    SpansetOperator::Or => self.has_or = true,
                    SpansetOperator::Structural(..) => self.is_structural = true,
                }
                self.add_spanset(left);
                self.add_spanset(right);
            }
        }
    }

    fn add(&mut self, expression: &FieldExpression) {
        match expression {
            FieldExpression::Static(_) | FieldExpression::Attribute(_) => {}
            FieldExpression::Unary { operand, .. } => self.add(operand),
            FieldExpression::Binary { operator, left, right } => {
                match operator {
                    BinaryOperator::Arithmetic(_) => {}
                    BinaryOperator::Comparison(_) => self.conditions += 1,
                    BinaryOperator::Regex | BinaryOperator::NotRegex => {
                        self.conditions += 1;
                        self.regexes += 1;
                    }
                }
                self.add(left);
                self.add(right);
            }
            FieldExpression::Logical { operator, operands } => {
                self.has_or |= *operator == LogicalOperator::Or;
                operands.iter().for_each(|operand| self.add(operand));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tactus::v1::{FindTraceRequest, SearchRequest, TagsRequest};

    #[test]
    fn query_weighs_by_what_is_in_it() {
        let scales = Scales::new(Weights::default());
        for (query, expected) in [
            ("{ }", 1),
            (r#"{ .a = "x" }"#, 1),
            (r#"{ .a = "x" || .b =~ "y" }"#, 3),
            (r#"{ .a = 1 && .b = 2 && .c = 3 && .d = 4 }"#, 2),
            ("{ .a = 1 } >> { .b = 2 }", 2),
            ("{ .a = 1 } || { .b = 2 }", 2),
            (r#"({ .a =~ "x" } || { .b = 2 }) >> { .c = 3 }"#, 4),
            ("{ } | compare({ .a = 1 })", 2),
            ("{ } | service_graph(rate)", 2),
            ("{", 1),
            ("", 1),
        ] {
            let search = SearchRequest { query: query.to_owned(), ..SearchRequest::default() };
            let job = JobRequest::SearchRecent(search);
            assert_eq!(scales.weigh(&job), expected, "{query}");
            assert_eq!(scales.weigh(&job), expected, "{query}");
        }
    }

    #[test]
    fn jobs_without_a_query_have_the_weight_of_their_kind() {
        let scales = Scales::new(Weights::default());
        assert_eq!(scales.weigh(&JobRequest::FindRecentTrace(FindTraceRequest::default())), 2);
        assert_eq!(scales.weigh(&JobRequest::RecentTags(TagsRequest::default())), 1);
        let settings = Weights { request_with_weights: false, ..Weights::default() };
        let scales = Scales::new(settings);
        assert_eq!(scales.weigh(&JobRequest::FindRecentTrace(FindTraceRequest::default())), 1);
    }
}
