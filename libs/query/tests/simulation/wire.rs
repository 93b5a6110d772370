//! gRPC over the simulated network.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tactus_proto::tactus::v1::frontend_client::FrontendClient;
use tactus_proto::tactus::v1::frontend_server::FrontendServer;
use tactus_query::WorkerStreams;
use tactus_query_jobs::{Dial, Inbound, Outbound};
use tonic::Status;
use tonic::transport::Endpoint;
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const PORT: u16 = 9095;

/// Serves queriers until the host crashes.
pub(crate) async fn serve(service: FrontendServer<WorkerStreams>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let service = TowerToHyperService::new(service);
    let http = auto::Builder::new(TokioExecutor::new()).http2_only();
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection.into_owned());
    }
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
