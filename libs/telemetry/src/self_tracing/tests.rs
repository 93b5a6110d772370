use std::time::Duration;

use tactus_proto::otlp::Span;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::logging::traced;
use crate::metrics::{Counter, Format};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Runs `work` and returns what was recorded, in the order of ends.
fn record(queue: usize, work: impl FnOnce()) -> (Vec<Span>, u64) {
    let (sender, mut receiver) = mpsc::channel(queue);
    let dropped = Counter::default();
    let layer = TraceLayer::new(sender, dropped.clone(), Sampler::default());
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(traced()));
    tracing::subscriber::with_default(subscriber, work);
    let mut spans = Vec::new();
    while let Ok(span) = receiver.try_recv() {
        spans.push(span);
    }
    (spans, dropped.get())
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key.as_bytes());
    format!("{:?}", found.and_then(|found| found.value.clone()?.value))
}

#[test]
fn spans_nest_and_hand_their_trace_on() {
    let mut header = None;
    let (spans, _) = record(9, || {
        assert_eq!(traceparent(), None);
        let request =
            request_span!("GET /x", None::<&str>, "http.route" = "/x", tenant = "a", bytes = 3u64);
        request.in_scope(|| {
            let call = client_span!("push", peer = "b");
            call.in_scope(|| header = traceparent());
            call.record("otel.status_code", "ERROR");
        });
        assert_eq!(traceparent(), None);
    });
    let [call, request] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(
        (&request.name[..], request.kind, request.parent_span_id.len()),
        (&b"GET /x"[..], 2, 0)
    );
    assert_eq!((&call.name[..], call.kind), (&b"push"[..], 3));
    assert_eq!((&call.trace_id, &call.parent_span_id), (&request.trace_id, &request.span_id));
    assert_eq!(call.status.as_ref().unwrap().code, 2);
    assert!(request.status.is_none() && request.end_time_unix_nano >= call.end_time_unix_nano);
    assert_eq!(attribute(request, "bytes"), "Some(IntValue(3))");
    assert!(attribute(request, "http.route").contains("/x"));
    let hex: String = call.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(header.unwrap().ends_with(&format!("-{hex}-01")));
}

#[test]
fn callers_trace_is_continued_and_its_decision_holds() {
    let (spans, _) = record(9, || {
        request_span!("a", Some(SAMPLED), ingest = true).in_scope(|| ());
        request_span!("b", Some(UNSAMPLED)).in_scope(|| {
            work_span!("below").in_scope(|| assert!(traceparent().unwrap().ends_with("-00")));
        });
        request_span!("c", Some("nonsense")).in_scope(|| ());
    });
    let [a, c] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&a.parent_span_id[..2], &a.trace_id[..2]), (&[0xb7, 0xad][..], &[0x0a, 0xf7][..]));
    assert_eq!((&c.name[..], c.parent_span_id.len()), (&b"c"[..], 0));
}

#[test]
fn requests_with_spans_seldom_begin_a_trace() {
    let (spans, _) = record(99, || {
        for _ in 0..1_000 {
            request_span!("export", None::<&str>, ingest = true)
                .in_scope(|| work_span!("push").in_scope(|| ()));
        }
    });
    // A thousandth; twenty would be a one in 10^18 chance. Each trace has two spans.
    assert!(spans.len() < 40, "{}", spans.len());
}

#[test]
fn warnings_are_events_and_errors_a_status() {
    let (spans, _) = record(9, || {
        work_span!("flush").in_scope(|| {
            tracing::info!("left out");
            tracing::warn!(tenant = "a", "slow");
            tracing::error!("failed");
        });
    });
    let names: Vec<&[u8]> = spans[0].events.iter().map(|event| &event.name[..]).collect();
    assert_eq!(names, [&b"slow"[..], b"failed"]);
    assert_eq!(&spans[0].status.as_ref().unwrap().message[..], b"failed");
}

#[test]
fn full_queue_drops_and_counts() {
    let (spans, dropped) = record(2, || (0..5).for_each(|_| work_span!("w").in_scope(|| ())));
    assert_eq!((spans.len(), dropped), (2, 3));
}

#[test]
fn spans_of_other_crates_are_left_out() {
    let (spans, _) = record(9, || {
        tracing::info_span!(target: "hyper", "x").in_scope(|| ());
    });
    assert!(spans.is_empty());
}

/// What a client sends before the server answers; the server is told by `until` that it is enough.
async fn receive(server: &TcpListener, until: &[u8]) -> Vec<u8> {
    let (mut connection, request) = read(server, until).await;
    answer(&mut connection, "200 OK").await;
    request
}

/// The same without an answer.
async fn read(server: &TcpListener, until: &[u8]) -> (TcpStream, Vec<u8>) {
    let (mut connection, _) = server.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.windows(until.len()).any(|window| window == until) {
        let count = connection.read_buf(&mut request).await.unwrap();
        assert!(count > 0);
    }
    (connection, request)
}

async fn answer(connection: &mut TcpStream, head: &str) {
    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
    connection.write_all(answer.as_bytes()).await.unwrap();
}

/// Sends a span to a server, with these variables.
fn send_span(
    server: &TcpListener,
    variables: &[(&str, &str)],
    registry: &Registry,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let settings = Settings::from_env("all", "1", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("3600000".to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("1".to_owned()),
        _ => {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }
    });
    let (layer, exporter) = start(settings.unwrap().unwrap(), registry);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(traced()));
    tracing::subscriber::with_default(subscriber, || work_span!("w").in_scope(|| ()));
    tokio::spawn(exporter.run(stop.clone()))
}

#[tokio::test]
async fn redirect_is_not_followed_and_counts_as_a_failure() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (registry, stop) = (Registry::new(), CancellationToken::new());
    let sending = send_span(&server, &[], &registry, &stop);
    tokio::spawn(async move {
        let (mut connection, _) = read(&server, b"tactus-all").await;
        answer(&mut connection, "302 Found\r\nlocation: /login").await;
        receive(&server, b"GET /login").await;
    });
    sending.await.unwrap();
    let page = registry.encode();
    assert!(page.contains("tactus_self_tracing_sent_spans_total 0\n"), "{page}");
    let dropped = "tactus_self_tracing_dropped_spans_total{reason=\"not_accepted\"} 1\n";
    assert!(page.contains(dropped), "{page}");
}

#[tokio::test(start_paused = true)]
async fn end_waits_for_a_receiver_that_hangs_as_long_as_for_the_last_spans() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let sending = send_span(&server, &[], &Registry::new(), &stop);
    let _hanging = read(&server, b"tactus-all").await;
    stop.cancel();
    let since = tokio::time::Instant::now();
    sending.await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connection_of_grpc_that_hangs_is_asked_for_a_sign_of_life() {
    const PREFACE_BYTES: usize = 24;
    const PING: u8 = 6;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let _sending = send_span(&server, &variables, &Registry::new(), &CancellationToken::new());
    let (mut connection, _) = server.accept().await.unwrap();
    connection.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.expect("a ping before the end of the connection");
        if head[3] == PING {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        connection.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
}

#[tokio::test]
async fn batch_that_waits_is_sent_at_the_end() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let settings = Settings::from_env("all", "1", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("600000".to_owned()),
        _ => None,
    });
    let (layer, exporter) = start(settings.unwrap().unwrap(), &Registry::new());
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(traced()));
    tracing::subscriber::with_default(subscriber, || {
        work_span!("first").in_scope(|| ());
        work_span!("second").in_scope(|| ());
    });
    tokio::task::yield_now().await;
    stop.cancel();
    let request = receive(&server, b"second").await;
    assert!(request.windows(5).any(|window| window == b"first"));
    tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn exporter_sends_batches_that_ask_not_to_be_traced() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let settings = Settings::from_env("all", "1", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("X-Scope-OrgID=ops".to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("1".to_owned()),
        _ => None,
    });
    let registry = Registry::new();
    let (layer, exporter) = start(settings.unwrap().unwrap(), &registry);
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter.run(stop.clone()));
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(traced()));
    tracing::subscriber::with_default(subscriber, || work_span!("w").in_scope(|| ()));
    let request = receive(&server, b"tactus-all").await;
    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
    assert!(text.starts_with("post /v1/traces http/1.1\r\n"), "{text}");
    assert!(text.contains("x-scope-orgid: ops\r\n"));
    let header = text.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap();
    assert!(header.ends_with("-00"), "{header}");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), running).await.unwrap().unwrap();
    assert!(registry.encode().contains("tactus_self_tracing_sent_spans_total 1\n"));
}

#[test]
fn observation_within_a_sampled_trace_is_an_exemplar_in_openmetrics() {
    let registry = Registry::new();
    let histogram = registry.histogram_vec("h_seconds", "H.", ["m"], &[0.5, 1.0]);
    let observe = |milliseconds| {
        // A label that looks like an exemplar is none.
        histogram.with(["} 1 # {trace_id="]).observe_duration(Duration::from_millis(milliseconds));
    };
    record(9, || {
        request_span!("a", Some(SAMPLED)).in_scope(|| observe(250));
        request_span!("b", Some(UNSAMPLED)).in_scope(|| observe(750));
        observe(9_000);
    });
    let text = registry.encode_as(Format::OpenMetrics);
    let exemplar = "h_seconds_bucket{le=\"0.5\",m=\"} 1 # {trace_id=\"} 1 \
         # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.25 ";
    assert!(text.contains(exemplar), "{text}");
    assert_eq!(text.matches("# {trace_id=\"0af7").count(), 1, "{text}");
    assert!(text.contains("m=\"} 1 # {trace_id=\"} 2\n"), "{text}");
    let buckets = "h_seconds_bucket{le=\"0.5\",m=\"} 1 # {trace_id=\"} 1\n\
         h_seconds_bucket{le=\"1\",m=\"} 1 # {trace_id=\"} 2\n";
    assert!(registry.encode().contains(buckets), "{}", registry.encode());
}
