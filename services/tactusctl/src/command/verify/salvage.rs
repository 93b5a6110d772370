//! Writes the readable traces of a block into a new block.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use tactus_block::read::BlockReader;
use tactus_block::{BlockBuilder, BuiltBlock};
use tactus_model::merge::{gather_traces, merge};
use tactus_model::{OriginSet, Projection, SpanBatch, TraceId};
use tactus_storage::block_io::{BlockFiles, ObjectSource, mark_compacted, write_block};
use tactus_storage::layout::{DATA, NO_COMPACT, block_key};
use tactus_storage::meta::Extension;
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tokio::runtime::Handle;

use super::block::{read_data, set_aside};
use super::{is_transient, windows};
use crate::building;
use crate::error::{Error, Result};

/// Approximate bytes before compression that are decoded at a time. This is also the size of the new row groups.
const WINDOW_BYTES: u64 = 100 << 20;

/// Writes the readable traces of a damaged block into a new block, and then hides the old one from readers. Nothing readable is
/// lost, because the old block stays until the new one exists.
///
/// Returns what was done. Errors: those of the bucket; also a new block that cannot be made.
pub(super) async fn run(bucket: &Bucket, meta: &Arc<BlockMeta>, size: u64) -> Result<String> {
    let (tenant, old, id) = (meta.tenant_id.as_str(), meta.block_id, Uuid::new_v4());
    let (target, key) = (bucket.clone(), block_key(tenant, id, DATA));
    let save = move |meta: &BlockMeta, reader: &BlockReader| -> tactus_block::Result<_> {
        let sink = target.writer(&key, size, &Handle::current())?;
        let (built, lost) = save(meta, reader, sink)?;
        let extension = extension(meta, lost);
        let mut new = BlockMeta {
            block_id: id,
            extension: (!extension.is_empty()).then(|| Box::new(extension)),
            ..meta.clone()
        };
        built.describe(&mut new);
        let BuiltBlock { sink, summary, blooms, index, summary_file, .. } = built;
        if summary.traces == 0 {
            sink.abort();
        } else {
            sink.finish()?;
        }
        let files = BlockFiles {
            data: ObjectSource::Written(summary.size),
            blooms: blooms.into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(index)),
            summary: Some(ObjectSource::Bytes(summary_file.bytes)),
            no_compact: false,
        };
        Ok((new, files, lost))
    };
    let saved = read_data(bucket, meta, size, save).await?;
    let (new, mut files, lost) = saved.map_err(|error| Error::block(old, error))?;
    if new.total_objects == 0 {
        set_aside(bucket, meta).await?;
        return Ok("no trace can be read: the block is set aside".to_owned());
    }
    files.no_compact = bucket.head(&block_key(tenant, old, NO_COMPACT)).await.is_ok();
    write_block(bucket, &new, &files).await?;
    if lost == 0 {
        mark_compacted(bucket, tenant, old).await?;
        return Ok(format!("written anew as block {id}; this one is marked compacted"));
    }
    set_aside(bucket, meta).await?;
    Ok(format!(
        "{} traces saved in block {id}; {lost} cannot be read and stay in this one, which is set aside",
        new.total_objects
    ))
}

/// The extension of the block in which all but `lost` traces of a block are saved.
fn extension(meta: &BlockMeta, lost: u64) -> Extension {
    let mut extension = meta.extension.as_deref().cloned().unwrap_or_default();
    if lost == 0 {
        // After its next poll, a running server leaves out the old block.
        extension.sources.push(meta.block_id);
        return extension;
    }
    // Sources are deleted, but only they have the lost traces. The old block is hidden by its version.
    extension.sources.clear();
    extension.incomplete_origins.unite(&std::mem::take(&mut extension.origins));
    extension.thinned_origins = OriginSet::new();
    extension
}

/// Writes what can be read to a sink; also returns how many traces cannot.
fn save<W: Write + Send>(
    meta: &BlockMeta,
    reader: &BlockReader,
    sink: W,
) -> tactus_block::Result<(BuiltBlock<W>, u64)> {
    let settings = building::settings(meta.version()?, &meta.dedicated_columns);
    let traces = reader.row_groups().iter().map(|group| group.traces).sum();
    let mut builder = BlockBuilder::new(sink, &settings, traces)?;
    let (mut windows, mut lost) = read_windows(reader)?;
    for overlapping in overlaps(&mut windows) {
        lost += write(reader, overlapping, &mut builder)?;
    }
    Ok((builder.finish()?, lost))
}

/// Rows that are decoded together.
struct Window {
    group: usize,
    rows: Range<u64>,
    /// Those that can be read, sorted.
    ids: Vec<TraceId>,
}

/// The windows of a block that have traces, and the number of traces in the others.
fn read_windows(reader: &BlockReader) -> tactus_block::Result<(Vec<Window>, u64)> {
    let (mut found, mut lost) = (Vec::new(), 0);
    for (group, facts) in reader.row_groups().iter().enumerate() {
        for rows in windows(facts, WINDOW_BYTES) {
            let mut batches = Vec::new();
            let unreadable =
                read_good(reader, group, rows.clone(), &Projection::default(), &mut batches)?;
            let mut ids: Vec<_> =
                batches.iter().flat_map(|batch| batch.traces.ids.iter().copied()).collect();
            ids.sort_unstable();
            match ids.is_empty() {
                true => lost += unreadable,
                false => found.push(Window { group, rows, ids }),
            }
        }
    }
    Ok((found, lost))
}

/// The windows in order of id. Those whose ids overlap, because the block is not in order, are together.
fn overlaps(windows: &mut [Window]) -> impl Iterator<Item = &[Window]> {
    windows.sort_by_key(|window| window.ids[0]);
    let mut last = TraceId::default();
    windows.chunk_by(move |window, next| {
        last = last.max(window.ids[window.ids.len() - 1]);
        next.ids[0] <= last
    })
}

/// Writes windows whose ids overlap, as so many row groups. Windows are decoded again for each row group that has traces of
/// theirs, so that only one is in memory. Returns how many traces cannot be read.
fn write<W: Write + Send>(
    reader: &BlockReader,
    overlapping: &[Window],
    builder: &mut BlockBuilder<W>,
) -> tactus_block::Result<u64> {
    let mut ids: Vec<_> = overlapping.iter().flat_map(|window| &window.ids).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut lost = vec![0; overlapping.len()];
    for ids in ids.chunks(ids.len().div_ceil(overlapping.len())) {
        let range = ids[0]..=ids[ids.len() - 1];
        let mut parts = Vec::new();
        for (window, lost) in overlapping.iter().zip(&mut lost) {
            if window.ids.iter().any(|id| range.contains(id)) {
                let mut batches = Vec::new();
                let rows = window.rows.clone();
                *lost = read_good(reader, window.group, rows, &Projection::all(), &mut batches)?;
                let inputs: Vec<_> = batches.iter().collect();
                parts.push(gather_traces(&inputs, |id| range.contains(&id)));
            }
        }
        let batch = match parts.len() {
            1 => parts.remove(0),
            _ => merge(&parts.iter().collect::<Vec<_>>()).0,
        };
        if !batch.is_empty() {
            builder.write_row_group(&batch)?;
        }
    }
    Ok(lost.into_iter().sum())
}

/// Reads the traces of some rows that can be read; returns how many cannot.
fn read_good(
    reader: &BlockReader,
    group: usize,
    rows: Range<u64>,
    projection: &Projection,
    good: &mut Vec<SpanBatch>,
) -> tactus_block::Result<u64> {
    let mut lost = 0;
    let mut open = vec![rows];
    while let Some(rows) = open.pop() {
        match reader.read_rows(group, rows.clone(), projection) {
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

#[cfg(test)]
mod tests {
    use tactus_block::read::{BlockFacts, BytesSource, facts_of};
    use tactus_storage::block_io::{list_blocks, read_meta};
    use tactus_storage::layout::META;

    use super::*;
    use crate::testing::{TENANT, copy};

    fn open(meta: &BlockMeta, data: Vec<u8>) -> BlockReader {
        let facts =
            BlockFacts { size: data.len() as u64, footer_size: 0, ..facts_of(meta).unwrap() };
        let source = Arc::new(BytesSource::new(data.into()));
        BlockReader::open(source, &facts).unwrap().without_checksums()
    }

    fn ids(reader: &BlockReader) -> Vec<TraceId> {
        let groups = 0..reader.row_groups().len();
        let read = |group| reader.read_row_group(group, &Projection::default()).unwrap();
        groups.flat_map(|group| read(group).traces.ids.to_vec()).collect()
    }

    /// The data of a block with other trace ids in place of its own, none of which is compressed.
    fn exchanged(data: &[u8], ids: &[TraceId], others: &[TraceId]) -> Vec<u8> {
        let mut changed = data.to_vec();
        for (at, bytes) in data.windows(16).enumerate() {
            if let Some(number) = ids.iter().position(|id| id.0 == bytes) {
                changed[at..at + 16].copy_from_slice(&others[number].0);
            }
        }
        changed
    }

    #[test]
    fn traces_that_are_not_in_order_are_written_in_order() {
        for version in ["vParquet4", "vParquet5"] {
            let directory = tempfile::tempdir().unwrap();
            copy(version, directory.path());
            let mut blocks = std::fs::read_dir(directory.path().join(TENANT)).unwrap();
            let block = blocks.next().unwrap().unwrap().path();
            let meta = BlockMeta::from_json(&std::fs::read(block.join(META)).unwrap()).unwrap();
            let data = std::fs::read(block.join(DATA)).unwrap();
            let sorted = ids(&open(&meta, data.clone()));
            assert!(sorted.len() == 64 && sorted.is_sorted());
            let opposite: Vec<_> = sorted.iter().rev().copied().collect();
            // The row groups of the others overlap: some of them, or each with all.
            let halves = [&sorted[32..], &sorted[..32]].concat();
            let mixed: Vec<_> = (0..64).map(|at| sorted[at % 2 * 32 + at / 2]).collect();
            for order in [sorted.clone(), opposite, halves, mixed] {
                let reader = open(&meta, exchanged(&data, &sorted, &order));
                assert_eq!(ids(&reader), order);
                let (built, lost) = save(&meta, &reader, Vec::new()).unwrap();
                assert_eq!((lost, built.summary.traces), (0, 64));
                let mut new = meta.clone();
                built.describe(&mut new);
                let written = open(&new, built.sink);
                assert_eq!(ids(&written), sorted);
                assert_eq!(written.row_groups().len(), reader.row_groups().len());
            }
        }
    }

    #[test]
    fn block_that_lacks_traces_replaces_no_other() {
        let mut meta = BlockMeta { block_id: Uuid::from_u128(2), ..BlockMeta::default() };
        meta.extension = Some(Box::new(Extension {
            sources: vec![Uuid::from_u128(1)],
            origins: OriginSet::from_bounds(&[1, 5]).unwrap(),
            incomplete_origins: OriginSet::from_bounds(&[9, 9]).unwrap(),
            ..Extension::default()
        }));
        let whole = extension(&meta, 0);
        assert_eq!(whole.sources, [1, 2].map(Uuid::from_u128));
        assert_eq!(whole.origins.bounds(), [1, 5]);
        let part = extension(&meta, 3);
        assert!(part.sources.is_empty() && part.origins.is_empty());
        assert_eq!(part.incomplete_origins.bounds(), [1, 5, 9, 9]);
    }

    #[tokio::test]
    async fn readable_block_is_written_anew_without_loss() {
        for version in ["vParquet4", "vParquet5"] {
            let directory = tempfile::tempdir().unwrap();
            let bucket = copy(version, directory.path());
            let old = list_blocks(&bucket, TENANT, 1).await.unwrap().live[0];
            let meta = Arc::new(read_meta(&bucket, TENANT, old).await.unwrap());
            let done = run(&bucket, &meta, meta.size).await.unwrap();
            assert!(done.contains("marked compacted"), "{done}");
            let listed = list_blocks(&bucket, TENANT, 1).await.unwrap();
            assert_eq!((listed.live.len(), listed.compacted.len()), (1, 1));
            let new = read_meta(&bucket, TENANT, listed.live[0]).await.unwrap();
            assert_eq!(new.sources(), [old]);
            assert_eq!((new.total_objects, &new.format), (64, &meta.format));
            assert_eq!(new.dedicated_columns, meta.dedicated_columns);
        }
    }
}
