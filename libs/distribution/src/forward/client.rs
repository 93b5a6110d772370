//! Sends requests to OTLP endpoints, as the bytes that were received.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tactus_proto::codec::RawCalls;
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_receivers::otlp_grpc::EXPORT_PATH;
use tactus_rpc::{Channels, Error};
use tactus_server::tenancy::TENANT_HEADER;
use tonic::{Request, Status};

/// Of what an endpoint says of spans that it rejects.
const MAX_REASON_CHARACTERS: usize = 256;

/// Sends to all endpoints of a forwarder.
#[derive(Debug)]
pub(super) struct Client {
    channels: Channels,
    endpoints: Vec<String>,
    timeout: Duration,
    with_tenants: bool,
}

impl Client {
    /// Errors: an endpoint that is not `host:port`.
    pub(super) fn new(
        channels: Channels,
        endpoints: &[String],
        timeout: Duration,
        with_tenants: bool,
    ) -> Result<Self, Error> {
        for endpoint in endpoints {
            if endpoint.contains("//") || !endpoint.contains(':') {
                return Err(Error::Address(endpoint.clone()));
            }
            channels.at(endpoint)?;
        }
        Ok(Self { channels, endpoints: endpoints.to_vec(), timeout, with_tenants })
    }

    /// Sends a request to every endpoint, even if one fails. Returns the first error.
    pub(super) async fn export(&self, tenant: &str, request: &Bytes) -> Result<(), Status> {
        let mut result = Ok(());
        for endpoint in &self.endpoints {
            let call = tokio::time::timeout(self.timeout, self.call(endpoint, tenant, request));
            let sent = call.await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
            result = result.and(sent.map_err(|status| {
                Status::new(status.code(), format!("{endpoint}: {}", status.message()))
            }));
        }
        result
    }

    async fn call(&self, endpoint: &str, tenant: &str, request: &Bytes) -> Result<(), Status> {
        let connection = self.channels.at(endpoint).map_err(|error| Status::from(&error))?;
        let mut grpc = tonic::client::Grpc::new(connection.channel());
        grpc.ready().await.map_err(|error| {
            Status::unavailable(format!("no connection: {}", tactus_telemetry::error_text(&error)))
        })?;
        let mut request = Request::new(request.clone());
        if self.with_tenants {
            let tenant = tenant.parse().map_err(|_| Status::internal("tenant is no header"))?;
            request.metadata_mut().insert(TENANT_HEADER, tenant);
        }
        let codec = RawCalls::<ExportTraceServiceResponse>::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT_PATH), codec).await?;
        match answer.into_inner().partial_success {
            Some(partial) if partial.rejected_spans > 0 => {
                let (spans, why) = (partial.rejected_spans, partial.error_message);
                let why: String = why.chars().take(MAX_REASON_CHARACTERS).collect();
                Err(Status::resource_exhausted(format!("{spans} spans are rejected: {why}")))
            }
            _ => Ok(()),
        }
    }
}
