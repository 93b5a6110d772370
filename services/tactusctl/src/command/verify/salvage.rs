//! Writes the readable traces of a block into a new block.

use std::ops::Range;
use std::sync::Arc;

use tactus_block::read::BlockReader;
use tactus_block::{BlockBuilder, BuiltBlock};
use tactus_model::merge::merge;
use tactus_model::{Projection, SpanBatch};
use tactus_storage::block_io::{BlockFiles, ObjectSource, mark_compacted, write_block};
use tactus_storage::layout::{NO_COMPACT, block_key};
use tactus_storage::meta::Extension;
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tempfile::NamedTempFile;

use super::block::{read_data, set_aside};
use super::{is_transient, windows};
use crate::building;
use crate::error::Result;

/// Approximate bytes before compression that are decoded at a time. This is also the size of the new row groups.
const WINDOW_BYTES: u64 = 100 << 20;

/// Writes the readable traces of a damaged block into a new block, and then hides the old one from readers. Nothing readable is
/// lost, because the old block stays until the new one exists.
///
/// Returns what was done; `None` if a new block cannot be made.
pub(super) async fn run(
    bucket: &Bucket,
    meta: &Arc<BlockMeta>,
    size: u64,
) -> Result<Option<String>> {
    let (tenant, old) = (meta.tenant_id.as_str(), meta.block_id);
    let Some(saved) = read_data(bucket, meta, size, save).await? else { return Ok(None) };
    let Saved { built, file, lost } = saved;
    if built.summary.traces == 0 {
        set_aside(bucket, meta).await?;
        return Ok(Some("no trace can be read: the block is set aside".to_owned()));
    }
    let mut sources = meta.sources().to_vec();
    // After its next poll, a running server leaves out the old block, which has no other readable data.
    sources.push(old);
    let extension = Extension { sources, ..meta.extension.as_deref().cloned().unwrap_or_default() };
    let mut new = BlockMeta {
        block_id: Uuid::new_v4(),
        extension: (!extension.is_empty()).then(|| Box::new(extension)),
        ..meta.as_ref().clone()
    };
    built.describe(&mut new);
    let no_compact = block_key(tenant, old, NO_COMPACT);
    let files = BlockFiles {
        data: ObjectSource::File(file.path().to_owned()),
        blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
        index: Some(ObjectSource::Bytes(built.index)),
        summary: Some(ObjectSource::Bytes(built.summary_file.bytes)),
        no_compact: bucket.head(&no_compact).await.is_ok(),
    };
    write_block(bucket, &new, &files).await?;
    let (id, traces) = (new.block_id, built.summary.traces);
    if lost == 0 {
        mark_compacted(bucket, tenant, old).await?;
        return Ok(Some(format!("written anew as block {id}; this one is marked compacted")));
    }
    set_aside(bucket, meta).await?;
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
    let settings = building::settings(meta.version()?, &meta.dedicated_columns);
    let traces = reader.row_groups().iter().map(|group| group.traces).sum();
    let mut builder = BlockBuilder::new(file.reopen()?, &settings, traces)?;
    let mut lost = 0;
    for (number, group) in reader.row_groups().iter().enumerate() {
        for rows in windows(group, WINDOW_BYTES) {
            let mut batches = Vec::new();
            lost += read_good(reader, number, rows, &mut batches)?;
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tactus_storage::BucketSettings;
    use tactus_storage::block_io::{list_blocks, read_meta};

    use super::*;

    const TENANT: &str = "single-tenant";

    /// A copy of a sample block's store.
    fn copy(version: &str, to: &Path) {
        let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../conformance/blocks")
            .join(version)
            .join(TENANT);
        for block in std::fs::read_dir(samples).unwrap().map(|entry| entry.unwrap().path()) {
            let target = to.join(TENANT).join(block.file_name().unwrap());
            if block.is_dir() {
                std::fs::create_dir_all(&target).unwrap();
                for file in std::fs::read_dir(&block).unwrap().map(|entry| entry.unwrap().path()) {
                    let bytes = std::fs::read(&file).unwrap();
                    std::fs::write(target.join(file.file_name().unwrap()), bytes).unwrap();
                }
            }
        }
    }

    #[tokio::test]
    async fn readable_block_is_written_anew_without_loss() {
        for version in ["vParquet4", "vParquet5"] {
            let directory = tempfile::tempdir().unwrap();
            copy(version, directory.path());
            let path = directory.path().to_owned();
            let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
            let old = list_blocks(&bucket, TENANT, 1).await.unwrap().live[0];
            let meta = Arc::new(read_meta(&bucket, TENANT, old).await.unwrap());
            let done = run(&bucket, &meta, meta.size).await.unwrap().unwrap();
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
