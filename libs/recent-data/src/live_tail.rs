//! Live tails: streams of spans as they are pushed.
//!
//! A stored push is offered to the tails of its tenant: clones of its slices go into a bounded queue, and the push
//! never waits. Spans that do not fit are counted. If there is no tail, a push only reads a counter. Each tail has a
//! task that converts and filters the spans, and sends those that match.

mod run;

use std::{sync::Arc, time::Instant};

use tactus_api::live_tail::{SpanRate, compile_filter};
use tactus_model::{BuilderLimits, TenantId};
use tactus_proto::tactus::v1::{TailRequest, TailResponse, live_tail_server::LiveTail as Protocol};
use tactus_rpc::QueryContext;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{ingester::Ingester, open_tails::pushed::Filter};

#[tonic::async_trait]
impl Protocol for Ingester {
    type TailStream = BoxStream<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let context = QueryContext::of(request.metadata());
        let request = request.into_inner();
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let tenant = TenantId::parse(&request.tenant).map_err(|error| invalid(&error))?;
        let filter = request.query;
        // Regular expressions may take long to compile.
        let query = self.query(tenant.as_str(), context, move |_| compile_filter(&filter));
        let query = query.await?.map_err(|error| invalid(&error))?;
        let max_attribute_bytes = self.settings.limits.of(&tenant).max_attribute_bytes;
        let limits = BuilderLimits { max_attribute_bytes };
        let tail = self.live_tails.open(&tenant)?;
        let rate = SpanRate::new(request.spans_per_second, Instant::now());
        let (sender, mut responses) = mpsc::channel(1);
        let filter = Arc::new(Filter { tenant, query, limits });
        tokio::spawn(run::run(tail, self.weak(), filter, rate, sender));
        let responses = futures_util::stream::poll_fn(move |context| responses.poll_recv(context));
        Ok(Response::new(Box::pin(responses)))
    }
}
