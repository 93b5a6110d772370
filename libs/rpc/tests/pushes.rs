//! Pushes to ingesters over connections: in calls that last, and where there are none.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use tactus_proto::{
    CLUSTER_HEADER, INSTANCE_HEADER,
    tactus::v1::{
        self as proto, PushAnswer, PushFrame, PushRequest, PushResponse, Refusal,
        ingester_server::{Ingester, IngesterServer},
        pushes_server::{Pushes, PushesServer},
    },
};
use tactus_rpc::{ChannelSettings, Channels, Ingesters, MAX_STREAMED_BYTES, Shared};
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status, Streaming,
    codegen::BoxStream,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};

/// What an ingester does with the frames of a call.
#[derive(Clone, Copy)]
enum Behaviour {
    /// Answers each, every second one first.
    Answers,
    /// Reads them and never answers.
    Hangs,
    /// Reads so many, answers none, and ends with an error.
    Breaks(usize),
    /// Reads one, tells that it was the last, answers it and ends.
    Leaves,
}

/// An ingester whose answers name the tenant of the push as the reason of a refusal.
#[derive(Clone)]
struct Double {
    behaviour: Behaviour,
    calls: Arc<AtomicUsize>,
    unary: Arc<AtomicUsize>,
    meant_for: MeantFor,
}

/// Clusters and instances that calls said they are meant for.
type MeantFor = Arc<Mutex<Vec<[Option<String>; 2]>>>;

impl Double {
    fn note(&self, metadata: &MetadataMap) {
        let said = [CLUSTER_HEADER, INSTANCE_HEADER]
            .map(|name| metadata.get(name).map(|value| value.to_str().expect("text").to_owned()));
        self.meant_for.lock().expect("no test panicked").push(said);
    }
}

fn response(push: &PushRequest) -> PushResponse {
    let refusal = Refusal { reason: push.tenant.clone(), ..Refusal::default() };
    PushResponse { refusals: vec![refusal] }
}

fn answer(frame: PushFrame) -> PushAnswer {
    let response = frame.push.as_ref().map(response);
    PushAnswer { number: frame.number, response, ..PushAnswer::default() }
}

#[tonic::async_trait]
impl Pushes for Double {
    type StreamStream = BoxStream<PushAnswer>;

    async fn stream(
        &self,
        request: Request<Streaming<PushFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.note(request.metadata());
        let frames = request.into_inner();
        let answers: BoxStream<PushAnswer> = match self.behaviour {
            Behaviour::Answers => {
                let pairs = frames.map(|frame| frame.map(answer)).ready_chunks(2);
                Box::pin(pairs.flat_map(|pair| stream::iter(pair.into_iter().rev())))
            }
            Behaviour::Hangs => Box::pin(frames.filter_map(|_| async { None })),
            Behaviour::Breaks(after) => {
                let ends = || async { Some(Err(Status::internal("broken"))) };
                let read = frames.take(after).filter_map(|_| async { None });
                Box::pin(read.chain(stream::once(ends()).filter_map(|end| async { end })))
            }
            Behaviour::Leaves => Box::pin(frames.take(1).flat_map(|frame| {
                let number = frame.as_ref().map_or(0, |frame| frame.number);
                let last = PushAnswer { number, is_leaving: true, ..PushAnswer::default() };
                stream::iter([Ok(last), frame.map(answer)])
            })),
        };
        Ok(Response::new(answers))
    }
}

macro_rules! takes_pushes_only {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl Ingester for Double {
            async fn push(
                &self,
                request: Request<PushRequest>,
            ) -> Result<Response<PushResponse>, Status> {
                self.unary.fetch_add(1, Ordering::Relaxed);
                self.note(request.metadata());
                Ok(Response::new(response(request.get_ref())))
            }

            $(async fn $method(
                &self,
                _: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                Err(Status::unimplemented("not part of the test"))
            })*
        }
    };
}

takes_pushes_only! {
    find_trace: FindTraceRequest -> FindTraceResponse;
    search: SearchRequest -> SearchResponse;
    tags: TagsRequest -> TagsResponse;
    tag_values: TagValuesRequest -> TagValuesResponse;
    metrics: MetricsRequest -> MetricsResponse;
    holdings: HoldingsRequest -> HoldingsResponse;
}

/// A double behind a port of its own.
struct Port {
    address: String,
    calls: Arc<AtomicUsize>,
    unary: Arc<AtomicUsize>,
    meant_for: MeantFor,
    server: JoinHandle<()>,
}

impl Port {
    /// Without `behaviour` it knows no calls that last.
    async fn open(behaviour: Option<Behaviour>) -> Self {
        let (calls, unary, meant_for) = (Arc::default(), Arc::default(), MeantFor::default());
        let double = Double {
            behaviour: behaviour.unwrap_or(Behaviour::Hangs),
            calls: Arc::clone(&calls),
            unary: Arc::clone(&unary),
            meant_for: Arc::clone(&meant_for),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket").to_string();
        let mut server = Server::builder()
            .add_service(IngesterServer::new(double.clone()).max_decoding_message_size(8 << 20));
        if behaviour.is_some() {
            server = server.add_service(PushesServer::new(double));
        }
        let server = tokio::spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("a server");
        });
        Self { address, calls, unary, meant_for, server }
    }

    /// Calls that last, and others.
    fn calls(&self) -> (usize, usize) {
        (self.calls.load(Ordering::Relaxed), self.unary.load(Ordering::Relaxed))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn ingesters(timeout: Duration) -> Ingesters {
    Ingesters::new(Channels::new(ChannelSettings::default()), "ring", timeout)
}

/// Pushes as a tenant; what the answer names.
async fn push(ingester: &dyn Ingester, tenant: &str) -> Result<String, Code> {
    let push = PushRequest { tenant: tenant.to_owned(), ..PushRequest::default() };
    let result = ingester.push(Shared::new(push).request()).await;
    let response = result.map_err(|status| status.code())?.into_inner();
    Ok(response.refusals[0].reason.clone())
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn pushes_share_a_call_and_each_gets_its_answer() {
    let port = Port::open(Some(Behaviour::Answers)).await;
    let ingesters = ingesters(LONG);
    for _ in 0..2 {
        let ingester = ingesters.at(&port.address, "a");
        let tenants: Vec<_> = (0..50).map(|n| n.to_string()).collect();
        let answers = join_all(tenants.iter().map(|tenant| push(&*ingester, tenant))).await;
        let expected: Vec<_> = tenants.into_iter().map(Ok).collect();
        assert_eq!(answers, expected);
    }
    assert_eq!(port.calls(), (1, 0));
}

#[tokio::test]
async fn ingester_without_such_calls_gets_calls_of_one_push() {
    let port = Port::open(None).await;
    let ingester = ingesters(LONG).at(&port.address, "a");
    let answers = join_all(["a", "b", "c"].map(|tenant| push(&*ingester, tenant))).await;
    assert_eq!(answers, ["a", "b", "c"].map(|tenant| Ok(tenant.to_owned())));
    assert_eq!(port.calls(), (0, 3));
}

#[tokio::test]
async fn large_push_has_a_call_of_its_own() {
    let port = Port::open(Some(Behaviour::Hangs)).await;
    let ingester = ingesters(LONG).at(&port.address, "a");
    assert!(ingester.push(Shared::new(large()).request()).await.is_ok());
    assert_eq!(port.calls(), (0, 1));
}

fn large() -> PushRequest {
    PushRequest {
        resources: vec![vec![7; MAX_STREAMED_BYTES + 1].into()],
        ..PushRequest::default()
    }
}

#[tokio::test]
async fn calls_say_which_cluster_and_instance_they_are_meant_for() {
    let port = Port::open(Some(Behaviour::Answers)).await;
    let said = || std::mem::take(&mut *port.meant_for.lock().unwrap());
    let ingester = ingesters(LONG).at(&port.address, "a");
    push(&*ingester, "t").await.unwrap();
    assert_eq!(said(), [[None, Some("ring/a".to_owned())]]);
    for label in ["prod", ""] {
        let cluster_label = Some(label.parse().unwrap());
        let settings = ChannelSettings { cluster_label, ..ChannelSettings::default() };
        let ingesters = Ingesters::new(Channels::new(settings), "ring", LONG);
        // The two have one address, and a connection, and calls of their own.
        for id in ["a", "b"] {
            let ingester = ingesters.at(&port.address, id);
            push(&*ingester, "t").await.unwrap();
            push(&*ingester, "t").await.unwrap();
            ingester.push(Shared::new(large()).request()).await.unwrap();
            let expected = [Some(label.to_owned()), Some(format!("ring/{id}"))];
            assert_eq!(said(), [expected.clone(), expected]);
        }
    }
}

#[tokio::test]
async fn ingester_that_has_moved_is_called_at_its_new_address() {
    let former = Port::open(Some(Behaviour::Answers)).await;
    let now = Port::open(Some(Behaviour::Answers)).await;
    let ingesters = ingesters(LONG);
    for port in [&former, &now] {
        push(&*ingesters.at(&port.address, "a"), "t").await.unwrap();
    }
    assert_eq!((former.calls(), now.calls()), ((1, 0), (1, 0)));
}

#[tokio::test]
async fn broken_call_fails_what_it_has_and_the_next_push_opens_another() {
    let port = Port::open(Some(Behaviour::Breaks(3))).await;
    let ingester = ingesters(LONG).at(&port.address, "a");
    for calls in 1..3 {
        let answers = join_all(["a", "b", "c"].map(|tenant| push(&*ingester, tenant))).await;
        assert_eq!(answers, [Err(Code::Internal), Err(Code::Internal), Err(Code::Internal)]);
        assert_eq!(port.calls(), (calls, 0));
    }
}

#[tokio::test]
async fn push_fails_with_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.read_exact(&mut [0; 100]).await.unwrap();
        }
    });
    let ingester = ingesters(LONG).at(&address, "a");
    for _ in 0..2 {
        assert!(push(&*ingester, "a").await.is_err());
    }
    server.await.unwrap();
    assert_eq!(push(&*ingester, "a").await, Err(Code::Unavailable));
}

#[tokio::test]
async fn slow_ingester_delays_no_other() {
    let (slow, quick) =
        (Port::open(Some(Behaviour::Hangs)).await, Port::open(Some(Behaviour::Answers)).await);
    let ingesters = ingesters(LONG);
    let (slow, quick) = (ingesters.at(&slow.address, "a"), ingesters.at(&quick.address, "b"));
    let hanging = tokio::spawn(async move { push(&*slow, "hangs").await });
    for _ in 0..100 {
        assert_eq!(push(&*quick, "a").await, Ok("a".to_owned()));
    }
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn push_without_an_answer_ends_in_time_and_costs_no_other() {
    let port = Port::open(Some(Behaviour::Hangs)).await;
    let ingester = ingesters(Duration::from_millis(50)).at(&port.address, "a");
    let answers = join_all(["a", "b"].map(|tenant| push(&*ingester, tenant))).await;
    assert_eq!(answers, [Err(Code::DeadlineExceeded), Err(Code::DeadlineExceeded)]);
    assert_eq!(port.calls(), (1, 0));
}

#[tokio::test]
async fn push_that_a_leaving_server_did_not_read_goes_into_the_next_call() {
    let port = Port::open(Some(Behaviour::Leaves)).await;
    let ingester = ingesters(LONG).at(&port.address, "a");
    let answers = join_all(["a", "b", "c"].map(|tenant| push(&*ingester, tenant))).await;
    assert_eq!(answers, ["a", "b", "c"].map(|tenant| Ok(tenant.to_owned())));
    assert_eq!(port.calls(), (3, 0));
    // A push that nobody reads is not tried for ever.
    let tenants = ["a", "b", "c", "d"];
    let answers = join_all(tenants.map(|tenant| push(&*ingester, tenant))).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Err(Code::Unavailable)).count(), 1);
}
