//! Tag names and values over recent data and blocks.

use std::ops::ControlFlow;

use bytes::Bytes;
use tactus_api::job::{JobError, TagValuesJob, TagsJob};
use tactus_api::request::{RequestedTag, TagValuesQuery, TagsQuery, check_query_bytes};
use tactus_api::{Error, RequestedRange, Result, Window};
use tactus_model::{SpanBatch, TenantId};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    BlockPart, TagValuesInBlockRequest, TagValuesRequest, TagValuesResponse, TagsInBlockRequest,
    TagsRequest, TagsResponse,
};
use tactus_proto::tempopb::MetadataMetrics;
use tactus_traceql::eval::{
    INTRINSIC_TAGS, TagCollector, TagLimits, TagScope, TagValue, TagValueType, ValueCollector,
};
use tonic::Request;

use crate::blocks::KnownBlocks;
use crate::frontend::Frontend;
use crate::jobs::{Call, Outcome, Running, run_jobs};
use crate::metrics::METADATA;
use crate::query_log::Asked;
use crate::settings::QueryLimits;
use crate::work::{Work, metadata};

/// Tag names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsAnswer {
    /// The scopes that have tags, in the order of an answer, each with its tags sorted.
    pub scopes: Vec<(TagScope, Vec<String>)>,
    /// The work that was done.
    pub metrics: MetadataMetrics,
    /// Something could not be read: there may be more tags.
    pub partial: bool,
}

/// Tag values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagValuesAnswer {
    /// By type, then text.
    pub values: Vec<TagValue>,
    /// The work that was done.
    pub metrics: MetadataMetrics,
    /// Something could not be read: there may be more values.
    pub partial: bool,
}

/// How the services are asked for one kind of answer.
struct Calls<R, T> {
    tenant: fn(&R) -> &str,
    /// The request for an ingester, which is told of these blocks.
    told: fn(&R, Bytes) -> R,
    recent: Call<dyn Ingester, R, T>,
    in_block: fn(&Frontend, R, BlockPart) -> Running<T>,
}

/// Told of what was collected, after each answer to a job.
pub(crate) type Observer<C> = Box<dyn FnMut(&C, MetadataMetrics) + Send>;

/// What is found so far.
struct State<C> {
    collector: C,
    work: Work,
    /// Told of what is collected, if the answer is a stream.
    observer: Option<Observer<C>>,
}

impl Frontend {
    /// Answers a query for tag names. Intrinsics are listed if all scopes or that one is asked for.
    pub async fn tags(&self, tenants: &[TenantId], query: &TagsQuery) -> Result<TagsAnswer> {
        self.tags_with(tenants, query, None).await
    }

    /// Answers a query for tag names, and shows on the way what is found.
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

    /// Answers a query for tag values, and shows on the way what is found.
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
        let (window, limits) = self.metadata_window(tenants, &query.range)?;
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
                stored_block_ids: Bytes::new(),
            })
            .collect();
        let collector = TagCollector::new(TagLimits {
            max_bytes: limits.max_bytes_per_tag_values_query as usize,
            max_count: query.limit as usize,
            max_stale: query.max_stale as usize,
        });
        let mut state = State::new(collector, &limits, observer);
        // Refuses what the services would refuse.
        let groups = limits.max_condition_groups_per_tag_query;
        let template = requests[0].clone();
        let compile = move || TagsJob::compile(&template, groups).map_err(refused);
        let job = self.compile_tags(tenants, &query.query, compile).await?;
        if !job.reads_nothing() {
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

    /// Compiles a filter of tags, of no more bytes than any other query.
    async fn compile_tags<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        filter: &str,
        compile: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        check_query_bytes(filter, self.settings.max_query_expression_size_bytes)?;
        self.parse(tenants, filter, compile).await
    }

    async fn collect_tags(
        &self,
        requests: &[TagsRequest],
        bounds: (&Window, &QueryLimits),
        state: &mut State<TagCollector>,
    ) -> Result<()> {
        let calls = Calls::<TagsRequest, TagsResponse> {
            tenant: |request| &request.tenant,
            told: |request, stored_block_ids| TagsRequest { stored_block_ids, ..request.clone() },
            recent: |ingester, request| {
                Box::pin(
                    async move { Ok(ingester.tags(Request::new(request)).await?.into_inner()) },
                )
            },
            in_block: |frontend, tags, part| {
                frontend.run_on_block(TagsInBlockRequest { tags: Some(tags), part: Some(part) })
            },
        };
        self.collect(requests, bounds, state, calls, State::take_tags).await
    }

    async fn run_tag_values(
        &self,
        tenants: &[TenantId],
        tag: &RequestedTag,
        (query, typed): (&TagValuesQuery, bool),
        observer: Option<Observer<ValueCollector>>,
    ) -> Result<TagValuesAnswer> {
        let (window, limits) = self.metadata_window(tenants, &query.range)?;
        let attributes = match tag {
            RequestedTag::Fixed(values) => {
                return Ok(TagValuesAnswer {
                    values: values.clone(),
                    ..TagValuesAnswer::default()
                });
            }
            RequestedTag::Stored(attributes) => attributes,
        };
        let _admitted = self.admit(tenants)?;
        let mut names = attributes.iter().map(ToString::to_string);
        let first = names.next().unwrap_or_default();
        let template = TagValuesRequest {
            tenant: String::new(),
            tag: first,
            start: window.start_seconds(),
            end: window.end_seconds(),
            query: query.query.clone(),
            max_bytes: limits.max_bytes_per_tag_values_query,
            // Values that differ in type only are one value without it, so that a job cannot tell when it has enough.
            max_values: if typed { query.limit } else { 0 },
            more_tags: names.collect(),
            stored_block_ids: Bytes::new(),
        };
        let collector = ValueCollector::new(TagLimits {
            max_bytes: limits.max_bytes_per_tag_values_query as usize,
            max_count: query.limit as usize,
            max_stale: query.max_stale as usize,
        });
        let mut state = State::new(collector, &limits, observer);
        let groups = limits.max_condition_groups_per_tag_query;
        let first = template.clone();
        let compile = move || TagValuesJob::compile(&first, groups).map_err(refused);
        let mut job = self.compile_tags(tenants, &query.query, compile).await?;
        if job.reads_nothing() {
            // The filter says what the value is.
            job.visit(&SpanBatch::default());
            let _ = state.take_values(job.finish(0), typed);
        } else {
            let requests: Vec<_> = tenants
                .iter()
                .map(|tenant| TagValuesRequest { tenant: tenant.to_string(), ..template.clone() })
                .collect();
            self.expect_jobs(tenants, &window, &mut state);
            self.collect_values(&requests, (&window, &limits), &mut state, typed).await?;
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
        typed: bool,
    ) -> Result<()> {
        let calls = Calls::<TagValuesRequest, TagValuesResponse> {
            tenant: |request| &request.tenant,
            told: |request, stored_block_ids| TagValuesRequest {
                stored_block_ids,
                ..request.clone()
            },
            recent: |ingester, request| {
                Box::pin(async move {
                    Ok(ingester.tag_values(Request::new(request)).await?.into_inner())
                })
            },
            in_block: |frontend, values, part| {
                let (values, part) = (Some(values), Some(part));
                frontend.run_on_block(TagValuesInBlockRequest { values, part })
            },
        };
        let take = |state: &mut State<ValueCollector>, answer| state.take_values(answer, typed);
        self.collect(requests, bounds, state, calls, take).await
    }

    /// Asks the ingesters for what is in no block that is known, then the blocks, until the answer is full.
    async fn collect<R, T, C>(
        &self,
        requests: &[R],
        (window, limits): (&Window, &QueryLimits),
        state: &mut State<C>,
        calls: Calls<R, T>,
        take: impl Fn(&mut State<C>, T) -> ControlFlow<()>,
    ) -> Result<()>
    where
        R: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let take = |state: &mut State<C>, outcome| {
            let flow = match outcome {
                Outcome::Answer(answer) => {
                    state.work.add(None, Vec::new());
                    take(state, answer)
                }
                Outcome::Damaged => {
                    state.work.partial = true;
                    ControlFlow::Continue(())
                }
            };
            if let Some(observer) = &mut state.observer {
                observer(&state.collector, metadata(&state.work.so_far()));
            }
            state.work.check().map(|()| flow)
        };
        state.work.metrics.total_jobs += requests.len() as u32;
        let seconds = (window.start_seconds().into(), window.end_seconds().into());
        let most = limits.max_blocks_per_tag_values_query;
        let tenants = requests.iter().map(calls.tenant);
        let known: Vec<_> =
            tenants.map(|tenant| self.known_blocks(tenant, seconds, most)).collect();
        let told = |(request, known): (_, &KnownBlocks)| (calls.told)(request, known.ids());
        let told: Vec<_> = requests.iter().zip(&known).map(told).collect();
        let mut is_full = false;
        for outcome in self.ask_ingesters(&told, calls.recent).await? {
            if take(state, outcome)?.is_break() {
                is_full = true;
                break;
            }
        }
        // Counted even if none is wanted any more: totals do not depend on where an answer is full.
        let jobs = self.block_jobs(requests, &known, &mut state.work);
        if is_full {
            return Ok(());
        }
        let run = |(request, part)| (calls.in_block)(self, request, part);
        let in_flight = self.jobs_in_flight(self.settings.search.concurrent_jobs);
        run_jobs(jobs, in_flight, state, run, take).await
    }

    fn expect_jobs<C>(&self, tenants: &[TenantId], window: &Window, state: &mut State<C>) {
        if state.observer.is_some() {
            let seconds = (window.start_seconds().into(), window.end_seconds().into());
            let bytes = self.settings.search.target_bytes_per_job;
            state.work.expect_jobs(self.jobs_on_blocks(tenants, seconds, bytes));
        }
    }

    /// The window of a query for tags or values, checked, and the limits that hold.
    fn metadata_window(
        &self,
        tenants: &[TenantId],
        range: &RequestedRange,
    ) -> Result<(Window, QueryLimits)> {
        let window = range.window(&self.window_rules())?;
        let limits = self.limits_of(tenants);
        window.check_length(limits.max_search_duration)?;
        Ok((window, limits))
    }

    /// One job for each part of a block of each request.
    fn block_jobs<R: Clone>(
        &self,
        requests: &[R],
        known: &[KnownBlocks],
        work: &mut Work,
    ) -> Vec<(R, BlockPart)> {
        let bytes = self.settings.search.target_bytes_per_job;
        let mut jobs = Vec::new();
        for (request, known) in requests.iter().zip(known) {
            let blocks = self.blocks_to_read(known);
            work.plan_blocks(&blocks);
            for block in blocks {
                let parts = block.parts(bytes).into_iter();
                jobs.extend(parts.map(|part| (request.clone(), part)));
            }
        }
        work.plan_jobs(jobs.len());
        jobs
    }
}

impl<C> State<C> {
    fn new(collector: C, limits: &QueryLimits, observer: Option<Observer<C>>) -> Self {
        Self { collector, work: Work::within(limits.max_inspected_bytes), observer }
    }
}

impl State<TagCollector> {
    fn take_tags(&mut self, answer: TagsResponse) -> ControlFlow<()> {
        self.work.metrics.inspected_bytes += answer.inspected_bytes;
        self.work.partial |= answer.partial;
        for found in answer.scopes {
            let scope = TagScope::from_text(&found.name);
            for (scope, tag) in
                scope.into_iter().flat_map(|scope| found.tags.iter().map(move |tag| (scope, tag)))
            {
                if scope != TagScope::Intrinsic && !self.collector.add(scope, tag) {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl State<ValueCollector> {
    fn take_values(&mut self, answer: TagValuesResponse, typed: bool) -> ControlFlow<()> {
        self.work.metrics.inspected_bytes += answer.inspected_bytes;
        self.work.partial |= answer.partial;
        for found in answer.values {
            let Some(value_type) = value_type(&found.r#type) else { continue };
            let value_type = if typed { value_type } else { TagValueType::String };
            if !self.collector.add(TagValue { value_type, text: found.value }) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}

fn value_type(text: &str) -> Option<TagValueType> {
    use TagValueType::{Bool, Duration, Float, Int, Keyword, String};
    [Bool, Duration, Float, Int, Keyword, String].into_iter().find(|known| known.text() == text)
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
