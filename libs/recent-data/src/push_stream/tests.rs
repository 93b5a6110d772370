use std::time::Duration;

use futures_util::future::join_all;
use tactus_model::TenantId;
use tactus_proto::tactus::v1::{
    FindTraceRequest, PushRequest, ingester_server::IngesterServer, pushes_server::PushesServer,
};
use tactus_rpc::{ChannelSettings, Channels, Compression, Ingesters, Shared as SharedPush};
use tactus_server::{
    addressee::{Addressee, refuse_others},
    grpc,
    listener::{BoundListener, ListenerSettings},
};
use tactus_storage::{Blocklist, Bucket, BucketSettings};
use tactus_telemetry::metrics::Registry;
use tactus_work::memory::Budget;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use super::*;
use crate::{
    BlockWritten, Settings,
    test_spans::{push_of, span},
};

/// An ingester behind a port, and a client of it.
struct Port {
    _folder: tempfile::TempDir,
    ingester: Arc<Ingester>,
    client: Arc<dyn Unary>,
    registry: Registry,
    listener: BoundListener,
    shutdown: CancellationToken,
}

async fn port(bodies: Arc<Bodies>) -> Port {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&BucketSettings::Local { path: folder.path().join("bucket") });
    let registry = Registry::new();
    let ingester = Ingester::open(
        Settings::new(folder.path().join("ingester")),
        bucket.unwrap(),
        BlockWritten::listed(Arc::new(Blocklist::new())),
        &registry,
    )
    .unwrap();
    let metrics = RequestMetrics::register(&registry);
    let streams = PushStreams::new(Arc::clone(&ingester), bodies, metrics.clone(), 2);
    let mut routes = RoutesBuilder::default();
    routes.add_service(PushesServer::new(streams));
    routes.add_service(IngesterServer::from_arc(Arc::clone(&ingester)));
    let addressee =
        Addressee { cluster: Some("prod".to_owned()), instances: vec!["ring/a".to_owned()] };
    let router = refuse_others(grpc::services(routes.routes()), Arc::new(addressee));
    let router = grpc::observed(router, metrics);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let shutdown = CancellationToken::new();
    // Longer than a test takes.
    let drain_timeout = Duration::from_secs(3600);
    let settings = ListenerSettings { drain_timeout, ..ListenerSettings::default() };
    let listener = grpc::serve_quietly(socket, settings, router, shutdown.clone()).unwrap();
    let client = client_of(&address, "a", "prod", Compression::None);
    Port { _folder: folder, ingester, client, registry, listener, shutdown }
}

/// A client of an ingester of a cluster.
fn client_of(address: &str, id: &str, cluster: &str, compression: Compression) -> Arc<dyn Unary> {
    let cluster_label = Some(cluster.parse().unwrap());
    let settings = ChannelSettings { cluster_label, compression, ..ChannelSettings::default() };
    Ingesters::new(Channels::new(settings), "ring", Duration::from_secs(60)).at(address, id)
}

impl Port {
    async fn push(&self, push: PushRequest) -> Result<Vec<String>, Status> {
        let response = self.client.push(SharedPush::new(push).request()).await?.into_inner();
        Ok(response.refusals.into_iter().map(|refusal| refusal.reason).collect())
    }

    fn spans(&self) -> usize {
        let tenant = self.ingester.tenant(&TenantId::parse("t1").unwrap());
        let heads = tenant.map(|tenant| tenant.heads()).unwrap_or_default();
        let batches = heads.iter().flat_map(|head| head.snapshot().batches);
        batches.map(|batch| batch.len()).sum()
    }

    fn calls(&self, route: &str, status: &str) -> bool {
        let labels = format!(r#"route="{route}",status_code="{status}""#);
        self.registry.encode().lines().any(|line| {
            line.starts_with("tempo_request_duration_seconds_count") && line.contains(&labels)
        })
    }
}

fn push(id: u16) -> PushRequest {
    push_of("t1", &[span(id, id, u64::from(id))])
}

const PUSHES: &str = "/tempopb.Pusher/PushBytesV2";

#[tokio::test]
async fn frames_are_stored_answered_and_counted_as_calls_of_their_own() {
    let port = port(Bodies::unbounded()).await;
    let answers = join_all((0..20).map(|id| port.push(push(id)))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(Vec::is_empty)), "{answers:?}");
    assert_eq!(port.spans(), 20);
    assert!(port.calls(PUSHES, "success") && !port.calls(PUSHES, "error"));
    let mut malformed = push(30);
    malformed.runs[0].scope_spans = vec![0xff; 7].into();
    let foreign = PushRequest { tenant: "..".to_owned(), ..push(31) };
    for wrong in [malformed, foreign] {
        assert_eq!(port.push(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert!(port.calls(PUSHES, "error"));
    assert_eq!(port.push(push(32)).await.unwrap(), Vec::<String>::new());
    assert_eq!(port.spans(), 21);
    // All of them were frames of one call, which has not ended.
    assert!(!port.calls("/tactus.v1.Pushes/Stream", ""));
}

#[tokio::test]
async fn pushes_and_queries_of_another_ingester_or_cluster_are_refused() {
    let port = port(Bodies::unbounded()).await;
    assert!(port.push(push(1)).await.is_ok());
    let address = port.listener.local_addr().to_string();
    // Only what is not compressed goes into calls that last.
    for compression in [Compression::None, Compression::Gzip] {
        for (id, cluster, text) in [("b", "prod", "instance"), ("a", "staging", "cluster_label")] {
            let client = client_of(&address, id, cluster, compression);
            let pushed = client.push(SharedPush::new(push(2)).request()).await.unwrap_err();
            let found =
                client.find_trace(Request::new(FindTraceRequest::default())).await.unwrap_err();
            for status in [pushed, found] {
                assert_eq!(status.code(), Code::Unavailable);
                assert!(status.message().contains(text), "{status}");
            }
        }
    }
    assert_eq!(port.spans(), 1);
}

#[tokio::test]
async fn frame_without_memory_is_refused_and_the_next_is_taken() {
    let budget = Budget::new(1_000);
    let port = port(Bodies::within(&budget)).await;
    let taken = budget.reserve(1_000);
    let refused = port.push(push(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("server.max_inflight_bytes"), "{refused}");
    drop(taken);
    assert!(port.push(push(2)).await.is_ok());
    assert_eq!((port.spans(), budget.used()), (1, 0));
}

#[tokio::test]
async fn port_that_closes_answers_what_was_read_and_waits_for_no_client() {
    let port = port(Bodies::unbounded()).await;
    assert!(port.push(push(1)).await.is_ok());
    let (many, ()) = tokio::join!(join_all((2..100).map(|id| port.push(push(id)))), async {
        tokio::task::yield_now().await;
        port.shutdown.cancel();
    });
    let stored = 1 + many.iter().filter(|answer| answer.is_ok()).count();
    let refused = many.into_iter().filter_map(Result::err);
    // What was not read was not stored, and whoever pushed it knows that.
    refused.for_each(|status| assert_eq!(status.code(), Code::Unavailable, "{status}"));
    assert_eq!(port.spans(), stored);
    port.listener.stopped().await;
}
