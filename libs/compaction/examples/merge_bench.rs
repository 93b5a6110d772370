//! Measures the merge.
//!
//! `merge_bench make LOAD DIRECTORY BLOCKS PART` writes blocks: LOAD holds OTLP export requests, each after its length
//! as a little-endian u32. Each block gets one trace in PART of them, under ids of its own except one in ten; with PART
//! 0 all spans as one trace.
//! `merge_bench merge DIRECTORY [MEMORY_MIB] [OUTPUT]` merges them.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line tool for developers")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tactus_block::read::{BlockFacts, BlockReader, ByteSource, BytesSource};
use tactus_block::{BlockBuilder, BuilderSettings, WriterSettings};
use tactus_compaction::{Changes, RewriteSettings, Unattended, merge_blocks};
use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch, TraceId, merge::MergePlan, walk};
use tactus_storage::meta::{self, BlockVersion};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |argument| argument.parse().unwrap())
    };
    match arguments[1].as_str() {
        "make" => make(&arguments[2], Path::new(&arguments[3]), number(4, 10), number(5, 1)),
        _ => merge(Path::new(&arguments[2]), number(3, 256), arguments.get(4)),
    }
}

fn settings() -> BuilderSettings {
    let dedicated_columns = meta::filter_for_vparquet4(&meta::default_columns());
    BuilderSettings {
        writer: WriterSettings { dedicated_columns, ..WriterSettings::default() },
        bloom_false_positive: 0.01,
        bloom_shard_bytes: 100 << 10,
    }
}

fn make(load: &str, directory: &Path, blocks: usize, part: usize) {
    std::fs::create_dir_all(directory).unwrap();
    let mut batches = read_batches(&std::fs::read(load).unwrap());
    for block in 0..blocks {
        for batch in &mut batches {
            for id in batch.traces.ids.make_mut() {
                *id = id_in_block(*id, block);
            }
        }
        if part == 0 {
            for batch in &mut batches {
                batch.traces.ids = vec![TraceId([1; 16])].into();
                batch.spans.trace = vec![0; batch.len()].into();
            }
        }
        let inputs: Vec<&SpanBatch> = batches.iter().collect();
        let wanted = |id: TraceId| part == 0 || usize::from(id.0[15]) % part == block % part;
        let plan = MergePlan::of_traces(&inputs, wanted);
        let file = std::fs::File::create(directory.join(format!("{block}.parquet"))).unwrap();
        let sink = std::io::BufWriter::new(file);
        let mut builder = BlockBuilder::new(sink, &settings(), plan.trace_count() as u64).unwrap();
        for range in plan.cut(tactus_block::ROW_GROUP_SPANS) {
            builder.write_row_group(&plan.gather(&inputs, range).0).unwrap();
        }
        let summary = builder.finish().unwrap().summary;
        println!("block {block}: {} spans, {} bytes", summary.spans, summary.size);
    }
}

/// One trace in ten has the same id in all blocks.
fn id_in_block(id: TraceId, block: usize) -> TraceId {
    let mut bytes = id.0;
    if !bytes[14].is_multiple_of(10) {
        // Of the block before: undone first.
        let previous = (block as u64).wrapping_sub(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let next = (block as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let change = if block == 0 { next } else { previous ^ next };
        let mixed = u64::from_be_bytes(bytes[..8].try_into().unwrap()) ^ change;
        bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    }
    TraceId(bytes)
}

fn merge(directory: &Path, memory_mib: usize, output: Option<&String>) {
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let readers: Vec<BlockReader> = paths
        .iter()
        .map(|path| {
            let source = Arc::new(BytesSource::new(std::fs::read(path).unwrap().into()));
            let facts = BlockFacts {
                size: source.size(),
                footer_size: 0,
                version: BlockVersion::VParquet4,
                dedicated_columns: settings().writer.dedicated_columns,
            };
            BlockReader::open(source, &facts).unwrap()
        })
        .collect();
    println!("peak resident after the footers {} MiB", peak_mib());
    let mut rewrite = RewriteSettings::new(settings());
    rewrite.memory_bytes = (memory_mib as u64) << 20;
    rewrite.max_trace_bytes = 5_000_000;
    let sink = match output {
        Some(path) => std::fs::File::create(path).unwrap(),
        None => std::fs::File::create("/dev/null").unwrap(),
    };
    let sink = std::io::BufWriter::with_capacity(1 << 20, sink);
    let (started, cpu) = (Instant::now(), cpu_nanos());
    let merged = merge_blocks(&readers, sink, &rewrite, &Changes::default(), &Unattended).unwrap();
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), (cpu_nanos() - cpu) as f64 / 1e9);
    println!("{:#?}", merged.stats);
    println!(
        "{seconds:.2} s, {cpu:.2} s CPU: {:.3} s CPU a million spans read; peak resident {} MiB",
        cpu * 1e6 / merged.stats.spans_read as f64,
        peak_mib()
    );
}

/// CPU time of this thread so far.
fn cpu_nanos() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn read_batches(bytes: &[u8]) -> Vec<SpanBatch> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(BuilderLimits::default());
    let mut rest = bytes;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (body, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        rest = tail;
        append(&mut builder, body);
        if builder.len() > 20_000 {
            batches.push(std::mem::take(&mut builder).finish());
        }
    }
    batches.push(builder.finish());
    batches
}

fn append(builder: &mut BatchBuilder, body: &[u8]) {
    let found = walk::walk_export(body, |_| {}).unwrap();
    let resources: Vec<u32> = found
        .resources
        .iter()
        .map(|range| builder.resource(&body[range.clone()]).unwrap())
        .collect();
    let scopes: Vec<u32> =
        found.scopes.iter().map(|range| builder.scope(&body[range.clone()]).unwrap()).collect();
    for run in &found.runs {
        let (resource, scope) = (resources[run.resource as usize], scopes[run.scope as usize]);
        let spans = &body[run.scope_spans.clone()];
        builder.append_scope_spans(resource, scope, spans, |_, _| true).unwrap();
    }
}
