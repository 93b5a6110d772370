//! Writes what can be read of a block into a new one.

use std::ops::Range;
use std::sync::Arc;

use tactus_block::read::{BlockFacts, BlockReader, facts_of};
use tactus_block::{BlockBuilder, BuilderSettings, BuiltBlock, WriterSettings};
use tactus_model::merge::merge;
use tactus_model::{Projection, SpanBatch};
use tactus_storage::block_io::{BlockFiles, ObjectSource, mark_compacted, write_block};
use tactus_storage::layout::NO_COMPACT;
use tactus_storage::meta::{BlockVersion, Extension, filter_for_vparquet4};
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tempfile::NamedTempFile;

use super::block::open;
use super::repair::{BLOOM_FALSE_POSITIVE, BLOOM_SHARD_BYTES, set_aside};
use super::tenant_index::is_transient;
use crate::error::{Error, Result};

/// Bytes before compression that are decoded at a time, about: the size of the new row groups.
const WINDOW_BYTES: u64 = 100 << 20;

/// Makes a new block of the readable traces of a damaged one, and then takes that away from readers. Nothing is lost
/// that could be read: until the new block is there, the old one is.
///
/// Says what was done; `None` if a new block cannot be made.
pub(super) async fn run(
    bucket: &Bucket,
    meta: &Arc<BlockMeta>,
    size: u64,
) -> Result<Option<String>> {
    let (tenant, old) = (meta.tenant_id.as_str(), meta.block_id);
    let Ok(facts) = facts_of(meta) else { return Ok(None) };
    let facts = BlockFacts { size, ..facts };
    let (opened, described) = (bucket.clone(), Arc::clone(meta));
    let saved = tokio::task::spawn_blocking(move || {
        let reader = open(&opened, &described, &facts)?;
        save(&described, &reader)
    });
    let saved = match saved.await.map_err(Error::thread)? {
        Ok(saved) => saved,
        Err(error) if is_transient(&error) => return Err(Error::block(old, error)),
        Err(_) => return Ok(None),
    };
    let Saved { built, file, lost } = saved;
    if built.summary.traces == 0 {
        set_aside(bucket, tenant, old).await?;
        return Ok(Some("no trace can be read: the block is set aside".to_owned()));
    }
    let mut sources = meta.sources().to_vec();
    sources.push(old);
    let extension = Extension { sources, ..meta.extension.as_deref().cloned().unwrap_or_default() };
    let mut new = BlockMeta {
        block_id: Uuid::new_v4(),
        extension: Some(Box::new(extension)),
        ..meta.as_ref().clone()
    };
    built.describe(&mut new);
    let no_compact = tactus_storage::layout::block_key(tenant, old, NO_COMPACT);
    let files = BlockFiles {
        data: ObjectSource::File(file.path().to_owned()),
        blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
        index: Some(ObjectSource::Bytes(built.index)),
        no_compact: bucket.head(&no_compact).await.is_ok(),
    };
    write_block(bucket, &new, &files).await?;
    let (id, traces) = (new.block_id, built.summary.traces);
    if lost == 0 {
        mark_compacted(bucket, tenant, old).await?;
        return Ok(Some(format!("written anew as block {id}; this one is marked compacted")));
    }
    set_aside(bucket, tenant, old).await?;
    Ok(Some(format!(
        "{traces} traces saved in block {id}; {lost} cannot be read and stay in this one, which is set aside"
    )))
}

struct Saved {
    built: BuiltBlock<std::fs::File>,
    file: NamedTempFile,
    lost: u64,
}

fn save(meta: &BlockMeta, reader: &BlockReader) -> tactus_block::Result<Saved> {
    let file = NamedTempFile::new()?;
    let version = match meta.version()? {
        // Read only.
        BlockVersion::VParquet3 => BlockVersion::VParquet4,
        version => version,
    };
    let columns = &meta.dedicated_columns;
    let dedicated_columns = match version {
        BlockVersion::VParquet5 => columns.to_vec(),
        _ => filter_for_vparquet4(columns),
    };
    let settings = BuilderSettings {
        writer: WriterSettings { version, dedicated_columns, ..WriterSettings::default() },
        bloom_false_positive: BLOOM_FALSE_POSITIVE,
        bloom_shard_bytes: BLOOM_SHARD_BYTES,
    };
    let traces = reader.row_groups().iter().map(|group| group.traces).sum();
    let mut builder = BlockBuilder::new(file.reopen()?, &settings, traces)?;
    let mut lost = 0;
    for (number, group) in reader.row_groups().iter().enumerate() {
        let windows = group.uncompressed_bytes.div_ceil(WINDOW_BYTES).clamp(1, group.traces.max(1));
        let step = group.traces.div_ceil(windows).max(1);
        let mut from = 0;
        while from < group.traces {
            let to = group.traces.min(from + step);
            let mut batches = Vec::new();
            lost += read_good(reader, number, from..to, &mut batches)?;
            from = to;
            let inputs: Vec<_> = batches.iter().collect();
            let batch = merge(&inputs).0;
            if !batch.is_empty() {
                builder.write_row_group(&batch)?;
            }
        }
    }
    Ok(Saved { built: builder.finish()?, file, lost })
}

/// Reads the traces of some rows that can be read; returns how many cannot.
fn read_good(
    reader: &BlockReader,
    group: usize,
    rows: Range<u64>,
    good: &mut Vec<SpanBatch>,
) -> tactus_block::Result<u64> {
    let mut lost = 0;
    let mut open = vec![rows];
    while let Some(rows) = open.pop() {
        match reader.read_rows(group, rows.clone(), &Projection::all()) {
            Ok(batch) => good.push(batch),
            Err(error) if is_transient(&error) => return Err(error),
            Err(_) if rows.end - rows.start == 1 => lost += 1,
            Err(_) => {
                let middle = rows.start + (rows.end - rows.start) / 2;
                open.extend([middle..rows.end, rows.start..middle]);
            }
        }
    }
    Ok(lost)
}
