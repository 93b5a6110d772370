//! Repairs blocks from their data.

use std::sync::Arc;

use bytes::Bytes;
use tactus_block::read::BlockReader;
use tactus_model::{Projection, span_end};
use tactus_storage::bloom::BlockBloom;
use tactus_storage::index::RowGroupIndex;
use tactus_storage::layout::{DATA, INDEX, META, block_key, bloom_key};
use tactus_storage::{BlockMeta, Bucket};

use super::block::{SET_ASIDE, read_data, set_aside};
use super::finding::{Check, Finding, Problem, Severity};
use super::salvage;
use super::tenant::ListedTenant;
use crate::building;
use crate::error::Result;

/// Repairs a block as far as possible, and notes in its findings what was done. False if nothing was changed.
pub(super) async fn block(
    bucket: &Bucket,
    check: &mut Check,
    listed: &ListedTenant,
) -> Result<bool> {
    let damaged = |finding: &Finding| finding.severity == Severity::Damage;
    if !check.findings.iter().any(damaged) {
        return Ok(false);
    }
    if check.is_live {
        // The check may be hours ago. A block that was compacted or deleted since must not come back.
        check.settle(bucket, &listed.name, Ok(())).await?;
        if check.findings.is_empty() {
            return Ok(false);
        }
    }
    let files = listed.blocks.get(&check.id);
    let size = files.and_then(|block| block.files.get(DATA)).map(|(size, _)| *size);
    let indexed = listed.indexed(bucket, check.id).await?;
    let Some(meta) = check.meta.as_ref().or(indexed).map(Arc::clone) else {
        // Without a meta, it is unknown which attributes the dedicated columns hold.
        return Ok(false);
    };
    // Readers look for a trace in the shard that follows from the number in their meta, which is that of the tenant index.
    let shards = indexed.unwrap_or(&meta).bloom_shard_count();
    let done = match size {
        _ if check.findings.iter().any(is_lost) => hide(bucket, &meta, check).await?,
        None => None,
        Some(size) if needs_new_block(check) => Some(salvage::run(bucket, &meta, size).await?),
        Some(size) => rebuild(bucket, &meta, size, check, shards).await?,
    };
    let Some(done) = done else { return Ok(false) };
    for finding in check.findings.iter_mut().filter(|finding| damaged(finding)) {
        finding.repair = Some(done.clone());
    }
    Ok(true)
}

fn is_lost(finding: &Finding) -> bool {
    matches!(finding.problem, Problem::DataMissing | Problem::DataUnreadable)
}

/// Sets aside a block whose data is still missing or cannot be opened. What somebody restored since the check must not be hidden.
async fn hide(bucket: &Bucket, meta: &Arc<BlockMeta>, check: &mut Check) -> Result<Option<String>> {
    let is_readable = match bucket.head(&block_key(&meta.tenant_id, check.id, DATA)).await {
        Ok(data) => read_data(bucket, meta, data.size, |_, _| Ok(())).await?.is_ok(),
        Err(error) if error.is_not_found() || error.is_corrupt() => false,
        Err(error) => return Err(error.into()),
    };
    if is_readable {
        for finding in check.findings.iter_mut().filter(|finding| is_lost(finding)) {
            finding.what.push_str("; it can be read now: verify it again");
        }
        return Ok(None);
    }
    set_aside(bucket, meta).await?;
    Ok(Some(format!("set aside: its version is {}{SET_ASIDE} now", meta.format)))
}

fn needs_new_block(check: &Check) -> bool {
    [Problem::DataDamaged, Problem::Order, Problem::Tree].iter().any(|&problem| check.has(problem))
}

/// The other files of a block, made from its data.
struct Rebuilt {
    meta: BlockMeta,
    /// Empty if the existing ones stay.
    blooms: Vec<Bytes>,
    index: Bytes,
}

/// Writes the files that are wrong: first filters and index, last the meta that describes them.
async fn rebuild(
    bucket: &Bucket,
    meta: &Arc<BlockMeta>,
    size: u64,
    check: &Check,
    shards: u32,
) -> Result<Option<String>> {
    // Sound filters stay: other shards would hide traces from processes that keep the meta that they have read.
    let shards = check.has(Problem::Bloom).then_some(shards);
    let times = check.has_damage(Problem::Times);
    let make =
        move |meta: &BlockMeta, reader: &BlockReader| make(meta, reader, size, shards, times);
    // If not even the ids can be read, nothing is written. A deep check finds the reason.
    let Ok(made) = read_data(bucket, meta, size, make).await? else { return Ok(None) };
    let (tenant, id) = (&meta.tenant_id, check.id);
    let mut written = Vec::new();
    if !made.blooms.is_empty() {
        for (shard, bytes) in (0..).zip(made.blooms) {
            bucket.put(&bloom_key(tenant, id, shard), bytes).await?;
        }
        written.push("bloom filters (queriers and shared caches of role bloom keep the old ones: restart and empty them)");
    }
    if check.has(Problem::Index) {
        bucket.put(&block_key(tenant, id, INDEX), made.index).await?;
        written.push("index");
    }
    if check.meta.as_deref() != Some(&made.meta) {
        bucket.put(&block_key(tenant, id, META), made.meta.to_json().into()).await?;
        written.push("meta");
    }
    Ok((!written.is_empty()).then(|| format!("{} written anew", written.join(", "))))
}

/// `shards`: of the bloom filters, if they are made as well.
fn make(
    meta: &BlockMeta,
    reader: &BlockReader,
    size: u64,
    shards: Option<u32>,
    times: bool,
) -> tactus_block::Result<Rebuilt> {
    let groups = reader.row_groups();
    let traces: u64 = groups.iter().map(|group| group.traces).sum();
    let mut bloom = shards.map(|shards| building::bloom(shards, traces)).transpose()?;
    let mut last_ids = Vec::with_capacity(groups.len());
    let (mut start, mut end) = (u64::MAX, 0);
    let projection = Projection { start: times, duration: times, ..Projection::default() };
    for group in 0..groups.len() {
        let batch = reader.read_row_group(group, &projection)?;
        let ids = batch.traces.ids.as_slice();
        if let Some(bloom) = &mut bloom {
            ids.iter().for_each(|id| bloom.add(&id.0));
        }
        last_ids.extend(ids.last().map(|id| id.0));
        for (&from, &duration) in batch.spans.start.iter().zip(batch.spans.duration.iter()) {
            start = if from > 0 { start.min(from) } else { start };
            end = end.max(span_end(from, duration));
        }
    }
    let mut meta = meta.clone();
    meta.size = size;
    meta.footer_size = u32::try_from(reader.footer_bytes()).unwrap_or(0);
    meta.total_records = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    meta.total_objects = traces;
    meta.bloom_shards = bloom.as_ref().map_or(meta.bloom_shards, BlockBloom::shard_count);
    if times && start <= end {
        meta.set_time_range_unix_nanos(start, end);
    }
    let blooms = bloom.map(|bloom| bloom.encode()).unwrap_or_default();
    Ok(Rebuilt { meta, blooms, index: RowGroupIndex::new(last_ids).encode().into() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tactus_block::BlockBuilder;
    use tactus_block::read::open_stored;
    use tactus_storage::Uuid;
    use tactus_storage::block_io::{
        BlockFiles, ObjectSource, clear_block, list_blocks, mark_compacted, read_meta, write_block,
    };
    use tactus_storage::layout::bloom_name;
    use tokio::runtime::Handle;

    use super::super::block::check;
    use super::*;
    use crate::progress;
    use crate::testing::{TENANT, copy};

    async fn checked(bucket: &Bucket) -> (ListedTenant, Check) {
        let listed = ListedTenant::list(bucket, TENANT, None).await.unwrap();
        let (&id, files) = listed.blocks.first_key_value().unwrap();
        let bar = progress::bar("checking blocks", 0);
        let found = check(bucket, &listed, id, files, false, &bar).await.unwrap();
        (listed, found)
    }

    /// A bucket with the block of a sample as we write it, which has a summary.
    async fn own_block(path: &Path) -> (Bucket, BlockMeta) {
        let bucket = copy("vParquet4", path);
        let sample = list_blocks(&bucket, TENANT, 1).await.unwrap().live[0];
        let meta = read_meta(&bucket, TENANT, sample).await.unwrap();
        let reader = open_stored(&bucket, &meta, &Handle::current()).unwrap();
        let settings = building::settings(meta.version().unwrap(), &meta.dedicated_columns);
        let mut builder = BlockBuilder::new(Vec::new(), &settings, meta.total_objects).unwrap();
        for group in 0..reader.row_groups().len() {
            let batch = reader.read_row_group(group, &Projection::all()).unwrap();
            builder.write_row_group(&batch).unwrap();
        }
        let built = builder.finish().unwrap();
        let mut own = BlockMeta { block_id: Uuid::from_u128(9), ..meta };
        built.describe(&mut own);
        let files = BlockFiles {
            data: ObjectSource::Bytes(built.sink.into()),
            blooms: built.blooms.into_iter().map(ObjectSource::Bytes).collect(),
            index: Some(ObjectSource::Bytes(built.index)),
            summary: Some(ObjectSource::Bytes(built.summary_file.bytes)),
            no_compact: false,
        };
        write_block(&bucket, &own, &files).await.unwrap();
        clear_block(&bucket, TENANT, sample).await.unwrap();
        (bucket, own)
    }

    #[tokio::test]
    async fn block_with_a_damaged_footer_is_written_anew_with_all_attributes() {
        let directory = tempfile::tempdir().unwrap();
        let (bucket, meta) = own_block(directory.path()).await;
        let attributes = |meta: &BlockMeta| {
            let reader = open_stored(&bucket, meta, &Handle::current()).unwrap();
            let batches = 0..reader.row_groups().len();
            let batches =
                batches.map(|group| reader.read_row_group(group, &Projection::all()).unwrap());
            batches.map(|batch| batch.span_attributes.len()).sum::<usize>()
        };
        let expected = attributes(&meta);
        assert!(checked(&bucket).await.1.findings.is_empty());
        let path = bucket.local_path(&block_key(TENANT, meta.block_id, DATA)).unwrap();
        let mut data = std::fs::read(&path).unwrap();
        let footer = data.len() - 8 - meta.footer_size as usize;
        let names = data.windows(5).enumerate().skip(footer);
        let names = names.filter(|(_, found)| **found == *b"Attrs").map(|(at, _)| at);
        for at in names.collect::<Vec<_>>() {
            data[at] ^= 4;
        }
        std::fs::write(&path, data).unwrap();
        let (listed, mut found) = checked(&bucket).await;
        assert!(found.has(Problem::DataDamaged), "{found:?}");
        assert!(block(&bucket, &mut found, &listed).await.unwrap());
        let live = list_blocks(&bucket, TENANT, 1).await.unwrap().live;
        assert!(live.len() == 1 && live[0] != meta.block_id, "{live:?}");
        let repaired = read_meta(&bucket, TENANT, live[0]).await.unwrap();
        assert_eq!(attributes(&repaired), expected);
    }

    #[tokio::test]
    async fn block_whose_data_was_restored_after_the_check_is_not_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let id = list_blocks(&bucket, TENANT, 1).await.unwrap().live[0];
        let path = bucket.local_path(&block_key(TENANT, id, DATA)).unwrap();
        let data = std::fs::read(&path).unwrap();
        for (damaged, problem) in
            [(None, Problem::DataMissing), (Some(&data[..1000]), Problem::DataUnreadable)]
        {
            match damaged {
                None => std::fs::remove_file(&path).unwrap(),
                Some(part) => std::fs::write(&path, part).unwrap(),
            }
            let (listed, mut found) = checked(&bucket).await;
            assert!(found.has(problem), "{found:?}");
            std::fs::write(&path, &data).unwrap();
            assert!(!block(&bucket, &mut found, &listed).await.unwrap());
            assert!(found.findings.iter().all(|finding| finding.repair.is_none()), "{found:?}");
            assert_eq!(read_meta(&bucket, TENANT, id).await.unwrap().format, "vParquet4");
        }
        std::fs::remove_file(&path).unwrap();
        let (listed, mut found) = checked(&bucket).await;
        assert!(block(&bucket, &mut found, &listed).await.unwrap());
        let format = read_meta(&bucket, TENANT, id).await.unwrap().format;
        assert_eq!(format, format!("vParquet4{SET_ASIDE}"));
    }

    #[tokio::test]
    async fn block_that_was_compacted_after_the_check_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let id = list_blocks(&bucket, TENANT, 1).await.unwrap().live[0];
        let mut meta = read_meta(&bucket, TENANT, id).await.unwrap();
        meta.total_objects -= 1;
        bucket.put(&block_key(TENANT, id, META), meta.to_json().into()).await.unwrap();
        bucket.delete(&block_key(TENANT, id, &bloom_name(0))).await.unwrap();
        let (listed, mut found) = checked(&bucket).await;
        assert_eq!(found.findings.len(), 2, "{found:?}");
        mark_compacted(&bucket, TENANT, id).await.unwrap();
        assert!(!block(&bucket, &mut found, &listed).await.unwrap());
        assert!(found.findings.is_empty(), "{found:?}");
        assert!(list_blocks(&bucket, TENANT, 1).await.unwrap().live.is_empty());
    }
}
