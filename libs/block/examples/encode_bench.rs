//! Measures the block writer:
//! `encode_bench FILE [ZSTD_LEVEL] [SPANS_A_ROW_GROUP] [PAGE_BYTES] [OUTPUT] [RUNS] [VERSION]`.
//!
//! Level 0 is no compression, 99 is Snappy; VERSION is 4 or 5. FILE holds OTLP export requests, each after its length as a little-endian u32.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line tool for developers")]

use tactus_block::schema::Schema;
use tactus_block::{BlockSummary, BlockWriter, Compression, WriterSettings};
use tactus_model::{BatchBuilder, BuilderLimits, SpanBatch, merge, walk};
use tactus_storage::meta::{self, BlockVersion};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |argument| argument.parse().unwrap())
    };
    let bytes = std::fs::read(&arguments[1]).unwrap();
    let (version, dedicated_columns) = match number(7, 4) {
        5 => (BlockVersion::VParquet5, meta::default_columns()),
        _ => (BlockVersion::VParquet4, meta::filter_for_vparquet4(&meta::default_columns())),
    };
    let settings = WriterSettings {
        version,
        dedicated_columns,
        compression: match number(2, 1) {
            0 => Compression::None,
            99 => Compression::Snappy,
            level => Compression::Zstd(level as i32),
        },
        page_bytes: number(4, 128 << 10),
        ..WriterSettings::default()
    };
    let batches = read_batches(&bytes);
    let inputs: Vec<&SpanBatch> = batches.iter().collect();
    let plan = merge::MergePlan::new(&inputs);
    let ranges = plan.cut(number(3, 150_000));
    let row_groups: Vec<SpanBatch> =
        ranges.into_iter().map(|range| plan.gather(&inputs, range).0).collect();

    let mut nanos = u64::MAX;
    for _ in 1..number(6, 5) {
        let started = cpu_nanos();
        write(&row_groups, &settings);
        nanos = nanos.min(cpu_nanos() - started);
    }
    let (data, summary, columns) = write(&row_groups, &settings);

    let spans = summary.spans as f64;
    let schema = Schema::new(settings.version, &settings.dedicated_columns).unwrap();
    for (leaf, bytes) in columns.iter().enumerate() {
        let column = schema.descriptor().column(leaf);
        println!(
            "{:8.3} {}",
            *bytes as f64 / spans,
            column.path().string().replace(".list.element", "")
        );
    }
    println!(
        "{} spans, {} traces, {} row groups, footer {} bytes",
        summary.spans, summary.traces, summary.row_groups, summary.footer_size
    );
    println!("{:.2} bytes a span in columns", columns.iter().sum::<u64>() as f64 / spans);
    println!("{:.2} bytes a span in the file", summary.size as f64 / spans);
    println!("{:.0} ns of CPU a span", nanos as f64 / spans);
    if let Some(path) = arguments.get(5) {
        std::fs::write(path, data).unwrap();
    }
}

fn write(row_groups: &[SpanBatch], settings: &WriterSettings) -> (Vec<u8>, BlockSummary, Vec<u64>) {
    let mut writer = BlockWriter::new(Vec::new(), settings.clone()).unwrap();
    let mut columns = Vec::new();
    for batch in row_groups {
        let info = writer.write_row_group(batch).unwrap();
        columns.resize(info.column_bytes.len(), 0);
        for (total, bytes) in columns.iter_mut().zip(info.column_bytes) {
            *total += bytes;
        }
    }
    let (data, summary) = writer.finish().unwrap();
    (data, summary, columns)
}

/// CPU time of this thread so far.
fn cpu_nanos() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
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
