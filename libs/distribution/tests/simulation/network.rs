//! gRPC over the simulated network.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream;
use hyper_util::rt::TokioIo;
use tactus_proto::tactus::v1::{
    self as proto,
    ingester_client::IngesterClient,
    ingester_server::{Ingester, IngesterServer},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, server::Connected},
};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const PORT: u16 = 9095;

/// A connection as a tonic server takes it.
struct Connection(TcpStream);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Serves an ingester until its host crashes.
pub(crate) async fn serve(ingester: impl Ingester) -> turmoil::Result {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Connection(stream));
        Some((accepted, listener))
    });
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(1)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .add_service(IngesterServer::new(ingester))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}

/// The ingester on a host.
pub(crate) struct Remote(Channel);

impl Remote {
    /// Connects when it is first used, and again after an error.
    pub(crate) fn to(host: &str) -> Self {
        let host = host.to_owned();
        let endpoint =
            Endpoint::try_from(format!("http://{host}:{PORT}")).expect("a valid address");
        let connect = service_fn(move |_| {
            let host = host.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(TcpStream::connect((host, PORT)).await?)) }
        });
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(1))
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        Self(endpoint.connect_with_connector_lazy(connect))
    }
}

/// An ingester that has an async method `take` for pushes, and can do nothing else.
macro_rules! takes_pushes_only {
    ($ingester:ty) => {
        takes_pushes_only! {
            $ingester;
            find_trace: FindTraceRequest -> FindTraceResponse;
            search: SearchRequest -> SearchResponse;
            tags: TagsRequest -> TagsResponse;
            tag_values: TagValuesRequest -> TagValuesResponse;
            metrics: MetricsRequest -> MetricsResponse;
            holdings: HoldingsRequest -> HoldingsResponse;
        }
    };
    ($ingester:ty; $($method:ident: $request:ident -> $response:ident;)*) => {
        #[async_trait::async_trait]
        impl Ingester for $ingester {
            async fn push(
                &self,
                request: Request<proto::PushRequest>,
            ) -> Result<Response<proto::PushResponse>, Status> {
                self.take(request.into_inner()).await
            }

            $(async fn $method(
                &self,
                _: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                Err(Status::unimplemented("not part of the simulation"))
            })*
        }
    };
}
pub(crate) use takes_pushes_only;

takes_pushes_only!(Remote);

impl Remote {
    async fn take(
        &self,
        push: proto::PushRequest,
    ) -> Result<Response<proto::PushResponse>, Status> {
        IngesterClient::new(self.0.clone()).push(push).await
    }
}
