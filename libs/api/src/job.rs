//! Compiles requests between services, so that they can be run on any number of batches.
//!
//! Ingesters run them on recent data, queriers on row groups. What a request means is decided here, in one place.

use tactus_model::{Projection, SpanBatch};
use tactus_proto::tactus::v1::{
    MetricsRequest, SearchRequest, TagScope as TagScopeMessage, TagValue as TagValueMessage,
    TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_storage::meta::{ColumnScope, DedicatedColumn};
use tactus_traceql::eval::{
    CompiledQuery, SearchOptions, TagCollector, TagFilter, TagLimits, TagScope, TagSearch,
    TagValue, TagValueType, Unsupported, ValueCollector, Window, collect_tag_values, collect_tags,
    listed_scopes, tag_values_projection, tags_projection,
};
use tactus_traceql::metrics::{CompiledMetrics, Grid, MetricsOptions};
use tactus_traceql::{
    Attribute, AttributeScope, RootExpr, completion, parse_and_validate, parse_attribute,
};

/// Why a request cannot be run; the client's fault either way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Not a valid query, tag or scope. Status 400.
    #[error("{0}")]
    Invalid(String),
    /// Valid, but not implemented. Status 501.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Parses and checks a query.
pub(crate) fn parse_query(text: &str) -> Result<RootExpr, JobError> {
    parse_and_validate(text)
        .map_err(|error| JobError::Invalid(format!("invalid TraceQL query: {error}")))
}

/// A search.
#[derive(Debug)]
pub struct SearchJob {
    /// What to look for.
    pub query: CompiledQuery,
    /// The query's syntax tree; absent for a search by tags.
    pub root: Option<RootExpr>,
    /// Which traces.
    pub window: Window,
    /// How many traces, and how many spans of each.
    pub options: SearchOptions,
    /// True if the newest traces are wanted, not the first found.
    pub most_recent: bool,
}

impl SearchJob {
    /// Compiles a search. `dedicated`: the columns of attributes where it will run, or of the blocks that will be made of what it runs
    /// on; a search by tags looks at them in another way.
    pub fn compile(
        request: &SearchRequest,
        dedicated: &[DedicatedColumn],
    ) -> Result<Self, JobError> {
        let (query, root) = if request.query.is_empty() {
            let search = TagSearch {
                tags: request.tags.clone().into_iter().collect(),
                min_duration_millis: request.min_duration_ms.into(),
                max_duration_millis: request.max_duration_ms.into(),
            };
            let dedicated: Vec<_> = dedicated.iter().filter_map(attribute_of).collect();
            (search.compile(&dedicated), None)
        } else {
            let root = parse_query(&request.query)?;
            (CompiledQuery::compile(&root)?, Some(root))
        };
        Ok(Self {
            most_recent: request.most_recent || query.most_recent(),
            query,
            root,
            window: Window::from_seconds(request.start.into(), request.end.into()),
            options: SearchOptions {
                limit: request.limit as usize,
                spans_per_span_set: request.spans_per_span_set as usize,
            },
        })
    }
}

/// The attribute of a dedicated column; columns of events hold none that a search by tags looks at.
fn attribute_of(column: &DedicatedColumn) -> Option<Attribute> {
    let scope = match column.scope {
        ColumnScope::Span => AttributeScope::Span,
        ColumnScope::Resource => AttributeScope::Resource,
        ColumnScope::Event => return None,
    };
    Some(Attribute::named(scope, &column.name))
}

/// A request for tag names, and the names found so far.
#[derive(Debug)]
pub struct TagsJob {
    /// The stored scopes that are listed.
    scopes: Vec<TagScope>,
    filter: TagFilter,
    projection: Projection,
    collector: TagCollector,
}

impl TagsJob {
    /// Compiles a request. `max_condition_groups`: more alternatives in the filter are refused.
    pub fn compile(request: &TagsRequest, max_condition_groups: usize) -> Result<Self, JobError> {
        let scope = match request.scope.as_str() {
            "" => None,
            text => Some(
                TagScope::from_text(text)
                    .ok_or_else(|| JobError::Invalid(format!("invalid scope: {text}")))?,
            ),
        };
        let filter = filter(&request.query, None, max_condition_groups)?;
        let scopes = listed_scopes(scope, &filter);
        let mut projection = tags_projection(&scopes);
        projection.merge(filter.projection());
        let limits = TagLimits { max_bytes: request.max_bytes as usize, ..TagLimits::default() };
        Ok(Self { scopes, filter, projection, collector: TagCollector::new(limits) })
    }

    /// The columns that [`Self::visit`] reads.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// True if all spans of a trace must be in one batch.
    pub fn reads_whole_traces(&self) -> bool {
        self.filter.reads_whole_traces()
    }

    /// True if no batch can add a name.
    pub fn reads_nothing(&self) -> bool {
        self.scopes.is_empty()
    }

    /// The scopes whose names are listed; `None` if a filter selects spans.
    pub fn unfiltered_scopes(&self) -> Option<Vec<TagScope>> {
        self.filter.reads_all_spans().then(|| self.scopes.clone())
    }

    /// Adds a name that occurs in a scope. False once a limit is reached.
    pub fn add(&mut self, scope: TagScope, name: &[u8]) -> bool {
        self.collector.add(scope, &String::from_utf8_lossy(name))
    }

    /// Collects the names in a batch. False once a limit is reached.
    pub fn visit(&mut self, batch: &SpanBatch) -> bool {
        if !self.reads_nothing() {
            collect_tags(batch, &self.scopes, &self.filter, &mut self.collector);
        }
        !self.collector.is_full()
    }

    /// The names so far, each in a message of its own.
    pub fn so_far(&self) -> impl Iterator<Item = TagScopeMessage> {
        let message = |(scope, tag): (TagScope, &str)| TagScopeMessage {
            name: scope.text().to_owned(),
            tags: vec![tag.to_owned()],
        };
        self.collector.names().map(message)
    }

    /// The answer of these jobs for the same request, of which this one has found nothing yet.
    pub fn finish_with(mut self, others: Vec<Self>, inspected_bytes: u64) -> TagsResponse {
        let truncated = others.iter().any(|other| other.collector.is_full());
        let mut names = others.iter().flat_map(|other| other.collector.names());
        names.all(|(scope, name)| self.collector.add(scope, name));
        let answer = self.finish(inspected_bytes);
        TagsResponse { truncated: truncated || answer.truncated, ..answer }
    }

    /// The answer.
    pub fn finish(self, inspected_bytes: u64) -> TagsResponse {
        TagsResponse { inspected_bytes, ..tags_response(self.collector) }
    }
}

/// Adds the names of an answer. False once a limit is reached.
pub fn add_tags(collector: &mut TagCollector, answer: TagsResponse) -> bool {
    answer.scopes.into_iter().all(|found| match TagScope::from_text(&found.name) {
        None | Some(TagScope::Intrinsic) => true,
        Some(scope) => found.tags.iter().all(|tag| collector.add(scope, tag)),
    })
}

/// The answer with these names.
pub fn tags_response(collector: TagCollector) -> TagsResponse {
    let truncated = collector.is_full();
    let scope =
        |(scope, tags): (TagScope, _)| TagScopeMessage { name: scope.text().to_owned(), tags };
    let scopes = collector.finish().into_iter().map(scope).collect();
    TagsResponse { scopes, truncated, ..TagsResponse::default() }
}

/// A request for the values of a tag, and the values found so far.
#[derive(Debug)]
pub struct TagValuesJob {
    /// Each with its filter: what the filter pins depends on the attribute.
    attributes: Vec<(Attribute, TagFilter)>,
    projection: Projection,
    collector: ValueCollector,
}

impl TagValuesJob {
    /// Compiles a request. `max_condition_groups`: more alternatives in the filter are refused.
    pub fn compile(
        request: &TagValuesRequest,
        max_condition_groups: usize,
    ) -> Result<Self, JobError> {
        let mut attributes = Vec::new();
        let mut projection = Projection::default();
        for tag in std::iter::once(&request.tag).chain(&request.more_tags) {
            let attribute = parse_attribute(tag)
                .map_err(|error| JobError::Invalid(format!("invalid tag {tag}: {error}")))?;
            let filter = filter(&request.query, Some(&attribute), max_condition_groups)?;
            if !filter.reads_nothing() {
                projection.merge(&tag_values_projection(&attribute));
                projection.merge(filter.projection());
            }
            attributes.push((attribute, filter));
        }
        Ok(Self { attributes, projection, collector: value_collector(request) })
    }

    /// The columns that [`Self::visit`] reads.
    pub fn projection(&self) -> &Projection {
        &self.projection
    }

    /// True if all spans of a trace must be in one batch.
    pub fn reads_whole_traces(&self) -> bool {
        let whole = |(attribute, filter): &(Attribute, TagFilter)| {
            attribute.depends_on_other_spans() || filter.reads_whole_traces()
        };
        self.attributes.iter().any(whole)
    }

    /// True if the answer does not depend on spans; visit an empty batch then.
    pub fn reads_nothing(&self) -> bool {
        self.attributes.iter().all(|(_, filter)| filter.reads_nothing())
    }

    /// The attribute, if only one is requested and no filter selects spans.
    pub fn unfiltered_attribute(&self) -> Option<&Attribute> {
        match &self.attributes[..] {
            [(attribute, filter)] if filter.reads_all_spans() => Some(attribute),
            _ => None,
        }
    }

    /// Adds a string value. False once a limit is reached.
    pub fn add_string(&mut self, value: &[u8]) -> bool {
        let text = String::from_utf8_lossy(value).into_owned();
        self.collector.add(TagValue { value_type: TagValueType::String, text })
    }

    /// Adds a value of another type, as the text that answers show. False once a limit is reached.
    pub fn add_text(&mut self, value_type: TagValueType, text: String) -> bool {
        self.collector.add(TagValue { value_type, text })
    }

    /// Collects the values in a batch. False once a limit is reached.
    pub fn visit(&mut self, batch: &SpanBatch) -> bool {
        for (attribute, filter) in &self.attributes {
            collect_tag_values(batch, attribute, filter, &mut self.collector);
        }
        !self.collector.is_full()
    }

    /// The values so far.
    pub fn so_far(&self) -> impl Iterator<Item = TagValueMessage> {
        self.collector.values().cloned().map(value_message)
    }

    /// The answer of these jobs for the same request, of which this one has found nothing yet.
    pub fn finish_with(mut self, others: Vec<Self>, inspected_bytes: u64) -> TagValuesResponse {
        let truncated = others.iter().any(|other| other.collector.is_full());
        let mut values = others.into_iter().flat_map(|other| other.collector.finish());
        values.all(|value| self.collector.add(value));
        let answer = self.finish(inspected_bytes);
        TagValuesResponse { truncated: truncated || answer.truncated, ..answer }
    }

    /// The answer.
    pub fn finish(self, inspected_bytes: u64) -> TagValuesResponse {
        TagValuesResponse { inspected_bytes, ..values_response(self.collector) }
    }
}

/// A collector with the limits of a request.
pub fn value_collector(request: &TagValuesRequest) -> ValueCollector {
    let limits = TagLimits {
        max_bytes: request.max_bytes as usize,
        max_count: request.max_values as usize,
        max_stale: 0,
    };
    match request.texts_only {
        true => ValueCollector::of_texts(limits),
        false => ValueCollector::new(limits),
    }
}

/// Adds the values of an answer. False once a limit is reached.
pub fn add_values(collector: &mut ValueCollector, answer: TagValuesResponse) -> bool {
    answer.values.into_iter().all(|found| match TagValueType::from_text(&found.r#type) {
        None => true,
        Some(value_type) => collector.add(TagValue { value_type, text: found.value }),
    })
}

/// The answer with these values.
pub fn values_response(collector: ValueCollector) -> TagValuesResponse {
    let truncated = collector.is_full();
    let values = collector.finish().into_iter().map(value_message).collect();
    TagValuesResponse { values, truncated, ..TagValuesResponse::default() }
}

fn value_message(value: TagValue) -> TagValueMessage {
    TagValueMessage { r#type: value.value_type.text().to_owned(), value: value.text }
}

fn filter(
    query: &str,
    requested: Option<&Attribute>,
    max_condition_groups: usize,
) -> Result<TagFilter, JobError> {
    if query.is_empty() {
        return Ok(TagFilter::default());
    }
    let completion = completion(query, requested, max_condition_groups)
        .map_err(|error| JobError::Invalid(error.to_string()))?;
    Ok(TagFilter::new(&completion))
}

/// A metrics query.
#[derive(Debug)]
pub struct MetricsJob {
    /// The compiled query: what to count, in which intervals.
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
