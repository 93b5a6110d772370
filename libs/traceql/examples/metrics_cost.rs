//! Times metrics functions on one batch in memory, without reading.
//!
//! `cargo run --release -p tactus-traceql --example metrics_cost -- [SPANS] [REPEATS] [PATTERN]`
//!
//! Traces of 20 spans: calls between 20 services, client and server alternating, six attributes a span. Figures are
//! nanoseconds a span on one thread, the least of the repeats.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::time::Instant;

use tactus_model::{Attribute, DictionaryBuilder, SpanBatch, SpanId, TraceId, ValueType};
use tactus_traceql::metrics::{CompiledMetrics, Grid, MetricsCollector, MetricsOptions};
use tactus_traceql::parse_and_validate;

const SECOND: u64 = 1_000_000_000;
const SPANS_PER_TRACE: usize = 20;
const SERVICES: usize = 20;

const QUERIES: [&str; 16] = [
    "{ } | rate()",
    "{ } | rate() by (resource.service.name)",
    "{ status = error } | rate() by (resource.service.name)",
    "{ } | rate() by (span.http.route)",
    "{ } | sum_over_time(span.rows)",
    "{ } | avg_over_time(duration) by (resource.service.name)",
    "{ } | histogram_over_time(duration)",
    "{ } | quantile_over_time(duration, .5, .99) by (resource.service.name)",
    "{ } | compare({ status = error })",
    "{ kind = client } > { kind = server } | rate() by (resource.service.name)",
    "{ } | rate() with(extrapolate=true)",
    "{ } | rate() with(adjusted=true)",
    "{ } | quantile_over_time(duration, .5, .99) with(adjusted=true)",
    "{ } | service_graph(calls)",
    "{ } | service_graph()",
    "{ status = error } | service_graph()",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default| arguments.next().map_or(default, |text| text.parse().unwrap_or(default));
    let (spans, repeats): (usize, usize) = (number(400_000), number(5));
    let pattern = arguments.next().unwrap_or_default();
    let batch = batch(spans);
    for query in QUERIES.iter().filter(|query| query.contains(&pattern)) {
        // An older version does not know them all.
        let Ok(root) = parse_and_validate(query) else { continue };
        let grid = Grid::from_parts(0, 60 * SECOND, 60);
        let Ok(compiled) = CompiledMetrics::compile(&root, grid, MetricsOptions::default()) else {
            continue;
        };
        let times = (0..repeats).map(|_| {
            let start = Instant::now();
            let mut collector = MetricsCollector::new(&compiled);
            if let Err(error) = collector.observe(&compiled, &batch, None) {
                println!("{query}: {error}");
            }
            std::hint::black_box(collector.finish(&compiled));
            start.elapsed().as_secs_f64()
        });
        let least = times.fold(f64::INFINITY, f64::min);
        println!("{:8.2} ns  {query}", least * 1e9 / spans as f64);
    }
}

fn batch(spans: usize) -> SpanBatch {
    let mut strings = DictionaryBuilder::default();
    let mut batch = SpanBatch::default();
    let service_name = strings.intern(b"service.name");
    for service in 0..SERVICES {
        let payload = u64::from(strings.intern(format!("service-{service}").as_bytes()));
        batch.resources.attributes.push(Attribute {
            key: service_name,
            value_type: ValueType::String,
            payload,
        });
        batch.resources.attributes.end_owner();
        batch.resources.dropped_attributes.push(0);
    }
    batch.scopes.name.push(0);
    batch.scopes.version.push(0);
    batch.scopes.attributes.end_owner();
    let texts = ["http.route", "http.method", "net.peer.name", "thread", "host"].map(|key| {
        let key_code = strings.intern(key.as_bytes());
        let values = (0..50).map(|it| u64::from(strings.intern(format!("{key} {it}").as_bytes())));
        (key_code, values.collect::<Vec<_>>())
    });
    let rows = strings.intern(b"rows");
    let states = [strings.intern(b""), strings.intern(b"ot=th:c")];
    let ids =
        (0..spans.div_ceil(SPANS_PER_TRACE)).map(|trace| TraceId((trace as u128).to_be_bytes()));
    batch.traces.ids = ids.collect();
    // Numbers without a pattern, the same at every run.
    let mut random = 1u64;
    let mut next = || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    for row in 0..spans {
        let (trace, place) = (row / SPANS_PER_TRACE, row % SPANS_PER_TRACE);
        let columns = &mut batch.spans;
        columns.trace.push(trace as u32);
        // Client and server of a call are of neighbouring services.
        columns.resource.push(((trace + place.div_ceil(2)) % SERVICES) as u32);
        columns.scope.push(0);
        columns.span_id.push(SpanId((row as u64 + 1).to_be_bytes()));
        let parent = if place == 0 { 0 } else { row as u64 };
        columns.parent_span_id.push(SpanId(parent.to_be_bytes()));
        columns.start.push((trace as u64 * 9_000 % 3600) * SECOND + next() % SECOND + 1);
        columns.duration.push(1_000_000 + next());
        columns.name.push(texts[0].1[row % 50] as u32);
        columns.kind.push(if place % 2 == 0 { 2 } else { 3 });
        columns.status.push(if next() % 50 == 0 { 2 } else { 0 });
        columns.status_message.push(0);
        columns.trace_state.push(states[trace % 2]);
        for (key, values) in &texts {
            let payload = values[next() as usize % values.len()];
            let value_type = ValueType::String;
            batch.span_attributes.push(Attribute { key: *key, value_type, payload });
        }
        let value_type = ValueType::Int;
        batch.span_attributes.push(Attribute { key: rows, value_type, payload: next() % 1000 });
        batch.span_attributes.end_owner();
    }
    batch.strings = strings.finish();
    batch
}
