//! Measures what an ingester does with spans before they are written: `ingest_bench FILE [RUNS]`.
//!
//! FILE holds OTLP export requests, each after its length as a little-endian u32. They are walked, converted to chunks as of live
//! spans, and chunks merged as a cut does. Prints nanoseconds of processor time a span, the least of all runs.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line tool for developers")]

use tactus_model::{
    BatchBuilder, BuilderLimits, RunMessages, SpanBatch,
    merge::merge,
    walk::{SpanRun, walk_export},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// As the ingester has it.
const SPANS_OF_A_CHUNK: usize = 16 << 10;
const CHUNKS_OF_A_CUT: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runs: usize = arguments.get(2).map_or(5, |runs| runs.parse().unwrap());
    let bytes = std::fs::read(&arguments[1]).unwrap();
    let bodies = bodies_of(&bytes);
    let (mut walk, mut build, mut cut) = (u64::MAX, u64::MAX, u64::MAX);
    let mut spans = 0;
    for _ in 0..runs {
        let started = cpu_nanos();
        spans = bodies.iter().map(|body| walk_export(body, |_| {}).map(|_| ()).unwrap()).count();
        walk = walk.min(cpu_nanos() - started);
        let started = cpu_nanos();
        let chunks = chunks_of(&bodies);
        build = build.min(cpu_nanos() - started);
        spans = spans.max(chunks.iter().map(SpanBatch::len).sum());
        let started = cpu_nanos();
        for chunks in chunks.chunks(CHUNKS_OF_A_CUT) {
            let inputs: Vec<&SpanBatch> = chunks.iter().collect();
            std::hint::black_box(merge(&inputs));
        }
        cut = cut.min(cpu_nanos() - started);
    }
    let nanos = |nanos: u64| nanos as f64 / spans as f64;
    println!(
        "{spans} spans; ns a span: walk {:.0}, walk and convert {:.0}, merge {:.0}",
        nanos(walk),
        nanos(build),
        nanos(cut)
    );
}

fn bodies_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (body, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        bodies.push(body);
        bytes = rest;
    }
    bodies
}

fn chunks_of(bodies: &[&[u8]]) -> Vec<SpanBatch> {
    let mut chunks = Vec::new();
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    for body in bodies {
        let found = walk_export(body, |_| {}).unwrap();
        let messages = |run: &SpanRun| RunMessages {
            resource: &body[found.resources[run.resource as usize].clone()],
            scope: &body[found.scopes[run.scope as usize].clone()],
            scope_spans: &body[run.scope_spans.clone()],
            origin: 0,
        };
        let runs: Vec<_> = found.runs.iter().map(messages).collect();
        builder.mark();
        builder.append_by_trace(&runs, |_| true).unwrap();
        if builder.len() >= SPANS_OF_A_CHUNK {
            chunks.push(builder.finish_and_go_on());
        }
    }
    chunks.push(builder.finish());
    chunks
}

/// Processor time of this thread so far.
fn cpu_nanos() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}
