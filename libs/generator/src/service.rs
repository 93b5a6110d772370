//! The metrics generator as a service: of our protocol, and of Tempo's for its distributors.

use std::sync::Arc;

use tactus_model::TenantId;
use tactus_proto::{
    tactus::v1::{
        GenerateRequest, GenerateResponse, PushRequest,
        metrics_generator_server::MetricsGenerator as Protocol,
    },
    tempopb::{
        PushResponse, PushSpansRequest, metrics_generator_server::MetricsGenerator as TempoProtocol,
    },
};
use tactus_server::tenancy::Tenancy;
use tonic::{Code, Request, Response, Status};

use crate::{convert::push_of, generator::Generator};

/// What is asked of a generator from outside.
#[derive(Debug, Clone)]
pub struct Service {
    /// Counts what is pushed.
    pub generator: Arc<Generator>,
    /// Of Tempo's protocol, which names the tenant in metadata.
    pub tenancy: Tenancy,
}

impl Service {
    async fn count(&self, tenant: TenantId, push: PushRequest, skip: bool) -> Result<(), Status> {
        self.generator.push(tenant, push, skip).await.map_err(|error| {
            let message = tactus_telemetry::error_text(&error);
            Status::new(error.code(), message)
        })
    }
}

#[tonic::async_trait]
impl Protocol for Service {
    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        let GenerateRequest { spans, skip } = request.into_inner();
        let push = spans.ok_or_else(|| Status::invalid_argument("no spans"))?;
        let tenant = TenantId::parse(&push.tenant)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.count(tenant, push, skip).await?;
        Ok(Response::new(GenerateResponse::default()))
    }
}

#[tonic::async_trait]
impl TempoProtocol for Service {
    async fn push_spans(
        &self,
        request: Request<PushSpansRequest>,
    ) -> Result<Response<PushResponse>, Status> {
        let (metadata, _, push) = request.into_parts();
        let tenant = self
            .tenancy
            .write_tenant(metadata.as_ref())
            .map_err(|error| Status::new(error.grpc_code(), error.to_string()))?;
        let spans = push_of(&tenant, &push.batches)
            .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
        self.count(tenant, spans, push.skip_metrics_generation).await?;
        Ok(Response::new(PushResponse::default()))
    }
}
