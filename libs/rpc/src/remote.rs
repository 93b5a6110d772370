//! Clients of metrics generators and live tails in other processes.

use std::sync::Arc;

use async_trait::async_trait;
use tactus_proto::{
    DynLiveTail,
    tactus::v1::{
        GenerateRequest, GenerateResponse, TailRequest, TailResponse,
        live_tail_client::LiveTailClient, live_tail_server::LiveTail,
        metrics_generator_client::MetricsGeneratorClient,
        metrics_generator_server::MetricsGenerator,
    },
};
use tonic::{Request, Response, Status, codegen::BoxStream};

use crate::{
    channels::{Channels, Connection},
    client_of,
};

/// The metrics generator at `host:port`, by its [`instance_name`](crate::instance_name). Callers set deadlines. If the
/// address is invalid, calls return errors.
pub fn metrics_generator_at(
    channels: &Channels,
    address: &str,
    instance: &str,
) -> Arc<dyn MetricsGenerator> {
    Arc::new(Remote(channels.to(address, instance)))
}

/// The live tail of the ingester at `host:port`, by its [`instance_name`](crate::instance_name). Its streams have no
/// deadline. If the address is invalid, calls return errors.
pub fn live_tail_at(channels: &Channels, address: &str, instance: &str) -> Arc<DynLiveTail> {
    Arc::new(Remote(channels.to(address, instance)))
}

/// A process with such services.
#[derive(Debug)]
struct Remote(Result<Connection, crate::Error>);

#[async_trait]
impl MetricsGenerator for Remote {
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let connection = self.0.as_ref().map_err(Status::from)?;
        client_of!(MetricsGeneratorClient, connection).generate(request).await
    }
}

#[async_trait]
impl LiveTail for Remote {
    type TailStream = BoxStream<TailResponse>;

    async fn tail(
        &self,
        request: Request<TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let connection = self.0.as_ref().map_err(Status::from)?;
        let stream = client_of!(LiveTailClient, connection).tail(request).await?.into_inner();
        Ok(Response::new(Box::pin(stream)))
    }
}
