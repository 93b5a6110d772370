//! The ingester as a gRPC service.

use std::{collections::HashSet, time::Instant};

use tactus_api::{
    job::{JobError, MetricsJob, SearchJob, TagValuesJob, TagsJob, add_tags, tags_response},
    metrics, search,
    trace_job::TraceJob,
};
use tactus_model::{SpanBatch, TenantId, wire::MAX_DEPTH};
use tactus_proto::{
    tactus::v1::{
        FindTraceRequest, FindTraceResponse, Holder, HoldingsRequest, HoldingsResponse,
        JobExplanation, MetricsRequest, MetricsResponse, Phase, Pruned, PushRequest, PushResponse,
        Refusal, SearchRequest, SearchResponse, SoFar, TagValuesRequest, TagValuesResponse,
        TagsRequest, TagsResponse, ingester_server::Ingester as Protocol,
    },
    tempopb::SearchMetrics,
};
use tactus_rpc::QueryContext;
use tactus_storage::Uuid;
use tactus_telemetry::{error_text, log_limited};
use tactus_traceql::{
    eval::{TagCollector, TraceMatch, Window},
    metrics::MetricsError,
};
use tonic::{Request, Response, Status};

use crate::{
    head::Appended,
    ingester::Ingester,
    recent::RecentMatches,
    recent_metrics::{RecentError, stored::Stored},
    recent_view::RecentView,
    segment::SegmentError,
    share::{Share, kept_traces::kept_traces, search::Turns},
    so_far::Growing,
};

/// Why a segment was not searched.
const IN_A_BLOCK: &str = "in a block of the query";
/// Explains why only those traces were searched of which another ingester may lack spans.
const ELSEWHERE: &str = "at another ingester";
/// Why a segment was not searched.
const OUTSIDE: &str = "outside the time range";
const OLDER: &str = "older than the newest traces found";
/// What is shown of the key of an attribute.
const MOST_KEY_CHARACTERS: usize = 128;

#[tonic::async_trait]
impl Protocol for Ingester {
    async fn push(&self, request: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        let push = request.into_inner();
        let tenant = tenant_of(&push.tenant)?;
        let appended = self.store(push, tenant).await.map_err(|error| error.status())?;
        Ok(Response::new(PushResponse { refusals: refusals(&appended) }))
    }

    async fn find_trace(
        &self,
        request: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        let (context, find) = QueryContext::split(request);
        let tenant = tenant_of(&find.tenant)?;
        let stored = stored_blocks(&find.stored_block_ids)?;
        let state = self.tenant(&tenant);
        let query = self.query_view(tenant, context, move |view| {
            // Regular expressions may take long to compile.
            let job = TraceJob::compile(&find).map_err(|it| refused_job(&it))?;
            let view = view.besides_stored(&stored);
            // A trace may be in blocks while only this ingester knows of its refused spans.
            let refused_spans = state.map_or(0, |state| state.refused_spans(job.id));
            let is_large = job.is_part()
                || job.counts_spans(u64::MAX) && job.is_large(view.spans_of(job.id) as u64);
            let whole = if is_large { None } else { view.encoded_whole(&job) };
            let is_part = whole.is_none();
            let found = whole.unwrap_or_else(|| view.encoded_part(&job));
            // Columns take some bytes even if there is no span.
            let is_empty = found.bytes == 0;
            Ok::<_, Status>(FindTraceResponse {
                trace: found.message.into(),
                inspected_bytes: if is_empty { 0 } else { found.inspected_bytes as u64 },
                refused_spans,
                is_part,
                part_bytes: found.bytes,
                ..FindTraceResponse::default()
            })
        });
        let (answer, partial) = query.await?;
        Ok(Response::new(FindTraceResponse { partial, ..answer? }))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let stored = stored_blocks(&request.stored_block_ids)?;
        let boards = self.found_so_far.traces.clone();
        if request.so_far() == SoFar::Asked {
            let traces = boards.take(tenant, context.query);
            return Ok(Response::new(SearchResponse { traces, ..SearchResponse::default() }));
        }
        let turns = Turns::of(&request.holders, &self.settings.ingester_id)
            .map_err(|_| Status::invalid_argument("malformed ranges of origins"))?;
        let (started, explain) = (Instant::now(), request.explain);
        let whose = (tenant.clone(), context.query);
        // The answer is the same once the spans are in a block.
        let dedicated = self.settings.dedicated_columns.of(&tenant);
        let (found, partial) = self
            .query_view(tenant, context, move |view| {
                let board = boards.open(request.so_far(), whose, request.limit);
                let tell = |found: &TraceMatch| {
                    if let Some(board) = &board {
                        board.add(|| search::to_message(found.clone()));
                    }
                };
                let job =
                    SearchJob::compile(&request, &dedicated).map_err(|it| refused_job(&it))?;
                if turns.as_ref().is_some_and(|turns| !turns.is_there(&view.origins())) {
                    return Err(let_go());
                }
                let view = view.without_stored(&stored);
                let (query, bounds) = (&job.query, (job.window, job.options));
                let found = match turns.and_then(|turns| turns.traces(&view)) {
                    Some(traces) => view.search_traces(&traces, query, bounds, &tell),
                    None => view.search_recent(query, bounds, &tell),
                };
                found.map_err(|error| Status::invalid_argument(error.to_string()))
            })
            .await?;
        let found = found?;
        let explanations = explain.then(|| explain_search(&found, started)).into_iter().collect();
        let metrics = SearchMetrics {
            inspected_traces: found.inspected_traces,
            inspected_bytes: found.inspected_bytes,
            ..SearchMetrics::default()
        };
        let traces = found.traces.into_iter().map(search::to_message).collect();
        Ok(Response::new(SearchResponse { traces, metrics: Some(metrics), explanations, partial }))
    }

    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let share = Share::of(&request, &self.settings.ingester_id)
            .map_err(|_| Status::invalid_argument("malformed ranges of origins"))?;
        let slack = u64::try_from(self.settings.range_slack.as_nanos()).unwrap_or(u64::MAX);
        let stored = Stored::of(&request, slack)
            .map_err(|_| Status::invalid_argument("malformed times or spans of blocks"))?;
        let (started, explain) = (Instant::now(), request.explain);
        let (found, partial) = self
            .query_view(tenant, context, move |view| {
                let job = MetricsJob::compile(&request).map_err(|it| refused_job(&it))?;
                if share.is_none() && view.has_copies() {
                    log_limited!(
                        warn,
                        "spans have copies at other ingesters, but the query-frontend counts them as if they had none: \
                         set ingester.lifecycler.ring.replication_factor in its configuration, too"
                    );
                }
                let found = view.metrics_recent(&job, share.as_ref(), &stored);
                found.map_err(|error| match error {
                    RecentError::LetGo => let_go(),
                    RecentError::Query(error @ MetricsError::TooLarge { .. }) => {
                        Status::resource_exhausted(error.to_string())
                    }
                    RecentError::Query(error) => Status::invalid_argument(error.to_string()),
                })
            })
            .await?;
        let found = found?;
        let (spans, matched) = (found.inspected_spans, found.matched_spans);
        let explanations = match explain {
            true => vec![explanation(found.parts, spans, matched, started)],
            false => Vec::new(),
        };
        let ids = |blocks: Vec<Uuid>| blocks.iter().map(Uuid::to_string).collect();
        Ok(Response::new(MetricsResponse {
            series: found.series.into_iter().map(metrics::to_message).collect(),
            metrics: Some(SearchMetrics {
                inspected_bytes: found.inspected_bytes,
                inspected_spans: spans,
                ..SearchMetrics::default()
            }),
            counted_block_ids: ids(found.counted_blocks),
            released_block_ids: ids(found.released_blocks),
            explanations,
            partial,
            shared_first_nanos: found.shared.starts.0,
            shared_last_nanos: found.shared.starts.1,
            shared_traces: found.shared.into_messages(),
            silent_ingesters: Vec::new(),
        }))
    }

    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let ingester_id = self.settings.ingester_id.clone();
        let answer = self.query_view(tenant, context, move |view| {
            let held = view.origins();
            let kept = match request.origins_only || held.thinned.is_empty() {
                true => Some(Vec::new()),
                false => kept_traces(&view, &held.thinned),
            };
            (held, kept)
        });
        let ((held, kept), lacks_spans) = answer.await?;
        let partial = kept.is_none();
        let holder = Holder {
            ingester_id,
            complete: held.complete.bounds(),
            incomplete: held.incomplete.bounds(),
            thinned: held.thinned.bounds(),
            kept: kept.unwrap_or_default(),
        };
        Ok(Response::new(HoldingsResponse { holders: vec![holder], partial, lacks_spans }))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let boards = self.found_so_far.tags.clone();
        if request.so_far() == SoFar::Asked {
            let scopes = boards.take(tenant, context.query);
            let mut names = TagCollector::default();
            add_tags(&mut names, TagsResponse { scopes, ..TagsResponse::default() });
            return Ok(Response::new(tags_response(names)));
        }
        let groups = self.settings.max_condition_groups.of(&tenant);
        let window = Window::from_seconds(request.start.into(), request.end.into());
        let stored = stored_blocks(&request.stored_block_ids)?;
        let whose = (tenant.clone(), context.query);
        let answer = self.query_view(tenant, context, move |view| {
            let mut found = Growing::on(boards.open(request.so_far(), whose, 0));
            let view = view.without_stored(&stored);
            let mut job = TagsJob::compile(&request, groups).map_err(|it| refused_job(&it))?;
            let inspected = view.collect_recent(window, job.reads_whole_traces(), |batch| {
                job.visit(batch);
                found.look_at(|| job.so_far());
            });
            Ok::<_, Status>(job.finish(inspected))
        });
        let (answer, partial) = answer.await?;
        Ok(Response::new(TagsResponse { partial, ..answer? }))
    }

    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let (context, request) = QueryContext::split(request);
        let tenant = tenant_of(&request.tenant)?;
        let boards = self.found_so_far.values.clone();
        if request.so_far() == SoFar::Asked {
            let values = boards.take(tenant, context.query);
            return Ok(Response::new(TagValuesResponse { values, ..TagValuesResponse::default() }));
        }
        let groups = self.settings.max_condition_groups.of(&tenant);
        let window = Window::from_seconds(request.start.into(), request.end.into());
        let stored = stored_blocks(&request.stored_block_ids)?;
        let whose = (tenant.clone(), context.query);
        let answer = self.query_view(tenant, context, move |view| {
            let mut found = Growing::on(boards.open(request.so_far(), whose, request.max_values));
            let view = view.without_stored(&stored);
            let mut job = TagValuesJob::compile(&request, groups).map_err(|it| refused_job(&it))?;
            let inspected = if job.reads_nothing() {
                job.visit(&SpanBatch::default());
                0
            } else {
                view.collect_recent(window, job.reads_whole_traces(), |batch| {
                    job.visit(batch);
                    found.look_at(|| job.so_far());
                })
            };
            Ok::<_, Status>(job.finish(inspected))
        });
        let (answer, partial) = answer.await?;
        Ok(Response::new(TagValuesResponse { partial, ..answer? }))
    }
}

impl Ingester {
    /// Runs a query over a tenant's spans; see [`Self::query`]. True: spans are missing, because the disk cannot read them.
    pub(crate) async fn query_view<R: Send + 'static>(
        &self,
        tenant: TenantId,
        context: QueryContext,
        run: impl FnOnce(RecentView) -> R + Send + 'static,
    ) -> Result<(R, bool), Status> {
        let name = tenant.as_str().to_owned();
        let query = move |ingester: &Ingester| {
            // They may come back or go while the query begins.
            let lacked = ingester.unreadable.lacks(&tenant);
            let answer = ingester.read_recent(&tenant, run);
            answer.map(|answer| (answer, lacked || ingester.unreadable.lacks(&tenant)))
        };
        self.query(&name, context, query).await?.map_err(|error| unreadable(&error))
    }
}

/// The status if spans on disk cannot be read, because an answer without them would look complete.
fn unreadable(error: &SegmentError) -> Status {
    log_limited!(error, error = error_text(error), "cannot read a segment");
    Status::unavailable(error_text(error))
}

/// The status if other ingesters left spans to this one, but it has released them meanwhile. The caller must ask again.
fn let_go() -> Status {
    Status::aborted("spans were released meanwhile")
}

/// The ids of the blocks that a query reads, from its request.
fn stored_blocks(ids: &[u8]) -> Result<HashSet<Uuid>, Status> {
    let (ids, rest) = ids.as_chunks();
    match rest {
        [] => Ok(ids.iter().map(|&id| Uuid::from_bytes(id)).collect()),
        _ => Err(Status::invalid_argument("malformed ids of blocks")),
    }
}

/// Explains how recent data was searched. Object storage is not involved.
fn explain_search(found: &RecentMatches, started: Instant) -> JobExplanation {
    let sets = found.traces.iter().flat_map(|trace| &trace.span_sets);
    let matched = sets.map(|set| u64::from(set.matched)).sum();
    let pruned = [
        (IN_A_BLOCK, found.left_out),
        (ELSEWHERE, found.left_to_others),
        (OUTSIDE, found.outside),
        (OLDER, found.older),
    ];
    let left_out: u32 = pruned.iter().map(|(_, parts)| parts).sum();
    let parts = found.parts + left_out;
    let explanation = explanation(parts, found.inspected_spans, matched, started);
    let pruned = pruned.into_iter().filter(|(_, parts)| *parts > 0);
    let pruned = pruned.map(|(why, parts)| Pruned { reason: why.to_owned(), parts });
    JobExplanation { pruned: pruned.collect(), ..explanation }
}

fn explanation(parts: u32, spans: u64, matched: u64, started: Instant) -> JobExplanation {
    let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    JobExplanation {
        source: "recent".to_owned(),
        parts,
        phases: vec![Phase { name: "evaluate".to_owned(), nanos }],
        inspected_spans: spans,
        matched_spans: matched,
        ..JobExplanation::default()
    }
}

fn tenant_of(text: &str) -> Result<TenantId, Status> {
    TenantId::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn refused_job(error: &JobError) -> Status {
    match error {
        JobError::Unsupported(_) => Status::unimplemented(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// The messages for the client about spans that were left out. They begin like Tempo's log lines.
fn refusals(appended: &Appended) -> Vec<Refusal> {
    let refused = &appended.refused;
    let key = appended.too_deep_key.as_deref().unwrap_or_default();
    let key: String = String::from_utf8_lossy(key).chars().take(MOST_KEY_CHARACTERS).collect();
    let too_deep =
        format!("ATTRIBUTE_TOO_DEEP: attribute {key:?} has more than {MAX_DEPTH} levels of lists");
    let reasons = [
        ("trace_too_large", "TRACE_TOO_LARGE", refused.too_large),
        ("live_traces_exceeded", "LIVE_TRACES_EXCEEDED", refused.too_many_traces),
        ("attribute_too_deep", too_deep.as_str(), refused.too_deep),
        ("invalid_span_id", "INVALID_ID", refused.bad_ids),
    ];
    let left_out = reasons.into_iter().filter(|(_, _, spans)| *spans > 0);
    left_out
        .map(|(reason, message, spans)| Refusal {
            reason: reason.to_owned(),
            spans,
            message: message.to_owned(),
        })
        .collect()
}
