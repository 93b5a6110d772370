//! Processor time of a million spans from the formats of Jaeger and Zipkin to the OTLP bytes that the distributor takes.
//! `cargo run --release -p tactus-zipkin --example translation_cost`.
#![allow(clippy::print_stdout, reason = "prints its result")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use tactus_jaeger::{from_otlp, to_otlp::post_spans_to_otlp};
use tactus_proto::jaeger::api_v2::{Batch, PostSpansRequest};
use tactus_proto::otlp::{
    AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, any_value::Value,
};
use tactus_zipkin::{DecodeOptions, Format, MediaType, Version, decode, spans_from_otlp};

const SPANS_A_REQUEST: u64 = 500;
const REQUESTS: u64 = 400;

fn attribute(key: &'static str, value: Value) -> KeyValue {
    let key = Bytes::from_static(key.as_bytes());
    KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}

fn text(value: String) -> Value {
    Value::StringValue(value.into())
}

/// Spans of one service with eight attributes each.
fn trace() -> ResourceSpans {
    let span = |number: u64| Span {
        trace_id: u128::from(1_000 + number / 10).to_be_bytes().to_vec().into(),
        span_id: (number + 1).to_be_bytes().to_vec().into(),
        parent_span_id: (number / 10 * 10 + 1).to_be_bytes().to_vec().into(),
        name: Bytes::from_static(b"GET /api/orders/{id}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000 + number * 1_000,
        end_time_unix_nano: 1_700_000_000_005_000_000 + number * 1_000,
        attributes: vec![
            attribute("http.method", text("GET".to_owned())),
            attribute("http.url", text(format!("https://shop.example.com/api/orders/{number}"))),
            attribute("http.status_code", Value::IntValue(200)),
            attribute("net.peer.port", Value::IntValue(4_000 + (number % 100) as i64)),
            attribute("user.id", text(format!("user-{}", number % 500))),
            attribute("cache.hit", Value::BoolValue(number.is_multiple_of(3))),
            attribute("ratio", Value::DoubleValue(0.5)),
            attribute("component", text("orders".to_owned())),
        ],
        ..Span::default()
    };
    ResourceSpans {
        resource: Some(Resource {
            attributes: vec![
                attribute("service.name", text("orders".to_owned())),
                attribute("host.name", text("host-1".to_owned())),
            ],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: (0..SPANS_A_REQUEST).map(span).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

fn measure(name: &str, body: &Bytes, translate: impl Fn(&Bytes) -> usize) {
    let start = Instant::now();
    for _ in 0..REQUESTS {
        black_box(translate(black_box(body)));
    }
    let spans = (SPANS_A_REQUEST * REQUESTS) as f64;
    let seconds = start.elapsed().as_secs_f64() * 1e6 / spans;
    let bytes = body.len() as u64 / SPANS_A_REQUEST;
    println!("{name:<22} {seconds:.2} s a million spans, {bytes} bytes a span");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trace = vec![trace()];
    let batch = Batch { spans: from_otlp::spans(trace.clone()).collect(), process: None };
    let jaeger: Bytes = PostSpansRequest { batch: Some(batch) }.encode_to_vec().into();
    post_spans_to_otlp(&jaeger)?;
    measure("Jaeger protobuf", &jaeger, |body| {
        post_spans_to_otlp(body).map_or(0, |request| request.len())
    });
    let zipkin = Bytes::from(serde_json::to_vec(&spans_from_otlp(trace).collect::<Vec<_>>())?);
    let format = Format::detect(Version::V2, MediaType::of(b"application/json"), &zipkin);
    let options = DecodeOptions::default();
    decode(format, &zipkin, &options)?;
    measure("Zipkin v2 JSON", &zipkin, |body| {
        decode(format, body, &options).map_or(0, |(_, out)| out.len())
    });
    Ok(())
}
