use std::time::Duration;

use tactus_proto::otlp::Span;
use tokio::sync::mpsc;
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
async fn receive(server: &tokio::net::TcpListener, until: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut connection, _) = server.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.windows(until.len()).any(|window| window == until) {
        let count = connection.read_buf(&mut request).await.unwrap();
        assert!(count > 0);
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    request
}

#[tokio::test]
async fn batch_that_waits_is_sent_at_the_end() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let settings = Settings::from_env("all", "1", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("600000".to_owned()),
        _ => None,
    });
    let (layer, exporter) = start(settings.unwrap().unwrap(), &Registry::new());
    let stop = tokio_util::sync::CancellationToken::new();
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
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let settings = Settings::from_env("all", "1", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(endpoint.clone()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("X-Scope-OrgID=ops".to_owned()),
        "OTEL_BSP_SCHEDULE_DELAY" => Some("1".to_owned()),
        _ => None,
    });
    let registry = Registry::new();
    let (layer, exporter) = start(settings.unwrap().unwrap(), &registry);
    let stop = tokio_util::sync::CancellationToken::new();
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
