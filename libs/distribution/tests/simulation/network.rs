//! gRPC over the simulated network.

use std::{io, net::Ipv4Addr, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tactus_proto::tactus::v1::{
    self as proto,
    ingester_client::IngesterClient,
    ingester_server::{Ingester, IngesterServer},
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

pub(crate) const PORT: u16 = 9095;

/// Serves an ingester until its host crashes.
pub(crate) async fn serve(ingester: impl Ingester) -> turmoil::Result {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let service = TowerToHyperService::new(IngesterServer::new(ingester));
    let mut http = auto::Builder::new(TokioExecutor::new()).http2_only();
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2));
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection.into_owned());
    }
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
