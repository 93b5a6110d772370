//! Spans that a Jaeger of the first generation writes to its storage.

use futures_util::StreamExt as _;
use prost::Message as _;
use tactus_jaeger::to_otlp::to_otlp;
use tactus_model::TenantId;
use tactus_proto::jaeger::api_v2::{Batch, Span};
use tactus_proto::jaeger::storage::v1::{
    CapabilitiesRequest, CapabilitiesResponse, CloseWriterRequest, CloseWriterResponse,
    WriteSpanRequest, WriteSpanResponse, plugin_capabilities_server::PluginCapabilities,
    span_writer_plugin_server::SpanWriterPlugin,
    streaming_span_writer_plugin_server::StreamingSpanWriterPlugin,
};
use tactus_server::tenancy::Tenancy;
use tonic::{Request, Response, Status, Streaming};

use super::{Answer, NO_WRITER, WriteSpans};

/// Spans of a stream that are written together: what is not written yet is lost if we fail.
const BATCH_SPANS: usize = 512;

/// And their bytes.
const BATCH_BYTES: usize = 1 << 20;

/// The writing services, and what there is of them.
pub(super) struct Writers {
    pub(super) tenancy: Tenancy,
    pub(super) write: Option<WriteSpans>,
}

impl Writers {
    /// The tenant of a write, and where spans go.
    fn begin<R>(&self, request: &Request<R>) -> Result<(TenantId, &WriteSpans), Status> {
        let write = self.write.as_ref().ok_or_else(|| Status::unimplemented(NO_WRITER))?;
        let tenant = self.tenancy.write_tenant(request.metadata().as_ref());
        Ok((tenant.map_err(|error| error.grpc_status())?, write))
    }
}

#[tonic::async_trait]
impl SpanWriterPlugin for Writers {
    async fn write_span(&self, request: Request<WriteSpanRequest>) -> Answer<WriteSpanResponse> {
        let (tenant, write) = self.begin(&request)?;
        let spans = request.into_inner().span.into_iter().collect();
        store(write, tenant, spans).await?;
        Ok(Response::new(WriteSpanResponse {}))
    }

    async fn close(&self, _: Request<CloseWriterRequest>) -> Answer<CloseWriterResponse> {
        Ok(Response::new(CloseWriterResponse {}))
    }
}

#[tonic::async_trait]
impl StreamingSpanWriterPlugin for Writers {
    async fn write_span_stream(
        &self,
        request: Request<Streaming<WriteSpanRequest>>,
    ) -> Answer<WriteSpanResponse> {
        let (tenant, write) = self.begin(&request)?;
        let mut requests = request.into_inner();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(request) = requests.next().await {
            let Some(span) = request?.span else { continue };
            bytes += span.encoded_len();
            batch.push(span);
            if batch.len() >= BATCH_SPANS || bytes >= BATCH_BYTES {
                store(write, tenant.clone(), std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        store(write, tenant, batch).await?;
        Ok(Response::new(WriteSpanResponse {}))
    }
}

#[tonic::async_trait]
impl PluginCapabilities for Writers {
    async fn capabilities(&self, _: Request<CapabilitiesRequest>) -> Answer<CapabilitiesResponse> {
        Ok(Response::new(CapabilitiesResponse {
            archive_span_reader: false,
            archive_span_writer: false,
            streaming_span_writer: self.write.is_some(),
        }))
    }
}

async fn store(write: &WriteSpans, tenant: TenantId, spans: Vec<Span>) -> Result<(), Status> {
    if spans.is_empty() {
        return Ok(());
    }
    let request = to_otlp(Batch { spans, process: None })
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    write(tenant, request.encode_to_vec().into()).await?;
    Ok(())
}
