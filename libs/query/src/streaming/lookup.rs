//! `tempopb.Querier`: a whole trace in one message, for programs that ask a process of Tempo as its queriers do.

use prost::Message as _;
use tactus_api::request::{TraceQuery, trace_params};
use tactus_api::trace::WhenTooLarge;
use tactus_api::{Error, Result};
use tactus_model::TraceId;
use tactus_proto::tempopb::querier_server::Querier;
use tactus_proto::tempopb::{TraceByIdRequest, TraceByIdResponse};
use tonic::{Request, Response, Status};

use super::service::Streaming;
use crate::frontend::within_time;
use crate::metrics::TRACES;
use crate::offload::offload;
use crate::progress::outlet::status;
use crate::trace_by_id::{Limited, malformed};

/// A trace as messages takes at most about this many times its bytes.
const MESSAGE_EXPANSION: u64 = 7;

#[tonic::async_trait]
impl Querier for Streaming {
    async fn find_trace_by_id(
        &self,
        request: Request<TraceByIdRequest>,
    ) -> std::result::Result<Response<TraceByIdResponse>, Status> {
        let call = self.call(request)?;
        let id = trace_id(&call.request.trace_id).map_err(|error| status(&error))?;
        let path = format!("/api/v2/traces/{}", id.to_hex());
        let query =
            call.parse(TRACES, &path, Ok(trace_params(&call.request)), TraceQuery::parse).await?;
        let when_too_large = match call.request.allow_partial_trace {
            true => WhenTooLarge::Cut,
            false => WhenTooLarge::Refuse,
        };
        let answer = async {
            let (frontend, tenants) = (&call.frontend, &call.tenants);
            let found = frontend.find_limited(tenants, id, query, when_too_large, false).await?;
            let Limited::Whole(found) = found else { return Err(Error::TooManyBytes) };
            let bytes = found.trace.bytes() as u64 * MESSAGE_EXPANSION;
            let _held = found.memory.and(&frontend.memory, bytes).await?;
            let (trace, facts) = (found.trace, found.facts);
            let message = offload(trace.takes_long(), move || {
                let message = trace.with_valid_text().to_protobuf_v2(&facts);
                TraceByIdResponse::decode(message.as_slice()).map_err(malformed)
            });
            message.await?
        };
        let answer = within_time(call.patience, Box::pin(answer)).await;
        answer.map(Response::new).map_err(|error: Error| status(&error))
    }
}

fn trace_id(bytes: &[u8]) -> Result<TraceId> {
    match bytes.len() {
        1..=16 => Ok(TraceId::from_slice(bytes)),
        length => Err(Error::Invalid(format!("traceID has {length} bytes instead of 1 to 16"))),
    }
}
