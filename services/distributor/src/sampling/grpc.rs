//! Sampling over gRPC.

use std::sync::Arc;

use axum::Router;
use tactus_proto::jaeger::api_v2::{
    SamplingStrategyParameters, SamplingStrategyResponse,
    sampling_manager_server::{SamplingManager, SamplingManagerServer},
};
use tactus_server::listener::ConnectionInfo;
use tonic::{Request, Response, Status, codec::CompressionEncoding, service::RoutesBuilder};

use super::Answers;

/// A request is the name of a service.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// The service.
#[derive(Debug)]
pub struct Manager(Arc<Answers>);

/// `jaeger.api_v2.SamplingManager`.
pub fn sampling_service(answers: Arc<Answers>) -> SamplingManagerServer<Manager> {
    SamplingManagerServer::new(Manager(answers))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

/// The service as a router.
pub(super) fn router(answers: Arc<Answers>) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(sampling_service(answers));
    routes.routes().prepare().into_axum_router()
}

#[tonic::async_trait]
impl SamplingManager for Manager {
    async fn get_sampling_strategy(
        &self,
        request: Request<SamplingStrategyParameters>,
    ) -> Result<Response<SamplingStrategyResponse>, Status> {
        let (metadata, extensions, parameters) = request.into_parts();
        let connection = extensions.get::<ConnectionInfo>();
        let headers = metadata.into_headers();
        let found = self.0.strategy(&headers, connection, &parameters.service_name).await;
        let strategy = found.map_err(|error| error.grpc_status())?;
        Ok(Response::new((*strategy).clone()))
    }
}
