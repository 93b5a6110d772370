//! Clients of ingesters in other processes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tactus_proto::tactus::v1::{
    FindTraceRequest, FindTraceResponse, HoldingsRequest, HoldingsResponse, MetricsRequest,
    MetricsResponse, PushRequest, PushResponse, SearchRequest, SearchResponse, TagValuesRequest,
    TagValuesResponse, TagsRequest, TagsResponse, ingester_client::IngesterClient,
    ingester_server::Ingester,
};
use tactus_telemetry::client_span;
use tokio::time::timeout;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::{
    channels::{Channels, Connection, IDLE, KEPT_ADDRESSES, instance_name},
    client_of,
    frame::{framed, message_of, take_frame},
    pushes::{MAX_STREAMED_BYTES, PushStream, Pushed},
};

/// The ingesters of a ring.
#[derive(Clone)]
pub struct Ingesters {
    channels: Channels,
    ring: String,
    call_timeout: Duration,
    /// By id.
    known: Arc<Mutex<HashMap<String, Known>>>,
}

/// An ingester, and when it was last used.
struct Known {
    ingester: Arc<RemoteIngester>,
    used: Instant,
}

tactus_telemetry::debug_of!(Ingesters { channels });

impl Ingesters {
    /// Ingesters of the ring with this key, over these channels. `call_timeout` applies to requests without a shorter timeout
    /// of their own.
    pub fn new(channels: Channels, ring: &str, call_timeout: Duration) -> Self {
        Self { channels, ring: ring.to_owned(), call_timeout, known: Arc::default() }
    }

    /// The ingester named `id`, at `host:port`. With an invalid address, calls return errors.
    pub fn at(&self, address: &str, id: &str) -> Arc<dyn Ingester> {
        let mut known = self.known.lock();
        if let Some(known) = known.get_mut(id).filter(|known| known.ingester.address == address) {
            known.used = Instant::now();
            return known.ingester.clone();
        }
        if known.len() >= KEPT_ADDRESSES {
            known.retain(|_, known| known.used.elapsed() < IDLE);
        }
        let connection = self.channels.to(address, &instance_name(&self.ring, id));
        let ingester = Arc::new(RemoteIngester {
            address: address.to_owned(),
            pushes: connection.clone().ok().map(PushStream::new),
            connection,
            call_timeout: self.call_timeout,
        });
        let new = Known { ingester: Arc::clone(&ingester), used: Instant::now() };
        known.insert(id.to_owned(), new);
        ingester
    }
}

/// An ingester of another process.
#[derive(Debug, Clone)]
pub(crate) struct RemoteIngester {
    address: String,
    connection: Result<Connection, crate::Error>,
    pushes: Option<Arc<PushStream>>,
    call_timeout: Duration,
}

/// Forwards a call, with the deadline of the request or else the general timeout.
macro_rules! forward {
    ($self:ident, $request:ident, $method:ident) => {
        forward!($self, $request, $method, client_of!(IngesterClient, $self.connection()?))
    };
    ($self:ident, $request:ident, $method:ident, $client:expr) => {{
        let mut client = $client;
        let mut request = $request;
        if !request.metadata().contains_key("grpc-timeout") {
            request.set_timeout($self.call_timeout);
        }
        let span = client_span!(stringify!($method), "server.address" = $self.address.as_str());
        let result = client.$method(request).instrument(span.clone()).await;
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }};
}

impl RemoteIngester {
    fn connection(&self) -> Result<&Connection, Status> {
        self.connection.as_ref().map_err(Status::from)
    }

    /// Pushes on the long-lived call. `None`: this push needs a call of its own.
    async fn push_in_stream(
        &self,
        request: &Request<PushRequest>,
        push: Bytes,
    ) -> Option<Result<Response<PushResponse>, Status>> {
        let stream = self.pushes.as_ref().filter(|_| push.len() <= MAX_STREAMED_BYTES)?;
        // A request with other metadata needs a call of its own.
        if !request.metadata().is_empty() {
            return None;
        }
        let span = client_span!("push", "server.address" = self.address.as_str());
        let pushed = timeout(self.call_timeout, stream.push(&push)).instrument(span.clone()).await;
        let result = match pushed {
            Ok(Pushed::NoStreams) => return None,
            Ok(Pushed::Answered(result)) => result.map(Response::new),
            Err(_) => Err(Status::deadline_exceeded("the ingester did not answer in time")),
        };
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        Some(result)
    }

    /// A push of [`Shared`](crate::Shared) is encoded once for all ingesters, unless it is to be compressed. It becomes
    /// a message of the long-lived call if it is small and the ingester supports such calls.
    async fn send_push(
        &self,
        request: Request<PushRequest>,
    ) -> Result<Response<PushResponse>, Status> {
        let connection = self.connection()?;
        if connection.encoding().is_some() {
            return forward!(self, request, push);
        }
        let (request, frame) = take_frame(request, connection.max_send_bytes())?;
        if let Some(result) = self.push_in_stream(&request, message_of(&frame)).await {
            return result;
        }
        let framed = framed(connection.channel(), frame);
        let client = IngesterClient::with_interceptor(framed, connection.clone())
            .max_decoding_message_size(connection.max_receive_bytes())
            .max_encoding_message_size(connection.max_send_bytes());
        forward!(self, request, push, client)
    }
}

macro_rules! remote {
    ($($method:ident($request:ident) -> $answer:ident $(by $own:ident)?;)*) => {
        #[async_trait]
        impl Ingester for RemoteIngester {
            $(async fn $method(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$answer>, Status> {
                remote!(@send self, request, $method $(, $own)?)
            })*
        }
    };
    (@send $self:ident, $request:ident, $method:ident) => { forward!($self, $request, $method) };
    (@send $self:ident, $request:ident, $method:ident, $own:ident) => { $self.$own($request).await };
}

remote! {
    push(PushRequest) -> PushResponse by send_push;
    find_trace(FindTraceRequest) -> FindTraceResponse;
    search(SearchRequest) -> SearchResponse;
    tags(TagsRequest) -> TagsResponse;
    tag_values(TagValuesRequest) -> TagValuesResponse;
    metrics(MetricsRequest) -> MetricsResponse;
    holdings(HoldingsRequest) -> HoldingsResponse;
}
