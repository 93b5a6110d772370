//! The standard gRPC health service: the whole process serves, or it does not.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tactus_proto::grpc::health::v1::health_check_response::ServingStatus;
use tactus_proto::grpc::health::v1::health_server::{Health, HealthServer};
use tactus_proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Largest question, which contains only the name of a service: anyone may ask.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// The health service; `serving` holds whether the process takes requests.
///
/// Only the empty service name is known. `Watch` ends when the sender of `serving` is dropped.
pub fn health_service(serving: watch::Receiver<bool>) -> HealthServer<HealthService> {
    health_service_of(serving, &[])
}

/// As [`health_service`], and clients may also ask for these names.
pub fn health_service_of(
    serving: watch::Receiver<bool>,
    names: &'static [&'static str],
) -> HealthServer<HealthService> {
    HealthServer::new(HealthService { serving, names })
        .max_decoding_message_size(MAX_QUESTION_BYTES)
}

/// True until `shutdown`; then its sender is dropped, so that calls of `Watch` end and do not keep a port open.
pub fn serving_until(shutdown: CancellationToken) -> watch::Receiver<bool> {
    let (serving, is_serving) = watch::channel(true);
    tokio::spawn(async move {
        shutdown.cancelled().await;
        serving.send_replace(false);
    });
    is_serving
}

/// Answers from a watched flag.
#[derive(Debug, Clone)]
pub struct HealthService {
    serving: watch::Receiver<bool>,
    names: &'static [&'static str],
}

impl HealthService {
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.contains(&name)
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(answer(status(*self.serving.borrow()))))
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(&request.get_ref().service) {
            // The protocol wants this answer to stay open, in case the service appears.
            let unknown = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
            let open = stream::unfold(self.serving.clone(), |mut serving| async move {
                while serving.changed().await.is_ok() {}
                None
            });
            let open = futures_util::StreamExt::chain(unknown, open);
            return Ok(Response::new(Box::pin(open)));
        }
        let mut serving = self.serving.clone();
        serving.mark_changed();
        let updates = stream::unfold(serving, |mut serving| async move {
            serving.changed().await.ok()?;
            let now = status(*serving.borrow_and_update());
            Some((Ok(answer(now)), serving))
        });
        Ok(Response::new(Box::pin(updates)))
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
