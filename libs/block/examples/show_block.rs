//! Reads a block from its directory, with neither a bucket nor a server: its row groups, and a trace.
//!
//! `cargo run -p tactus-block --example show_block -- DIRECTORY [TRACE_ID]`
//!
//! The directory holds `meta.json` and `data.parquet`, as those below `conformance/blocks` do. Without an id the first trace
//! is shown.
#![expect(clippy::print_stdout, reason = "a program for the command line")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use tactus_block::read::{BlockReader, BytesSource, facts_of};
use tactus_model::{Projection, TraceId};
use tactus_storage::BlockMeta;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: show_block DIRECTORY [TRACE_ID]")?;
    let directory = Path::new(&directory);
    let meta = BlockMeta::from_json(&std::fs::read(directory.join("meta.json"))?)?;
    println!("block {}: {}, {} traces", meta.block_id, meta.format, meta.total_objects);

    // Opening decodes the footer; each call decodes only the columns that it asks for.
    let source = BytesSource::new(std::fs::read(directory.join("data.parquet"))?.into());
    let block = BlockReader::open(Arc::new(source), &facts_of(&meta)?)?;
    let mut first = None;
    for group in 0..block.row_groups().len() {
        let batch = block.read_row_group(group, &Projection::default())?;
        println!("row group {group}: {} spans of {} traces", batch.len(), batch.traces.ids.len());
        first = first.or(batch.traces.ids.first().copied());
    }

    let wanted = match arguments.next() {
        Some(text) => Some(TraceId::from_hex(&text).ok_or("a trace id has up to 32 digits")?),
        None => first,
    };
    let Some(id) = wanted else { return Ok(()) };
    let Some(trace) = block.read_trace(id)? else { return Err("no such trace".into()) };
    println!("trace {}", id.to_hex());
    let key = trace.strings.find(b"service.name");
    for span in 0..trace.len() {
        let resource = trace.spans.resource[span] as usize;
        let service = trace.service_name(resource, key);
        let name = trace.strings.display(trace.spans.name[span]);
        let millis = trace.spans.duration[span] as f64 / 1e6;
        println!("  {} {name} {millis:.3} ms", trace.strings.display(service));
    }
    Ok(())
}
