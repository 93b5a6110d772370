//! Spans that a Jaeger writes to its storage.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use tactus_jaeger::to_otlp::{OtlpWriter, decode_written_span};
use tactus_model::TenantId;
use tactus_proto::jaeger::storage::v1::{
    CapabilitiesRequest, CapabilitiesResponse, CloseWriterResponse, WriteSpanResponse,
    plugin_capabilities_server::PluginCapabilities,
};
use tactus_proto::otlp::ExportTraceServiceResponse;
use tactus_server::tenancy::Tenancy;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming};

use super::answering::{Answer, NO_WRITER, WriteSpans};

/// Spans of a stream that are written together: what is not written yet is lost if we fail.
const BATCH_SPANS: usize = 512;

/// And their bytes.
const BATCH_BYTES: usize = 1 << 20;

/// How long a span may wait for others: some clients keep a stream open for hours.
const BATCH_AGE: Duration = Duration::from_millis(200);

/// The writing services, and what there is of them.
pub(super) struct Writers {
    pub(super) tenancy: Tenancy,
    pub(super) write: Option<WriteSpans>,
}

impl Writers {
    /// Where spans go.
    fn write(&self) -> Result<&WriteSpans, Status> {
        self.write.as_ref().ok_or_else(|| Status::unimplemented(NO_WRITER))
    }

    /// The tenant of a write, and where spans go.
    fn begin<R>(&self, request: &Request<R>) -> Result<(TenantId, &WriteSpans), Status> {
        let write = self.write()?;
        let tenant = self.tenancy.write_tenant(request.metadata().as_ref());
        Ok((tenant.map_err(|error| error.grpc_status())?, write))
    }

    /// Stores what a Jaeger of the second generation writes, an `ExportTraceServiceRequest` as it came.
    pub(super) async fn export(
        self: Arc<Self>,
        request: Request<Bytes>,
    ) -> Answer<ExportTraceServiceResponse> {
        self.write()?;
        if request.get_ref().is_empty() {
            // No spans: success, whoever asks.
            return Ok(Response::new(ExportTraceServiceResponse::default()));
        }
        let (tenant, write) = self.begin(&request)?;
        write(tenant, request.into_inner()).await.map(Response::new)
    }

    /// Stores a span.
    pub(super) async fn write_span(
        self: Arc<Self>,
        request: Request<Bytes>,
    ) -> Answer<WriteSpanResponse> {
        // What cannot be read is refused whoever writes it.
        let span = decode_written_span(request.get_ref()).map_err(invalid)?;
        let (tenant, write) = self.begin(&request)?;
        let mut made = OtlpWriter::new(None, request.get_ref().len());
        if let Some(span) = span {
            made.push(span).map_err(invalid)?;
        }
        store(write, tenant, made.finish()).await?;
        Ok(Response::new(WriteSpanResponse {}))
    }

    /// Nothing is open that would have to be closed.
    pub(super) async fn close(self: Arc<Self>, _: Request<Bytes>) -> Answer<CloseWriterResponse> {
        Ok(Response::new(CloseWriterResponse {}))
    }

    /// Stores the spans of a stream, some together. One that cannot be read ends it; those before are stored.
    pub(super) async fn write_span_stream(
        self: Arc<Self>,
        request: Request<Streaming<Bytes>>,
    ) -> Answer<WriteSpanResponse> {
        let (tenant, write) = self.begin(&request)?;
        let mut requests = request.into_inner();
        loop {
            let (batch, end) = next_batch(&mut requests).await;
            store(write, tenant.clone(), batch).await?;
            if let Some(end) = end {
                return end.map(|()| Response::new(WriteSpanResponse {}));
            }
        }
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

/// The next spans of a stream as an OTLP export, and how the stream ended, if it did.
async fn next_batch(requests: &mut Streaming<Bytes>) -> (Bytes, Option<Result<(), Status>>) {
    let (mut made, mut spans, mut bytes) = (OtlpWriter::new(None, BATCH_BYTES), 0, 0);
    let mut since = Instant::now();
    let end = loop {
        if spans == BATCH_SPANS || bytes >= BATCH_BYTES {
            break None;
        }
        let next = match spans {
            0 => requests.next().await,
            _ => match timeout_at(since + BATCH_AGE, requests.next()).await {
                Ok(next) => next,
                Err(_) => break None,
            },
        };
        let span = match next {
            None => break Some(Ok(())),
            Some(Err(status)) => break Some(Err(status)),
            Some(Ok(request)) => match decode_written_span(&request) {
                Ok(None) => continue,
                Ok(Some(span)) => span,
                Err(error) => break Some(Err(invalid(error))),
            },
        };
        if spans == 0 {
            since = Instant::now();
        }
        (spans, bytes) = (spans + 1, bytes + span.encoded_len());
        if let Err(error) = made.push(span) {
            break Some(Err(invalid(error)));
        }
    };
    (made.finish(), end)
}

fn invalid(error: impl Display) -> Status {
    Status::invalid_argument(error.to_string())
}

async fn store(write: &WriteSpans, tenant: TenantId, request: Bytes) -> Result<(), Status> {
    if !request.is_empty() {
        write(tenant, request).await?;
    }
    Ok(())
}
