//! Tag names and values over recent data and blocks.

mod collect;

use std::sync::Arc;

use tactus_api::job::{JobError, TagValuesJob, TagsJob, add_tags, add_values};
use tactus_api::json::listed_bytes;
use tactus_api::request::{RequestedTag, TagValuesQuery, TagsQuery, check_query_bytes};
use tactus_api::{Error, Result, Window};
use tactus_model::{SpanBatch, TenantId};
use tactus_proto::tactus::v1::{
    TagValuesInBlockRequest, TagValuesRequest, TagsInBlockRequest, TagsRequest,
};
use tactus_proto::tempopb::{
    self, MetadataMetrics, SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsResponse,
    SearchTagsV2Response, SearchTagsV2Scope,
};
use tactus_server::bodies::Bodies;
use tactus_traceql::eval::{
    INTRINSIC_TAGS, TagCollector, TagLimits, TagScope, TagValue, ValueCollector,
};

use crate::frontend::Frontend;
use crate::metrics::METADATA;
use crate::offload::offload_within;
use crate::query_log::Asked;
use crate::settings::QueryLimits;
use crate::work::metadata;
pub(crate) use collect::Observer;
use collect::{Calls, State};

/// Answers of more bytes are written away from the threads that serve connections.
const INLINE_BYTES: usize = 64 << 10;

/// Tag names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsAnswer {
    /// The scopes with tags, in the order of an answer, each with its tags sorted.
    pub scopes: Vec<(TagScope, Vec<String>)>,
    /// The work that was done.
    pub metrics: MetadataMetrics,
    /// Something could not be read, so tags may be missing.
    pub partial: bool,
}

/// Tag values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagValuesAnswer {
    /// The values, ordered by type, then by text.
    pub values: Vec<TagValue>,
    /// The work that was done.
    pub metrics: MetadataMetrics,
    /// Something could not be read, so values may be missing.
    pub partial: bool,
}

impl TagsAnswer {
    /// Bytes of the names, and of their JSON.
    pub(crate) fn bytes_to_write(&self) -> usize {
        let names = self.scopes.iter().flat_map(|(_, tags)| tags);
        names.map(|name| name.len() + listed_bytes(name)).sum()
    }

    /// The message of API version 1: the names of all scopes. Intrinsics are included only if `scope` asks for them.
    pub(crate) fn into_v1(self, scope: Option<TagScope>) -> SearchTagsResponse {
        let asked = scope == Some(TagScope::Intrinsic);
        let is_shown = |scope: TagScope| asked || scope != TagScope::Intrinsic;
        let scopes = self.scopes.into_iter().filter(|(scope, _)| is_shown(*scope));
        let mut tag_names: Vec<String> = scopes.flat_map(|(_, tags)| tags).collect();
        tag_names.sort_unstable();
        tag_names.dedup();
        SearchTagsResponse { tag_names, metrics: Some(self.metrics) }
    }

    /// The message of API version 2: names grouped by scope.
    pub(crate) fn into_v2(self) -> SearchTagsV2Response {
        let scope = |(scope, tags): (TagScope, _)| SearchTagsV2Scope {
            name: scope.text().to_owned(),
            tags,
        };
        SearchTagsV2Response {
            scopes: self.scopes.into_iter().map(scope).collect(),
            metrics: Some(self.metrics),
        }
    }
}

impl TagValuesAnswer {
    /// Bytes of the values, and of their JSON.
    pub(crate) fn bytes_to_write(&self) -> usize {
        let texts = self.values.iter().map(|value| &value.text);
        texts.map(|text| text.len() + listed_bytes(text)).sum()
    }

    /// The message of API version 1: values as text.
    pub(crate) fn into_v1(self) -> SearchTagValuesResponse {
        let tag_values = self.values.into_iter().map(|value| value.text).collect();
        SearchTagValuesResponse { tag_values, metrics: Some(self.metrics) }
    }

    /// The message of API version 2: values with their types.
    pub(crate) fn into_v2(self) -> SearchTagValuesV2Response {
        let value = |value: TagValue| tempopb::TagValue {
            r#type: value.value_type.text().to_owned(),
            value: value.text,
        };
        let tag_values = self.values.into_iter().map(value).collect();
        SearchTagValuesV2Response { tag_values, metrics: Some(self.metrics) }
    }
}

/// Writes an answer that takes this many bytes until it is written. Errors: there is no memory for it.
pub(crate) async fn written<T: Send + 'static>(
    memory: &Arc<Bodies>,
    bytes: usize,
    write: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    offload_within(memory, bytes as u64, bytes > INLINE_BYTES, write).await
}

impl Frontend {
    /// Answers a query for tag names. Intrinsics are listed if all scopes or that one is asked for.
    pub async fn tags(&self, tenants: &[TenantId], query: &TagsQuery) -> Result<TagsAnswer> {
        self.tags_with(tenants, query, None).await
    }

    /// Answers a query for tag names, and shows intermediate results.
    pub(crate) async fn tags_with(
        &self,
        tenants: &[TenantId],
        query: &TagsQuery,
        observer: Option<Observer<TagCollector>>,
    ) -> Result<TagsAnswer> {
        let inspected = |answer: &TagsAnswer| answer.metrics.inspected_bytes;
        let asked = Asked::new(format!("names of attributes {}", query.query));
        let run = self.run_tags(tenants, query, observer);
        self.counted(tenants, METADATA, asked, run, inspected).await
    }

    /// Answers a query for the values of a tag. `typed`: values of equal text but different type are different.
    pub async fn tag_values(
        &self,
        tenants: &[TenantId],
        tag: &RequestedTag,
        query: &TagValuesQuery,
        typed: bool,
    ) -> Result<TagValuesAnswer> {
        self.tag_values_with(tenants, tag, query, typed, None).await
    }

    /// Answers a query for tag values, and shows intermediate results.
    pub(crate) async fn tag_values_with(
        &self,
        tenants: &[TenantId],
        tag: &RequestedTag,
        query: &TagValuesQuery,
        typed: bool,
        observer: Option<Observer<ValueCollector>>,
    ) -> Result<TagValuesAnswer> {
        let inspected = |answer: &TagValuesAnswer| answer.metrics.inspected_bytes;
        let run = self.run_tag_values(tenants, tag, (query, typed), observer);
        let asked = Asked::new(format!("values of {} {}", names_of(tag), query.query));
        self.counted(tenants, METADATA, asked, run, inspected).await
    }

    async fn run_tags(
        &self,
        tenants: &[TenantId],
        query: &TagsQuery,
        observer: Option<Observer<TagCollector>>,
    ) -> Result<TagsAnswer> {
        let (window, limits) = self.checked_window(tenants, &query.range)?;
        let _admitted = self.admit(tenants)?;
        let requests: Vec<_> = tenants
            .iter()
            .map(|tenant| TagsRequest {
                tenant: tenant.to_string(),
                scope: query.scope.map_or("", TagScope::text).to_owned(),
                start: window.start_seconds(),
                end: window.end_seconds(),
                query: query.query.clone(),
                max_bytes: limits.max_bytes_per_tag_values_query,
                ..TagsRequest::default()
            })
            .collect();
        let collector = || {
            TagCollector::new(TagLimits {
                max_bytes: limits.max_bytes_per_tag_values_query as usize,
                max_count: query.limit as usize,
                max_stale: query.max_stale as usize,
            })
        };
        let mut state = State::new(collector, self.new_work(tenants), observer);
        // Refuses what the services would refuse.
        let groups = limits.max_condition_groups_per_tag_query;
        let template = requests[0].clone();
        let compile = move || TagsJob::compile(&template, groups).map_err(refused);
        let job = self.compile_tags(tenants, &query.query, compile).await?;
        if !job.reads_nothing() && !window.is_empty() {
            self.expect_jobs(tenants, &window, &mut state);
            self.collect_tags(&requests, (&window, &limits), &mut state).await?;
        }
        let mut scopes = state.collector.finish();
        if query.scope.is_none_or(|scope| scope == TagScope::Intrinsic) {
            let names = INTRINSIC_TAGS.map(str::to_owned).to_vec();
            scopes.push((TagScope::Intrinsic, names));
        }
        Ok(TagsAnswer {
            scopes,
            metrics: metadata(&state.work.metrics),
            partial: state.work.partial,
        })
    }

    /// Compiles the filter of a tag query. It may be as long as any other query.
    async fn compile_tags<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        filter: &str,
        compile: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        check_query_bytes(filter, self.settings.section.max_query_expression_size_bytes)?;
        self.parse(tenants, filter, compile).await
    }

    async fn collect_tags(
        &self,
        requests: &[TagsRequest],
        bounds: (&Window, &QueryLimits),
        state: &mut State<TagCollector>,
    ) -> Result<()> {
        let calls = Calls::<TagsRequest> {
            tenant: |request| &request.tenant,
            told: |request, stored_block_ids, so_far| TagsRequest {
                stored_block_ids,
                so_far: so_far.into(),
                ..request.clone()
            },
            in_block: |frontend, tags, part| {
                frontend.run_on_block(TagsInBlockRequest { tags: Some(tags), part: Some(part) })
            },
            work_of: |answer| (answer.inspected_bytes, answer.partial),
        };
        self.collect(requests, bounds, state, calls, add_tags).await
    }

    async fn run_tag_values(
        &self,
        tenants: &[TenantId],
        tag: &RequestedTag,
        (query, typed): (&TagValuesQuery, bool),
        observer: Option<Observer<ValueCollector>>,
    ) -> Result<TagValuesAnswer> {
        let (window, limits) = self.checked_window(tenants, &query.range)?;
        let collector = || {
            let limits = TagLimits {
                max_bytes: limits.max_bytes_per_tag_values_query as usize,
                max_count: query.limit as usize,
                max_stale: query.max_stale as usize,
            };
            if typed { ValueCollector::new(limits) } else { ValueCollector::of_texts(limits) }
        };
        let attributes = match tag {
            RequestedTag::Fixed(values) => {
                let mut collector = collector();
                values.iter().cloned().all(|value| collector.add(value));
                let values = collector.finish();
                return Ok(TagValuesAnswer { values, ..TagValuesAnswer::default() });
            }
            RequestedTag::Stored(attributes) => attributes,
        };
        let _admitted = self.admit(tenants)?;
        let mut names = attributes.iter().map(ToString::to_string);
        let template = TagValuesRequest {
            tag: names.next().unwrap_or_default(),
            start: window.start_seconds(),
            end: window.end_seconds(),
            query: query.query.clone(),
            max_bytes: limits.max_bytes_per_tag_values_query,
            max_values: query.limit,
            more_tags: names.collect(),
            texts_only: !typed,
            // The tenant is set in each copy.
            ..TagValuesRequest::default()
        };
        let mut state = State::new(collector, self.new_work(tenants), observer);
        let groups = limits.max_condition_groups_per_tag_query;
        let first = template.clone();
        let compile = move || TagValuesJob::compile(&first, groups).map_err(refused);
        let mut job = self.compile_tags(tenants, &query.query, compile).await?;
        if job.reads_nothing() {
            // The filter determines the value.
            job.visit(&SpanBatch::default());
            add_values(&mut state.collector, job.finish(0));
        } else if !window.is_empty() {
            let requests: Vec<_> = tenants
                .iter()
                .map(|tenant| TagValuesRequest { tenant: tenant.to_string(), ..template.clone() })
                .collect();
            self.expect_jobs(tenants, &window, &mut state);
            self.collect_values(&requests, (&window, &limits), &mut state).await?;
        }
        Ok(TagValuesAnswer {
            values: state.collector.finish(),
            metrics: metadata(&state.work.metrics),
            partial: state.work.partial,
        })
    }

    async fn collect_values(
        &self,
        requests: &[TagValuesRequest],
        bounds: (&Window, &QueryLimits),
        state: &mut State<ValueCollector>,
    ) -> Result<()> {
        let calls = Calls::<TagValuesRequest> {
            tenant: |request| &request.tenant,
            told: |request, stored_block_ids, so_far| TagValuesRequest {
                stored_block_ids,
                so_far: so_far.into(),
                ..request.clone()
            },
            in_block: |frontend, values, part| {
                let (values, part) = (Some(values), Some(part));
                frontend.run_on_block(TagValuesInBlockRequest { values, part })
            },
            work_of: |answer| (answer.inspected_bytes, answer.partial),
        };
        self.collect(requests, bounds, state, calls, add_values).await
    }

    fn expect_jobs<C>(&self, tenants: &[TenantId], window: &Window, state: &mut State<C>) {
        if state.is_stream() {
            let seconds = (window.start_seconds().into(), window.end_seconds().into());
            let bytes = self.settings.section.search.target_bytes_per_job;
            state.work.expect_jobs(self.jobs_on_blocks(tenants, seconds, bytes));
        }
    }
}

/// The attributes of a tag.
fn names_of(tag: &RequestedTag) -> String {
    match tag {
        RequestedTag::Fixed(_) => "an intrinsic".to_owned(),
        RequestedTag::Stored(attributes) => {
            attributes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    }
}

pub(crate) fn refused(error: JobError) -> Error {
    match error {
        JobError::Unsupported(error) => Error::NotImplemented(error.to_string()),
        error => Error::Invalid(error.to_string()),
    }
}
