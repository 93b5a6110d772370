//! Recent data as the service of one ingester.

use std::sync::Arc;

use tactus_api::trace_job::max_part_bytes;
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, Holder, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, SearchRequest, SearchResponse, SoFar,
    TagValuesRequest, TagValuesResponse, TagsRequest, TagsResponse,
};
use tactus_ring::{ReadSet, Tolerance};
use tactus_rpc::QueryContext;
use tonic::{Code, Request, Response, Status};

use super::ask::{Call, Question};
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
    ) -> Question<R, T> {
        let timeout = self.parts.section.search.query_timeout.as_std();
        Question { op, request, call, timeout, context }
    }

    /// The ingesters that are to count, each by what it answered for. All of them are needed.
    ///
    /// Errors: one of them is gone; then [`Code::Aborted`], since others hold what it would have counted.
    pub(super) fn holders(&self, holders: &[Holder]) -> Result<ReadSet, Status> {
        let view = self.parts.ring.view();
        let find = |id: &str| {
            let instance = view.find(id).filter(|instance| instance.alive);
            instance.cloned().ok_or_else(|| gone(&format!("ingester {id} is gone")))
        };
        let instances = holders.iter().map(|holder| find(&holder.ingester_id));
        let mut instances = instances.collect::<Result<Vec<_>, _>>()?;
        instances.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        instances.dedup_by(|one, other| one.id == other.id);
        let tolerance = Tolerance::Instances(0);
        Ok(ReadSet { instances, tolerance, unhealthy: Vec::new(), missing: 0 })
    }
}

fn gone(text: &str) -> Status {
    Status::aborted(format!("{text}; ask for holdings again"))
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
        let question = Question {
            timeout: self.parts.section.trace_by_id.query_timeout.as_std(),
            ..self.question("traces", (context, request), call!(find_trace))
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
        let question = self.question("search", (context, request), call!(search));
        Ok(Response::new(merge::searches(self.ask(&set, question).await?, limit)))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let (set, max_bytes) = (self.read_set(&request.tenant), request.max_bytes);
        let question = self.question("metadata", (context, request), call!(tags));
        Ok(Response::new(merge::tags(self.ask(&set, question).await?, max_bytes)))
    }

    async fn tag_values(
        &self,
        request: Request<TagValuesRequest>,
    ) -> Result<Response<TagValuesResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let set = self.read_set(&request.tenant);
        let question = self.question("metadata", (context, request.clone()), call!(tag_values));
        Ok(Response::new(merge::tag_values(self.ask(&set, question).await?, &request)))
    }

    /// With holders: only those are asked, and all of them have to answer, since each counts what the others leave to it.
    /// One that does not is [`Code::Aborted`]: ask for holdings again.
    async fn metrics(
        &self,
        request: Request<MetricsRequest>,
    ) -> Result<Response<MetricsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        if request.holders.is_empty() {
            let set = self.read_set(&request.tenant);
            let question = self.question("metrics", (context, request), call!(metrics));
            return Ok(Response::new(merge::metrics(self.ask(&set, question).await?)));
        }
        let set = self.holders(&request.holders)?;
        let question = self.question("metrics", (context, request), call!(metrics));
        match self.ask(&set, question).await {
            Ok(answers) if answers.partial => Err(gone("an ingester did not answer")),
            Ok(answers) => Ok(Response::new(merge::metrics(answers))),
            Err(status) if status.code() == Code::Unavailable => Err(gone(status.message())),
            Err(status) => Err(status),
        }
    }

    async fn holdings(
        &self,
        request: Request<HoldingsRequest>,
    ) -> Result<Response<HoldingsResponse>, Status> {
        let (context, request) = parts(request, |request| &request.tenant)?;
        let set = self.read_set(&request.tenant);
        let question = self.question("metrics", (context, request), call!(holdings));
        Ok(Response::new(merge::holdings(self.ask(&set, question).await?)))
    }
}
