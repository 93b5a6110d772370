//! gRPC over the simulated network.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use tactus_proto::tactus::v1::frontend_client::FrontendClient;
use tactus_proto::tactus::v1::frontend_server::FrontendServer;
use tactus_query::WorkerStreams;
use tactus_query_jobs::{Dial, Inbound, Outbound};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::Status;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const PORT: u16 = 9095;

/// Serves queriers until the host crashes.
pub(crate) async fn serve(
    service: FrontendServer<WorkerStreams>,
) -> Result<(), tonic::transport::Error> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await;
    let listener = listener.expect("the port is free");
    let connections = stream::unfold(listener, async |listener| {
        let accepted = listener.accept().await.map(|(stream, _)| Accepted(stream));
        Some((accepted, listener))
    });
    Server::builder().add_service(service).serve_with_incoming(connections).await
}

/// Opens streams to frontends, each over a connection of its own.
pub(crate) fn dial() -> Dial {
    Arc::new(|address, messages| Box::pin(open(address, messages)))
}

async fn open(address: String, messages: Outbound) -> Result<Inbound, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| Status::internal(error.to_string()))?;
    let connector = tower::service_fn(|uri: http::Uri| async move {
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        Ok::<_, io::Error>(TokioIo::new(TcpStream::connect(address).await?))
    });
    let channel = endpoint
        .connect_timeout(Duration::from_secs(2))
        .connect_with_connector(connector)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(FrontendClient::new(channel).process(messages).await?.into_inner().boxed())
}

struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
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
