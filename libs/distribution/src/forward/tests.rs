use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use prost::Message;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tactus_config::{
    GoDuration,
    sections::{
        distributor::{ForwarderConditions, ForwarderFilter, ForwarderOtlp, ForwarderTls},
        overrides::Limits,
    },
};
use tactus_proto::otlp::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    ResourceSpans, ScopeSpans, Span,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tactus_server::{grpc, listener, listener::ListenerSettings, observe::RequestMetrics};
use tactus_tls::{ServerTls, ServerTlsSettings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, service::RoutesBuilder};

use super::*;

/// A collector that records, and answers as told.
#[derive(Default)]
struct Collector {
    taken: Mutex<Vec<(Option<String>, ExportTraceServiceRequest)>>,
    answers: Mutex<Option<Code>>,
    /// Spans of each request that it says it rejects.
    rejects: Mutex<i64>,
    changed: Notify,
    /// While it is set, nothing is answered.
    hangs: Mutex<Option<Arc<Notify>>>,
    /// Requests of this tenant are never answered.
    ignores: Mutex<Option<String>>,
}

#[async_trait::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hangs = self.hangs.lock().clone();
        if let Some(until) = hangs {
            until.notified().await;
        }
        let rejected_spans = *self.rejects.lock();
        let tenant = request.metadata().get("x-scope-orgid");
        let tenant = tenant.map(|tenant| tenant.to_str().unwrap().to_owned());
        let is_ignored = tenant.is_some() && tenant == *self.ignores.lock();
        if is_ignored {
            std::future::pending::<()>().await;
        }
        self.taken.lock().push((tenant, request.into_inner()));
        self.changed.notify_waiters();
        match *self.answers.lock() {
            None => {
                let partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "quota".into(),
                });
                Ok(Response::new(ExportTraceServiceResponse { partial_success }))
            }
            Some(code) => Err(Status::new(code, "no")),
        }
    }
}

impl Collector {
    async fn wait_for(&self, requests: usize) {
        loop {
            let changed = self.changed.notified();
            if self.taken.lock().len() >= requests {
                return;
            }
            changed.await;
        }
    }

    fn names(&self) -> Vec<Vec<String>> {
        let names = |request: &ExportTraceServiceRequest| {
            let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
            let spans = scopes.flat_map(|it| &it.spans);
            spans.map(|span| String::from_utf8(span.name.to_vec()).unwrap()).collect()
        };
        self.taken.lock().iter().map(|(_, request)| names(request)).collect()
    }
}

async fn serve(collector: &Arc<Collector>, tls: Option<Arc<ServerTls>>) -> SocketAddr {
    let mut routes = RoutesBuilder::default();
    routes.add_service(TraceServiceServer::from_arc(Arc::clone(collector)));
    let metrics = RequestMetrics::register(&Registry::new());
    let router = grpc::router(routes.routes(), metrics);
    let socket = listener::bind("127.0.0.1:0").await.unwrap();
    let settings = ListenerSettings { tls, ..ListenerSettings::default() };
    let bound = grpc::serve_grpc(socket, settings, router, CancellationToken::new()).unwrap();
    bound.local_addr()
}

fn section(address: SocketAddr) -> ForwarderSection {
    ForwarderSection {
        name: "f".to_owned(),
        backend: "otlpgrpc".to_owned(),
        otlpgrpc: ForwarderOtlp {
            endpoints: vec![format!("localhost:{}", address.port())],
            tls: ForwarderTls { insecure: true, cert_file: String::new() },
        },
        ..ForwarderSection::default()
    }
}

fn request(names: &[&str]) -> Bytes {
    let span = |name: &&str| Span {
        trace_id: vec![1; 16].into(),
        span_id: if *name == "bad" { Bytes::new() } else { vec![2; 8].into() },
        name: Bytes::copy_from_slice(name.as_bytes()),
        ..Span::default()
    };
    let spans = names.iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

struct Rig {
    forwarders: Forwarders,
    registry: Registry,
    tenant: TenantId,
}

impl Rig {
    fn start(section: ForwarderSection) -> Self {
        Self::start_for(&["f"], section)
    }

    /// For a tenant that lists these forwarders.
    fn start_for(listed: &[&str], section: ForwarderSection) -> Self {
        let registry = Registry::new();
        let forwarders = listed.iter().map(|name| (*name).to_owned()).collect();
        let limits = Arc::new(Limits { forwarders, ..Limits::default() });
        let limits_of: LimitsOf = Arc::new(move |_| Arc::clone(&limits));
        let forwarders = Forwarders::start(&[section], limits_of, true, &registry).unwrap();
        Self { forwarders, registry, tenant: TenantId::parse("a").unwrap() }
    }

    fn offer(&self, names: &[&str]) {
        self.forwarders.offer(&self.tenant, &request(names), names.contains(&"bad"));
    }

    fn offer_of(&self, tenant: &str, requests: usize) {
        let tenant = TenantId::parse(tenant).unwrap();
        (0..requests).for_each(|_| self.forwarders.offer(&tenant, &request(&["x"]), false));
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.registry.encode();
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}

#[tokio::test]
async fn stored_spans_are_sent_on_with_their_tenant() {
    let collector = Arc::new(Collector::default());
    let rig = Rig::start(section(serve(&collector, None).await));
    rig.offer(&["x", "y"]);
    rig.offer(&["bad", "z"]);
    rig.offer(&["bad"]);
    collector.wait_for(2).await;
    rig.forwarders.stop().await;
    let mut names = collector.names();
    names.sort();
    assert_eq!(names, [vec!["x", "y"], vec!["z"]]);
    assert!(collector.taken.lock().iter().all(|(tenant, _)| tenant.as_deref() == Some("a")));
    let labels = "{name=\"f\",tenant=\"a\"}";
    assert_eq!(rig.metric(&format!("tempo_distributor_queue_pushes_total{labels}")), 3.0);
    assert_eq!(rig.metric(&format!("tempo_distributor_queue_length{labels}")), 0.0);
    assert_eq!(rig.metric("tempo_distributor_forwarder_pushes_total{tenant=\"a\"}"), 2.0);
}

#[tokio::test]
async fn forwarder_that_a_tenant_lists_twice_is_sent_each_request_once() {
    let collector = Arc::new(Collector::default());
    let section = section(serve(&collector, None).await);
    let rig = Rig::start_for(&["f", "unknown", "f"], section);
    rig.offer(&["x"]);
    collector.wait_for(1).await;
    rig.forwarders.stop().await;
    assert_eq!(collector.names(), [vec!["x"]]);
}

#[tokio::test]
async fn spans_that_match_a_filter_are_left_out() {
    let collector = Arc::new(Collector::default());
    let mut section = section(serve(&collector, None).await);
    let span = vec!["{ name = \"/healthz\" }".to_owned(), "{ name = \"/ready\" }".to_owned()];
    let traces = ForwarderConditions { span, ..ForwarderConditions::default() };
    section.filter = ForwarderFilter { traces };
    let rig = Rig::start(section);
    rig.offer(&["/healthz", "x", "/ready"]);
    rig.offer(&["/healthz"]);
    collector.wait_for(1).await;
    rig.forwarders.stop().await;
    assert_eq!(collector.names(), [vec!["x"]]);
}

#[tokio::test]
async fn full_queue_and_an_endpoint_that_is_down_cost_copies_only() {
    let collector = Arc::new(Collector::default());
    let until = Arc::new(Notify::new());
    *collector.hangs.lock() = Some(Arc::clone(&until));
    let address = serve(&collector, None).await;
    let small = ForwarderSection { max_queued_bytes: 8192, workers: 1, ..section(address) };
    let rig = Rig::start(small);
    for _ in 0..5 {
        rig.offer(&["x"]);
    }
    let refused = "tempo_distributor_queue_pushes_failures_total{name=\"f\",tenant=\"a\"}";
    assert_eq!(rig.metric(refused), 3.0);
    *collector.hangs.lock() = None;
    until.notify_waiters();
    until.notify_one();
    collector.wait_for(2).await;
    rig.forwarders.stop().await;
    // Stopped: nothing is taken any more.
    rig.offer(&["x"]);
    assert_eq!(rig.metric(refused), 4.0);

    let free = listener::bind("127.0.0.1:0").await.unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    let rig = Rig::start(section(nobody));
    rig.offer(&["x"]);
    rig.forwarders.stop().await;
    let failed = "tempo_distributor_forwarder_pushes_failures_total{tenant=\"a\"}";
    assert_eq!(rig.metric(failed), 1.0);
}

#[tokio::test]
async fn tenant_whose_requests_hang_does_not_hold_up_others() {
    let collector = Arc::new(Collector::default());
    *collector.ignores.lock() = Some("loud".to_owned());
    let section = section(serve(&collector, None).await);
    let max_queued_bytes = 100 * 4096;
    let timeout = GoDuration::hours(1);
    let rig = Rig::start(ForwarderSection { max_queued_bytes, timeout, workers: 2, ..section });
    rig.offer_of("loud", 200);
    rig.offer_of("quiet", 5);
    collector.wait_for(5).await;
    let refused = |tenant: &str| {
        let labels = format!("{{name=\"f\",tenant=\"{tenant}\"}}");
        rig.metric(&format!("tempo_distributor_queue_pushes_failures_total{labels}"))
    };
    assert!(refused("loud") > 100.0);
    assert_eq!(refused("quiet"), 0.0);
}

#[tokio::test]
async fn endpoint_that_hangs_does_not_hold_up_others() {
    let [hanging, healthy] = [(); 2].map(|()| Arc::new(Collector::default()));
    *hanging.hangs.lock() = Some(Arc::default());
    let mut section = section(serve(&hanging, None).await);
    let other = serve(&healthy, None).await;
    section.otlpgrpc.endpoints.push(format!("localhost:{}", other.port()));
    let timeout = GoDuration::hours(1);
    let rig = Rig::start(ForwarderSection { timeout, workers: 1, ..section });
    rig.offer_of("a", 5);
    healthy.wait_for(5).await;
    assert_eq!(hanging.names().len(), 0);
}

/// Accepts a connection, and answers the head of each request on it with what `answer` makes of the number of its stream.
async fn answer_heads(listener: &TcpListener, mut answer: impl FnMut(&[u8]) -> Vec<u8>) {
    const HEADERS: u8 = 1;
    let (mut connection, _) = listener.accept().await.unwrap();
    // Settings without any.
    connection.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut preface = [0; 24];
    connection.read_exact(&mut preface).await.unwrap();
    let mut head = [0; 9];
    while connection.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        connection.read_exact(&mut payload).await.unwrap();
        if head[3] == HEADERS {
            connection.write_all(&answer(&head[5..])).await.unwrap();
        }
    }
}

#[tokio::test]
async fn request_that_an_endpoint_refuses_unseen_is_sent_three_times() {
    const RST_STREAM: [u8; 5] = [0, 0, 4, 3, 0];
    const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::start(section(listener.local_addr().unwrap()));
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    tokio::spawn(async move {
        let refuse = |stream: &[u8]| {
            count.fetch_add(1, Ordering::SeqCst);
            [&RST_STREAM[..], stream, &REFUSED_STREAM].concat()
        };
        answer_heads(&listener, refuse).await;
    });
    rig.offer(&["x"]);
    rig.forwarders.stop().await;
    let failed = "tempo_distributor_forwarder_pushes_failures_total{tenant=\"a\"}";
    assert_eq!((rig.metric(failed), refused.load(Ordering::SeqCst)), (1.0, 3));
}

#[tokio::test]
async fn request_after_the_last_one_of_a_connection_is_sent_on_another() {
    // Without an error. The last stream is 0, so none was looked at.
    const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let collector = Arc::new(Collector::default());
    let behind = serve(&collector, None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::start(section(listener.local_addr().unwrap()));
    tokio::spawn(async move {
        answer_heads(&listener, |_| GO_AWAY.to_vec()).await;
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut collector = TcpStream::connect(behind).await.unwrap();
        let _ = copy_bidirectional(&mut connection, &mut collector).await;
    });
    rig.offer(&["x"]);
    rig.forwarders.stop().await;
    assert_eq!(collector.names(), [vec!["x"]]);
    assert_eq!(rig.metric("tempo_distributor_forwarder_pushes_total{tenant=\"a\"}"), 1.0);
}

#[tokio::test]
async fn refusal_is_counted_and_later_requests_are_sent() {
    let collector = Arc::new(Collector::default());
    *collector.answers.lock() = Some(Code::ResourceExhausted);
    let rig = Rig::start(section(serve(&collector, None).await));
    rig.offer(&["x"]);
    collector.wait_for(1).await;
    *collector.answers.lock() = None;
    rig.offer(&["y"]);
    rig.forwarders.stop().await;
    assert_eq!(collector.names().len(), 2);
    let failed = "tempo_distributor_forwarder_pushes_failures_total{tenant=\"a\"}";
    assert_eq!(rig.metric(failed), 1.0);
}

#[tokio::test]
async fn what_an_endpoint_rejects_in_part_is_counted_as_failed() {
    let collector = Arc::new(Collector::default());
    let rig = Rig::start(section(serve(&collector, None).await));
    // A message alone is a warning.
    rig.offer(&["x"]);
    collector.wait_for(1).await;
    *collector.rejects.lock() = 1;
    rig.offer(&["y", "z"]);
    rig.forwarders.stop().await;
    let pushes = |name: &str| {
        rig.metric(&format!("tempo_distributor_forwarder_pushes_{name}{{tenant=\"a\"}}"))
    };
    assert_eq!((pushes("total"), pushes("failures_total")), (1.0, 1.0));
}

#[tokio::test]
async fn endpoint_with_a_certificate_of_the_named_authority_is_trusted() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, cert.pem()).unwrap();
    let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
    let settings = ServerTlsSettings {
        alpn: vec!["h2".to_owned()],
        ..ServerTlsSettings::new("test", Pem::text("c", certificate), Pem::text("k", key))
    };
    let tls = ServerTls::load(settings).unwrap();
    let collector = Arc::new(Collector::default());
    let address = serve(&collector, Some(tls)).await;
    let mut by_tls = section(address);
    by_tls.otlpgrpc.tls =
        ForwarderTls { insecure: false, cert_file: file.to_str().unwrap().to_owned() };
    let rig = Rig::start(by_tls);
    rig.offer(&["x"]);
    collector.wait_for(1).await;
    rig.forwarders.stop().await;
    let rig = Rig::start(section(address));
    rig.offer(&["in clear"]);
    rig.forwarders.stop().await;
    assert_eq!(collector.names(), [vec!["x"]]);
}

#[tokio::test]
async fn sections_that_cannot_be_are_named() {
    let refused = |change: &dyn Fn(&mut ForwarderSection)| {
        let mut section = section(SocketAddr::from(([127, 0, 0, 1], 1)));
        change(&mut section);
        let limits_of: LimitsOf = Arc::new(|_| Arc::default());
        Forwarders::start(&[section], limits_of, false, &Registry::new()).unwrap_err()
    };
    let error = refused(&|section| section.filter.traces.span = vec!["{ } >> { }".to_owned()]);
    assert!(
        error.contains("forwarders[0].filter.traces.span[0]: { } >> { }: only a filter"),
        "{error}"
    );
    let error = refused(&|section| section.otlpgrpc.endpoints = vec!["http://x:1".to_owned()]);
    assert_eq!(error, "distributor.forwarders[0].otlpgrpc.endpoints: not an address: http://x:1");
    for (endpoint, shown) in
        [("u:hunter2@x:1", "u:********@x:1"), ("htp://u:hunter2@x", "htp://u:********@x")]
    {
        let error = refused(&|section| section.otlpgrpc.endpoints = vec![endpoint.to_owned()]);
        assert!(error.ends_with(&format!("endpoints: not an address: {shown}")), "{error}");
    }
    let error = refused(&|section| section.otlpgrpc.endpoints.clear());
    assert_eq!(error, "distributor.forwarders[0].otlpgrpc.endpoints: none is named");
    let error = refused(&|section| {
        section.otlpgrpc.tls =
            ForwarderTls { insecure: false, cert_file: "/nonexistent/ca".to_owned() };
    });
    assert!(error.contains("otlpgrpc.tls.cert_file: /nonexistent/ca"), "{error}");
}
