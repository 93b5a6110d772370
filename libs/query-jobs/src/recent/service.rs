//! Recent data as the service of one ingester.

use std::sync::Arc;

use tactus_api::trace_job::max_part_bytes;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, Holder, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, SearchRequest, SearchResponse, SoFar,
    TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_ring::ReadSet;
use tactus_rpc::QueryContext;
use tonic::{Request, Response, Status};

use super::ask::{Call, Question};
use super::once::HOLDINGS_TIMEOUT;
use super::silent::without;
use super::{RecentData, merge};
use crate::service::tenant_of;

/// A method of an ingester as a function.
macro_rules! call {
    ($method:ident) => {
        |ingester: Arc<dyn Ingester>, request| {
            Box::pin(async move { ingester.$method(request).await })
        }
    };
}

pub(super) use call;

impl RecentData {
    pub(super) fn question<R, T>(
        &self,
        op: &'static str,
        (context, request): (QueryContext, R),
        call: Call<R, T>,
        lacks_spans: fn(&T) -> bool,
    ) -> Question<R, T> {
        let timeout = self.parts.section.search.query_timeout.as_std();
        Question { op, request, call, lacks_spans, timeout, needs_all: false, context }
    }

    /// The ingesters that are to count, each by what it answered for. All of them are needed; the tolerance is how many of
    /// them `set`, those that may hold spans, could do without.
    ///
    /// Errors: one of them is gone; then [`tonic::Code::Aborted`], since others hold what it would have counted.
    pub(super) fn holders(&self, set: &ReadSet, holders: &[Holder]) -> Result<ReadSet, Status> {
        let view = self.parts.ring.view();
        let find = |id: &str| {
            let instance = view.find(id).filter(|instance| instance.alive);
            let gone = || Status::aborted(format!("ingester {id} is gone; ask for holdings again"));
            instance.cloned().ok_or_else(gone)
        };
        let instances = holders.iter().map(|holder| find(&holder.ingester_id));
        let mut instances = instances.collect::<Result<Vec<_>, _>>()?;
        instances.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        instances.dedup_by(|one, other| one.id == other.id);
        let is_asked = |id: &str| instances.iter().any(|it| &*it.id == id);
        let ids = set.instances.iter().map(|it| it.id.to_string());
        let tolerance = without(set, &ids.filter(|id| !is_asked(id)).collect()).tolerance;
        Ok(ReadSet { instances, tolerance, unhealthy: Vec::new(), missing: 0 })
    }
}

/// A request of a tenant, and of which query it is.
fn parts<R>(request: Request<R>, tenant: impl Fn(&R) -> &str) -> Result<(QueryContext, R), Status> {
    let (context, request) = (QueryContext::of(request.metadata()), request.into_inner());
    tenant_of(tenant(&request))?;
    Ok((context, request))
}

#[tonic::async_trait]
impl Ingester for RecentData {
    async fn push(&self, _: Request<PushRequest>) -> Result<Response<PushResponse>, Status> {
        Err(Status::unimplemented("a querier takes no spans"))
    }

    async fn find_trace(
        &self,
        request: Request<FindTraceRequest>,
    ) -> Result<Response<FindTraceResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let set = self.read_set(&request.tenant);
        let max_bytes = max_part_bytes(&request);
        let lacks_spans = |answer: &FindTraceResponse| answer.partial;
        let question = Question {
            timeout: self.parts.section.trace_by_id.query_timeout.as_std(),
            ..self.question("traces", (context, request), call!(find_trace), lacks_spans)
        };
        let answers = self.ask(&set, question).await?;
        Ok(Response::new(merge::traces(answers, max_bytes, &self.parts.memory).await?))
    }

    async fn search(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let (set, limit) = (self.read_set(&request.tenant), request.limit);
        if request.so_far() != SoFar::Asked
            && let Some(answers) = self.search_once(&set, context, &request).await?
        {
            return Ok(Response::new(merge::searches(answers, limit)));
        }
        let lacks_spans = |answer: &SearchResponse| answer.partial;
        let question = self.question("search", (context, request), call!(search), lacks_spans);
        Ok(Response::new(merge::searches(self.ask(&set, question).await?, limit)))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let (set, max_bytes) = (self.read_set(&request.tenant), request.max_bytes);
        let lacks_spans = |answer: &TagsResponse| answer.partial;
        let question = self.question("metadata", (context, request), call!(tags), lacks_spans);
        Ok(Response::new(merge::tags(self.ask(&set, question).await?, max_bytes)))
    }

    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let set = self.read_set(&request.tenant);
        let lacks_spans = |answer: &TagValuesResponse| answer.partial;
        let asked = (context, request.clone());
        let question = self.question("metadata", asked, call!(tag_values), lacks_spans);
        Ok(Response::new(merge::tag_values(self.ask(&set, question).await?, &request)))
    }

    /// With holders: only those are asked, and all of them have to answer, since each counts what the others leave to it.
    /// If one does not, the answer only names it. Errors: one is gone, [`tonic::Code::Aborted`]: ask for holdings again.
    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        if request.holders.is_empty() {
            let set = self.read_set(&request.tenant);
            let lacks_spans = |answer: &MetricsResponse| answer.partial;
            let question =
                self.question("metrics", (context, request), call!(metrics), lacks_spans);
            return Ok(Response::new(merge::metrics(self.ask(&set, question).await?)));
        }
        let set = self.holders(&self.read_set(&request.tenant), &request.holders)?;
        // What one of them lacks is in its holdings neither, which said so.
        let lacks_spans = |_: &MetricsResponse| false;
        let question = self.question("metrics", (context, request), call!(metrics), lacks_spans);
        let answers = self.ask_some(&set, Question { needs_all: true, ..question }).await?;
        if answers.partial {
            self.silent.note(&set, &answers.silent);
            return Ok(Response::new(MetricsResponse {
                silent_ingesters: answers.silent,
                partial: true,
                ..MetricsResponse::default()
            }));
        }
        Ok(Response::new(merge::metrics(answers)))
    }

    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let ids = request.without_ingesters.iter().cloned().collect();
        let set = without(&self.read_set(&request.tenant), &ids);
        let lacks_spans = |answer: &HoldingsResponse| answer.lacks_spans;
        let question = || {
            let asked = (context, request.clone());
            self.question("metrics", asked, call!(holdings), lacks_spans)
        };
        let others = self.silent.leave_out_of(set.clone());
        if others.instances.len() < set.instances.len() {
            // They are all needed, and one of them may hang.
            let mut first = question();
            first.timeout = first.timeout.min(HOLDINGS_TIMEOUT);
            if let Ok(answers) = self.ask_some(&others, first).await
                && !answers.partial
            {
                return Ok(Response::new(merge::holdings(answers)));
            }
        }
        // One that was silent may answer by now, and has what another that has died since had.
        Ok(Response::new(merge::holdings(self.ask(&set, question()).await?)))
    }
}
