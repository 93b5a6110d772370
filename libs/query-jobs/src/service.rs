//! The querier as a service of the protocol.

use std::sync::Arc;
use std::time::Instant;

use tactus_api::trace_job::TraceJob;
use tactus_cache::answer::AnswerScope;
use tactus_model::{TenantId, TraceId};
use tactus_proto::tactus::v1::querier_server::Querier as Protocol;
use tactus_proto::tactus::v1::{
    BlockPart, FindTraceInBlocksRequest, FindTraceInBlocksResponse, MetricsInBlockRequest,
    MetricsResponse, SearchBlockRequest, SearchResponse, SelectBlocksRequest, SelectBlocksResponse,
    SpansInBlocksRequest, SpansInBlocksResponse, TagValuesInBlockRequest, TagValuesResponse,
    TagsInBlockRequest, TagsResponse,
};
use tactus_rpc::QueryContext;
use tactus_rpc::jobs::ANSWER_SCOPE;
use tactus_storage::{BlockMeta, Blocklist, Bucket, Uuid};
use tactus_telemetry::metrics::Registry;
use tactus_traceql::is_short;
use tonic::{Request, Response, Status};

use crate::blocks::Blocks;
use crate::error::{Error, Result};
use crate::find;
use crate::metrics::Metrics;
use crate::pool::{Job, JobOptions, Pool};
use crate::prune::Pruner;
use crate::querier_state::QuerierState;
use crate::search::{self, BlockSearch};
use crate::select::select_blocks;
use crate::series::{self, BlockSeries};
use crate::settings::Settings;
use crate::stored_spans::spans_in_blocks;
use crate::tags::{BlockTagValues, BlockTags};

/// A querier. Cheap to clone; clones share threads and caches.
#[derive(Debug, Clone)]
pub struct Querier {
    pub(crate) inner: Arc<QuerierState>,
}

impl Querier {
    /// A querier of the blocks in a bucket. `blocklist` is asked for their metas; a block that it does not know is
    /// looked up in the bucket.
    pub fn new(
        settings: Settings,
        bucket: Bucket,
        blocklist: Arc<Blocklist>,
        registry: &Registry,
    ) -> Self {
        let metrics = Arc::new(Metrics::register(registry));
        let blocks = Blocks::new(&settings, bucket, blocklist, Arc::clone(&metrics));
        if let Some(columns) = blocks.columns() {
            Metrics::show_cache(registry, Arc::clone(columns));
        }
        let pool = Pool::new(
            settings.max_concurrent_jobs(),
            settings.threads(),
            settings.max_job_memory_bytes(),
        )
        .holding(Arc::clone(&settings.query_memory))
        .counting(metrics.waiting.clone());
        Metrics::show_slots(registry, settings.max_concurrent_jobs());
        Self { inner: Arc::new(QuerierState { settings, pool, blocks, metrics }) }
    }

    /// Takes no more jobs, and returns when no thread works on one any more: to be waited for before the runtime ends.
    pub async fn end(&self) {
        self.inner.pool.end().await;
    }

    /// Runs a job on one block. Also, of which other requests it is the answer: none if it must not be kept.
    async fn run_on_block<T: Send + 'static>(
        &self,
        tenant: &str,
        block_id: Uuid,
        options: JobOptions,
        job: impl Fn(&Blocks, &BlockMeta, &Job) -> Result<(T, AnswerScope)> + Clone + Send + 'static,
    ) -> Result<(T, Option<AnswerScope>)> {
        let run = async |options| {
            let meta = self.inner.blocks.meta(tenant, block_id).await?;
            let (inner, job) = (Arc::clone(&self.inner), job.clone());
            let run = move |context: &Job| {
                let (answer, scope) = job(&inner.blocks, &meta, context)?;
                Ok((answer, context.has_all_blocks().then_some(scope)))
            };
            self.inner.pool.run(options, run).await
        };
        let mut result = run(options).await;
        if matches!(result, Err(Error::Damaged(_))) && self.inner.blocks.has_shared_caches() {
            // The block may be whole, and what a cache was given of it not.
            result = run(JobOptions { bypasses_caches: true, ..options }).await;
        }
        match result {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.inner.blocks.explain(tenant, block_id, error).await),
        }
    }

    /// Parses or compiles a query: here if it is short, else in the pool, because that may take long.
    async fn compiled<T: Send + 'static>(
        &self,
        is_short: bool,
        options: JobOptions,
        compile: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match is_short {
            true => compile(),
            false => self.inner.pool.run(options, move |_| compile()).await,
        }
    }

    fn count(&self, op: &str, started: Instant, inspected_bytes: u64) {
        let metrics = &self.inner.metrics;
        metrics.jobs.with([op]).inc();
        metrics.job_seconds.with([op]).observe_duration(started.elapsed());
        metrics.inspected_bytes.with([op]).inc_by(inspected_bytes);
    }
}

#[tonic::async_trait]
impl Protocol for Querier {
    async fn find_trace_in_blocks(
        &self,
        request: Request<FindTraceInBlocksRequest>,
    ) -> Result<Response<FindTraceInBlocksResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let find = request.find.ok_or_else(|| missing("find"))?;
        let tenant = tenant_of(&find.tenant)?;
        let ids: Vec<Uuid> =
            request.block_ids.iter().map(|id| parse_block_id(id)).collect::<Result<_, _>>()?;
        let options = self.inner.options(tenant.as_str(), &["trace"], context);
        let is_short = is_short(&find.query);
        let compile = move || TraceJob::compile(&find).map_err(Error::from);
        let wanted = Arc::new(self.compiled(is_short, options, compile).await?);
        let found = find::find_trace(&self.inner, tenant.as_str(), &wanted, ids, context).await?;
        self.count("traces", started, found.inspected_bytes);
        Ok(Response::new(found))
    }

    async fn select_blocks(
        &self,
        request: Request<SelectBlocksRequest>,
    ) -> Result<Response<SelectBlocksResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let search = request.search.ok_or_else(|| missing("search"))?;
        let tenant = tenant_of(&search.tenant)?;
        let (ids, rest) = request.block_ids.as_chunks();
        if !rest.is_empty() {
            return Err(Status::invalid_argument("block ids are not of 16 bytes each"));
        }
        let ids = ids.iter().map(|&id| Uuid::from_bytes(id)).collect();
        let options = self.inner.options(tenant.as_str(), &["search", &search.query], context);
        let is_short = is_short(&search.query);
        let pruner = move || {
            let root = tactus_traceql::parse_and_validate(&search.query);
            Ok(Pruner::of(&root.map_err(|error| Error::Invalid(error.to_string()))?))
        };
        let pruner = self.compiled(is_short, options, pruner).await?;
        let selected = select_blocks(&self.inner, tenant.as_str(), pruner, ids, options).await?;
        self.count("search", started, selected.inspected_bytes);
        Ok(Response::new(selected))
    }

    async fn search_block(
        &self,
        request: Request<SearchBlockRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let search = request.search.ok_or_else(|| missing("search"))?;
        let (block_id, part) = block_of(request.part)?;
        let tenant = tenant_of(&search.tenant)?;
        let options = self.inner.options(tenant.as_str(), &["search", &search.query], context);
        let options = JobOptions { explain: search.explain, ..options };
        let job = move |blocks: &Blocks, meta: &BlockMeta, job: &Job| {
            BlockSearch::compile(&search, &meta.dedicated_columns)?.run(blocks, meta, &part, job)
        };
        let (mut answer, scope) =
            self.run_on_block(tenant.as_str(), block_id, options, job).await?;
        if answer.metrics.is_none() {
            answer = search::response(Vec::new(), 0, 0);
        }
        let inspected = answer.metrics.as_ref().map_or(0, |metrics| metrics.inspected_bytes);
        self.count("search", started, inspected);
        Ok(response(answer, scope))
    }

    async fn metrics_in_block(
        &self,
        request: Request<MetricsInBlockRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let metrics = request.metrics.ok_or_else(|| missing("metrics"))?;
        let (block_id, part) = block_of(request.part)?;
        let tenant = tenant_of(&metrics.tenant)?;
        let options = self.inner.options(tenant.as_str(), &["metrics", &metrics.query], context);
        let options = JobOptions { explain: metrics.explain, ..options };
        let counted = request.counted_block_ids.iter().map(|id| parse_block_id(id));
        let counted = counted.collect::<Result<Vec<_>>>()?;
        let max_bytes = self.inner.settings.max_job_memory_bytes();
        let job = move |blocks: &Blocks, meta: &BlockMeta, job: &Job| {
            BlockSeries::compile(metrics.clone(), counted.clone(), max_bytes)?
                .run(blocks, meta, &part, job)
        };
        let (mut answer, scope) =
            self.run_on_block(tenant.as_str(), block_id, options, job).await?;
        if answer.metrics.is_none() {
            answer = series::response(0, 0);
        }
        let inspected = answer.metrics.as_ref().map_or(0, |metrics| metrics.inspected_bytes);
        self.count("metrics", started, inspected);
        Ok(response(answer, scope))
    }

    async fn spans_in_blocks(
        &self,
        request: Request<SpansInBlocksRequest>,
    ) -> Result<Response<SpansInBlocksResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let ids: Vec<Uuid> =
            request.block_ids.iter().map(|id| parse_block_id(id)).collect::<Result<_, _>>()?;
        let (traces, rest) = request.trace_ids.as_chunks();
        if !rest.is_empty() {
            return Err(Status::invalid_argument("trace ids are not of 16 bytes each"));
        }
        let traces = traces.iter().map(|&id| TraceId(id)).collect();
        let found = spans_in_blocks(&self.inner, tenant.as_str(), ids, traces, context).await?;
        self.count("metrics", started, 0);
        Ok(Response::new(found))
    }

    async fn tags_in_block(
        &self,
        request: Request<TagsInBlockRequest>,
    ) -> Result<Response<TagsResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let tags = request.tags.ok_or_else(|| missing("tags"))?;
        let (block_id, part) = block_of(request.part)?;
        let tenant = tenant_of(&tags.tenant)?;
        let texts = ["tags", &tags.scope, &tags.query];
        let options = self.inner.options(tenant.as_str(), &texts, context);
        let groups = self.inner.settings.max_condition_groups.of(&tenant);
        let job = move |blocks: &Blocks, meta: &BlockMeta, job: &Job| {
            BlockTags::compile(tags.clone(), groups)?.run(blocks, meta, &part, job)
        };
        let (answer, scope) = self.run_on_block(tenant.as_str(), block_id, options, job).await?;
        self.count("metadata", started, answer.inspected_bytes);
        Ok(response(answer, scope))
    }

    async fn tag_values_in_block(
        &self,
        request: Request<TagValuesInBlockRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let started = Instant::now();
        let (context, request) = QueryContext::split(request);
        let values = request.values.ok_or_else(|| missing("values"))?;
        let (block_id, part) = block_of(request.part)?;
        let tenant = tenant_of(&values.tenant)?;
        let texts = ["values", &values.tag, &values.query];
        let options = self.inner.options(tenant.as_str(), &texts, context);
        let groups = self.inner.settings.max_condition_groups.of(&tenant);
        let job = move |blocks: &Blocks, meta: &BlockMeta, job: &Job| {
            BlockTagValues::compile(values.clone(), groups)?.run(blocks, meta, &part, job)
        };
        let (answer, scope) = self.run_on_block(tenant.as_str(), block_id, options, job).await?;
        self.count("metadata", started, answer.inspected_bytes);
        Ok(response(answer, scope))
    }
}

/// An answer with what is to be known to keep it.
fn response<T>(answer: T, scope: Option<AnswerScope>) -> Response<T> {
    let mut response = Response::new(answer);
    let scope = scope.and_then(|scope| scope.to_string().parse().ok());
    if let Some(scope) = scope {
        response.metadata_mut().insert(ANSWER_SCOPE, scope);
    }
    response
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("job without {field}"))
}

/// Refuses a request of a name that is no tenant.
/// The tenant of a request, whose name is part of object keys.
pub(crate) fn tenant_of(name: &str) -> Result<TenantId, Status> {
    TenantId::parse(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn block_of(part: Option<BlockPart>) -> Result<(Uuid, BlockPart), Status> {
    let part = part.ok_or_else(|| missing("block"))?;
    Ok((parse_block_id(&part.block_id)?, part))
}

fn parse_block_id(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| Error::Invalid(format!("invalid block id {text}")))
}
