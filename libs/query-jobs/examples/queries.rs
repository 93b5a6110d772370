//! Times queries on a stored block, reading and evaluation apart.
//!
//! `cargo run --release -p tactus-query-jobs --example queries -- BLOCK_DIRECTORY [REPEATS] [PATTERN]`
//!
//! A block directory holds `data.parquet` and `meta.json`. All figures are milliseconds on one thread, summed over the row
//! groups, of each the least of the repeats. `read`: the columns of the filters. `find`: evaluation of the decoded batches.
//! `assemble`: answers of the newest matches, result columns in memory. `staged`: reading and evaluation step by step,
//! `reads`: how often columns of a row group were read for it.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tactus_block::read::{BlockFacts, BlockReader, BytesSource};
use tactus_model::{Projection, SpanBatch};
use tactus_storage::BlockMeta;
use tactus_traceql::eval::{CompiledQuery, Matches, SearchOptions, Window};
use tactus_traceql::parse_and_validate;

type Failure = Box<dyn std::error::Error>;

const OPTIONS: SearchOptions = SearchOptions { limit: 20, spans_per_span_set: 3 };

const QUERIES: [(&str, &str); 16] = [
    ("service", r#"{ resource.service.name = "payment" }"#),
    ("rare error", r#"{ status = error && resource.service.name = "payment" && duration > 2s }"#),
    ("high-cardinality", r#"{ span.user.id = "user-000001" }"#),
    ("generic, none", r#"{ span.session.id = "nope" }"#),
    ("regex, none", r#"{ span.db.statement =~ ".*nothing-here.*" }"#),
    ("duration", "{ duration > 20s }"),
    (
        "structural, none",
        r#"{ resource.service.name = "frontend" } >> { status = error && resource.service.name = "fraud detection" }"#,
    ),
    (
        "structural, many",
        r#"{ resource.service.name = "frontend" } >> { resource.service.name = "payment" }"#,
    ),
    ("count", "{ status = error } | count() > 50"),
    ("count, all", "{ } | count() > 50"),
    ("two spansets", r#"{ span.http.status_code = 500 } && { event.exception.type = "NoSuch" }"#),
    (
        "two, many",
        r#"{ resource.service.name = "frontend" } && { resource.service.name = "payment" }"#,
    ),
    ("average by", "{ } | by(resource.service.name) | avg(duration) > 2s"),
    ("name", r#"{ name = "nothing" }"#),
    ("unscoped", r#"{ .env = "nothing" }"#),
    ("kind, none", "{ kind = unspecified }"),
];

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: queries BLOCK_DIRECTORY [REPEATS] [PATTERN]")?;
    let repeats = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let pattern = arguments.next().unwrap_or_default();
    let block = open(Path::new(&directory))?;
    let groups = block.row_groups().len();
    let traces: u64 = block.row_groups().iter().map(|group| group.traces).sum();
    println!("{groups} row groups, {traces} traces");
    let nothing = Projection::default();
    println!("no column: {:.2}", read_each(&block, &nothing, repeats)?);
    println!(
        "{:18} {:>8} {:>8} {:>8} {:>8} {:>6} {:>8}",
        "query", "read", "find", "assemble", "staged", "reads", "traces"
    );
    for (name, text) in QUERIES.iter().filter(|(name, _)| name.contains(&pattern)) {
        run(name, text, &block, repeats)?;
    }
    Ok(())
}

fn open(directory: &Path) -> Result<BlockReader, Failure> {
    let meta = BlockMeta::from_json(&std::fs::read(directory.join("meta.json"))?)?;
    let facts = BlockFacts {
        size: meta.size,
        footer_size: meta.footer_size,
        version: meta.version()?,
        dedicated_columns: meta.dedicated_columns.to_vec(),
    };
    let source = BytesSource::new(std::fs::read(directory.join("data.parquet"))?.into());
    Ok(BlockReader::open(Arc::new(source), &facts)?)
}

fn run(name: &str, text: &str, block: &BlockReader, repeats: usize) -> Result<(), Failure> {
    let query = CompiledQuery::compile(&parse_and_validate(text)?)?;
    let window = Window::default();
    let read = read_each(block, query.filter_projection(), repeats)?;
    let batches = read_all(block, query.filter_projection())?;
    let mut matches: Vec<Matches> = Vec::new();
    let mut find = 0.0;
    for batch in &batches {
        let mut found = Matches::default();
        find += least(repeats, || {
            found = query.find_newest(batch, window, OPTIONS.limit)?;
            Ok(())
        })?;
        matches.push(found);
    }
    drop(batches);
    let results = read_all(block, query.result_projection())?;
    let mut assemble = 0.0;
    for (batch, matches) in results.iter().zip(&matches) {
        assemble += least(repeats, || {
            std::hint::black_box(query.assemble(batch, matches, &OPTIONS));
            Ok(())
        })?;
    }
    drop(results);
    let (mut reads, mut staged) = (0, 0.0);
    for (group, expected) in matches.iter().enumerate() {
        let mut found = Matches::default();
        let mut steps = 0;
        staged += least(repeats, || {
            (found, steps) = search_in_steps(&query, block, group)?;
            Ok(())
        })?;
        assert_eq!(&found, expected, "{name}");
        reads += steps;
    }
    let found: usize = matches.iter().map(|matches| matches.traces.len()).sum();
    println!("{name:18} {read:8.2} {find:8.2} {assemble:8.2} {staged:8.2} {reads:6} {found:8}");
    Ok(())
}

/// The matches in a row group, and how often columns were read to find them.
fn search_in_steps(
    query: &CompiledQuery,
    block: &BlockReader,
    group: usize,
) -> Result<(Matches, usize), Failure> {
    let mut search = query.staged(Window::default(), OPTIONS.limit);
    let mut reads = 0;
    loop {
        reads += 1;
        let batch = block.read_row_group(group, search.projection())?;
        if let Some(matches) = search.advance(&batch)? {
            return Ok((matches, reads));
        }
    }
}

/// Milliseconds to read columns of all row groups.
fn read_each(block: &BlockReader, projection: &Projection, repeats: usize) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for group in 0..block.row_groups().len() {
        sum += least(repeats, || {
            std::hint::black_box(block.read_row_group(group, projection)?);
            Ok(())
        })?;
    }
    Ok(sum)
}

fn read_all(block: &BlockReader, projection: &Projection) -> Result<Vec<SpanBatch>, Failure> {
    let groups = 0..block.row_groups().len();
    groups.map(|group| Ok(block.read_row_group(group, projection)?)).collect()
}

/// The shortest of some runs, in milliseconds.
fn least(repeats: usize, mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut best = f64::INFINITY;
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}
