//! Writes the traces of a block as a vParquet3 block, for tests: this product reads that version but never writes it.
//!
//! `write_v3_block SOURCE DESTINATION [BLOCK_ID]`: `SOURCE` is the directory of a block (of any version that is
//! read), `DESTINATION` the root of a local backend, in which the block becomes `<tenant>/<BLOCK_ID>`. Prints that
//! directory. What vParquet3 cannot keep is lost: dropped counts of resources and scopes, attributes of scopes, bytes.
#![expect(clippy::print_stdout, reason = "a program for the command line")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use tactus_block::read::{BlockReader, BytesSource, facts_of};
use tactus_model::{Projection, SpanBatch};
use tactus_storage::BlockMeta;
use tactus_storage::bloom::BlockBloom;
use tactus_storage::index::RowGroupIndex;
use tactus_storage::layout::{block_prefix, bloom_name, parse_block_id};
use tactus_storage::meta::{BlockVersion, filter_for_vparquet4};

#[path = "../tests/support/vparquet3.rs"]
mod vparquet3;

const DEFAULT_ID: &str = "33333333-3333-4333-8333-333333333333";
const BLOOM_SHARD_BYTES: u32 = 100 * 1024;
/// String columns of a scope.
const SLOTS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (source, destination, id) = match arguments.as_slice() {
        [source, destination] => (source, destination, DEFAULT_ID),
        [source, destination, id] => (source, destination, id.as_str()),
        _ => return Err("usage: write_v3_block SOURCE DESTINATION [BLOCK_ID]".into()),
    };
    let id = parse_block_id(id).ok_or("the block id is no UUID")?;
    let source = Path::new(source);
    let meta = BlockMeta::from_json(&std::fs::read(source.join("meta.json"))?)?;
    let batches = read(&source.join("data.parquet"), &meta)?;

    let mut settings = vparquet3::Settings::default();
    for column in filter_for_vparquet4(&meta.dedicated_columns) {
        let of_scope =
            settings.dedicated_columns.iter().filter(|known| known.scope == column.scope);
        if of_scope.count() < SLOTS {
            settings.dedicated_columns.push(column);
        }
    }
    let data = vparquet3::write(&batches, &settings);
    let mut bloom = BlockBloom::new(0.01, BLOOM_SHARD_BYTES, meta.total_objects.max(1))?;
    batches.iter().flat_map(|batch| batch.traces.ids.iter()).for_each(|id| bloom.add(&id.0));
    let last_ids = batches.iter().filter_map(|batch| batch.traces.ids.last()).map(|id| id.0);

    let (_, tail) = data.split_at(data.len() - 8);
    let meta = BlockMeta {
        format: BlockVersion::VParquet3.as_str().to_owned(),
        block_id: id,
        size: data.len() as u64,
        footer_size: u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]),
        total_records: batches.len() as u32,
        bloom_shards: bloom.shard_count(),
        dedicated_columns: settings.dedicated_columns.into(),
        extension: None,
        ..meta
    };
    let directory = Path::new(destination).join(block_prefix(&meta.tenant_id, id));
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("data.parquet"), &data)?;
    for (shard, bytes) in (0..).zip(bloom.encode()) {
        std::fs::write(directory.join(bloom_name(shard)), bytes)?;
    }
    std::fs::write(directory.join("index"), RowGroupIndex::new(last_ids.collect()).encode())?;
    std::fs::write(directory.join("meta.json"), meta.to_json())?;
    println!("{}", directory.display());
    Ok(())
}

fn read(data: &Path, meta: &BlockMeta) -> Result<Vec<SpanBatch>, Box<dyn Error>> {
    let source = Arc::new(BytesSource::new(std::fs::read(data)?.into()));
    let reader = BlockReader::open(source, &facts_of(meta)?)?;
    let groups = 0..reader.row_groups().len();
    Ok(groups
        .map(|group| reader.read_row_group(group, &Projection::all()))
        .collect::<Result<_, _>>()?)
}
