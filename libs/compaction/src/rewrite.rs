//! Rewrites blocks of a bucket into a new block of the bucket.

use std::future::Future;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use tactus_model::OriginSet;
use tactus_storage::block_io::{confirm_block, meta_that_fits, missing_file, read_meta};
use tactus_storage::layout::{COMPACTED_META, DATA, INDEX, META, SUMMARY, block_key, bloom_key};
use tactus_storage::meta::{Extension, time_from_unix_nanos};
use tactus_storage::{BlockMeta, Bucket, Uuid};

use crate::{BoxError, Changes, Control, Error, Result, RewriteSettings, RewriteStats};

mod job;
#[cfg(test)]
mod tests;

use job::{Files, Job, Stored};

/// A block whose spans are older than this does not record origins, because no ingester has the spans any more.
const ORIGINS_KEPT_SECONDS: i64 = 24 * 3600;

/// The block to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputBlock {
    /// Its id, from [`output_id`].
    pub id: Uuid,
    /// Its compaction level; `None` for one more than the highest input's.
    pub level: Option<u32>,
    /// The marker of the retention that was applied, for `meta.json`; empty for none.
    pub retention: String,
    /// Do not write it if the changes turn out to have nothing to do in the inputs.
    pub only_if_changed: bool,
}

/// A finished rewrite.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The new block, live in the bucket. `None` if nothing was left.
    pub meta: Option<BlockMeta>,
    /// Nothing was written, because the changes have nothing to do in the inputs.
    pub unchanged: bool,
    /// What was done; all zero if the block had been written before.
    pub stats: RewriteStats,
}

/// The id of the block that a rewrite of these blocks writes. The order of the blocks does not matter.
///
/// Whoever does the same job, again or at the same time, writes the same objects. So `purpose` must distinguish
/// everything that changes the content: use [`fingerprint`].
pub fn output_id(sources: &[Uuid], purpose: &str) -> Uuid {
    let mut sources = sources.to_vec();
    sources.sort_unstable();
    let mut digest = Context::new(&SHA256);
    sources.iter().for_each(|source| digest.update(source.as_bytes()));
    digest.update(purpose.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finish().as_ref()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A text that distinguishes settings and changes with different output, and different versions of this software.
pub fn fingerprint(settings: &RewriteSettings, changes: &Changes) -> String {
    let mut removed: Vec<_> = changes.remove.iter().collect();
    removed.sort_unstable();
    let text = format!(
        "{} {settings:?} {:?} {removed:?} {:?}",
        env!("CARGO_PKG_VERSION"),
        changes.retention,
        changes.redact
    );
    let digest = ring::digest::digest(&SHA256, text.as_bytes());
    tactus_model::bytes_to_hex(&digest.as_ref()[..16])
}

/// Merges blocks of a bucket into a new block of the bucket, and applies `changes`.
///
/// `meta.json` is written last. Until then nobody sees the block, and after an error or a cancellation nobody ever
/// will; objects that were written stay, because another compactor may be writing the same block. `before_commit` is
/// called right before; the caller checks there that it is still responsible for the job, and that the inputs are still
/// live. If somebody has written the block already, it is not written again. The inputs are not changed; once the new
/// block is live, readers ignore them because of its `sources`.
///
/// Errors: `Block` names the input at fault. `MadeBefore` if the new block is marked compacted: nothing is known to have
/// the spans of the inputs, which must stay. `Invalid` for no input, a duplicate one, or inputs of different tenants or
/// replication factors. Dropping the future ends the merge.
pub async fn rewrite_blocks<F, Fut>(
    bucket: &Bucket,
    inputs: &[Arc<BlockMeta>],
    output: OutputBlock,
    settings: RewriteSettings,
    changes: Arc<Changes>,
    control: Arc<dyn Control>,
    before_commit: F,
) -> Result<Rewritten>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let mut inputs = inputs.to_vec();
    // Of duplicate spans, that of the first input is kept. So all compactors must have the same first input.
    inputs.sort_by_key(|meta| meta.block_id);
    check_inputs(&inputs, &output)?;
    let tenant = inputs[0].tenant_id.clone();
    if let Some(made) = find_made(bucket, &tenant, output.id).await? {
        before_commit().await.map_err(Error::Refused)?;
        let meta = Some(made.ok_or(Error::MadeBefore(output.id))?);
        return Ok(Rewritten { meta, unchanged: false, stats: RewriteStats::default() });
    }
    let meta = describe(&inputs, &output);
    let drops_traces = changes.drops_traces();
    let job = Job {
        bucket: bucket.clone(),
        inputs,
        key: block_key(&tenant, output.id, DATA),
        settings,
        changes,
        control,
        only_if_changed: output.only_if_changed,
    };
    let Stored { files, unchanged, stats } = job.run(meta).await?;
    if unchanged {
        return Ok(Rewritten { meta: None, unchanged, stats });
    }
    let Some(Files { mut meta, blooms, index, summary, range }) = files else {
        before_commit().await.map_err(Error::Refused)?;
        return Ok(Rewritten { meta: None, unchanged, stats });
    };
    if drops_traces && let Some((start, end)) = range {
        tighten(&mut meta, start, end);
    }
    for (shard, bloom) in (0..).zip(blooms) {
        bucket.put(&bloom_key(&tenant, output.id, shard), bloom).await?;
    }
    bucket.put(&block_key(&tenant, output.id, INDEX), index).await?;
    bucket.put(&block_key(&tenant, output.id, SUMMARY), summary).await?;
    before_commit().await.map_err(Error::Refused)?;
    bucket.put(&block_key(&tenant, output.id, META), meta_that_fits(&meta).into()).await?;
    if let Err(error) = confirm_block(bucket, &meta).await {
        // It is of this error that the caller has to know.
        let _ = take_back(bucket, &meta).await;
        return Err(error.into());
    }
    Ok(Rewritten { meta: Some(meta), unchanged, stats })
}

/// Deletes the meta of a new block if the bucket does not have the block as it was written, and has all its inputs. The next
/// merge may be one of other blocks, and then nobody would overwrite the meta.
async fn take_back(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    if missing_file(bucket, meta).await?.is_none() {
        return Ok(());
    }
    find_inputs(bucket, meta).await?;
    bucket.delete(&block_key(&meta.tenant_id, meta.block_id, META)).await?;
    put_back_if_needed(bucket, meta).await
}

/// Puts the meta back if not all inputs are live any more: another compactor has made the block whole meanwhile, and now it
/// has their spans.
async fn put_back_if_needed(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    let Err(error) = find_inputs(bucket, meta).await else { return Ok(()) };
    let key = |file| block_key(&meta.tenant_id, meta.block_id, file);
    if !bucket.exists(&key(COMPACTED_META)).await.unwrap_or(false) {
        bucket.put(&key(META), meta_that_fits(meta).into()).await?;
    }
    Err(error)
}

/// Errors: an input is not live, or cannot be read.
async fn find_inputs(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    for &source in meta.sources() {
        read_meta(bucket, &meta.tenant_id, source).await?;
    }
    Ok(())
}

fn check_inputs(sorted: &[Arc<BlockMeta>], output: &OutputBlock) -> Result<()> {
    let Some(first) = sorted.first() else {
        return Err(Error::Invalid("there is no block to rewrite".to_owned()));
    };
    for pair in sorted.windows(2) {
        if pair[0].block_id == pair[1].block_id {
            return Err(Error::Invalid(format!("block {} is given twice", pair[0].block_id)));
        }
    }
    for meta in sorted {
        if meta.tenant_id != first.tenant_id || meta.replication_factor != first.replication_factor
        {
            return Err(Error::Invalid(format!(
                "blocks {} and {} have different tenants or replication factors",
                first.block_id, meta.block_id
            )));
        }
        if meta.block_id == output.id {
            return Err(Error::Invalid(format!("block {} cannot become itself", output.id)));
        }
    }
    Ok(())
}

/// The block, if somebody has written it already; `Some(None)` if it is not live any more.
async fn find_made(bucket: &Bucket, tenant: &str, id: Uuid) -> Result<Option<Option<BlockMeta>>> {
    match read_meta(bucket, tenant, id).await {
        // If the bucket does not have all of it, it is written again, before its sources are deleted.
        Ok(meta) => {
            let missing = missing_file(bucket, &meta).await?;
            return Ok(missing.is_none().then_some(Some(meta)));
        }
        // An invalid meta is overwritten, because only this job has a block with this id.
        Err(error) if error.is_corrupt() => return Ok(None),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    // It was written and marked. If it was merged further, it must not become live again. But if somebody went back to
    // the inputs, no other block has their spans.
    match bucket.head(&block_key(tenant, id, COMPACTED_META)).await {
        Ok(_) => Ok(Some(None)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The meta of the new block, without the fields that describe its files.
fn describe(inputs: &[Arc<BlockMeta>], output: &OutputBlock) -> BlockMeta {
    let first = &inputs[0];
    let mut meta = BlockMeta {
        tenant_id: first.tenant_id.clone(),
        block_id: output.id,
        replication_factor: first.replication_factor,
        start_time: first.start_time,
        end_time: first.end_time,
        ..BlockMeta::default()
    };
    for input in inputs {
        meta.start_time = meta.start_time.min(input.start_time);
        meta.end_time = meta.end_time.max(input.end_time);
        meta.compaction_level = meta.compaction_level.max(input.compaction_level.saturating_add(1));
    }
    meta.compaction_level = output.level.unwrap_or(meta.compaction_level);
    let sources = inputs.iter().map(|input| input.block_id).collect();
    let retention = output.retention.clone();
    let mut extension = Extension { sources, retention, ..Extension::default() };
    for input in inputs {
        extension.cut_traces.unite(input.cut_traces());
    }
    if tactus_clock::unix_seconds() - meta.end_unix_seconds() < ORIGINS_KEPT_SECONDS {
        let mut whole = OriginSet::new();
        for input in inputs {
            let (complete, incomplete) = input.origins();
            extension.origins.unite(complete);
            extension.incomplete_origins.unite(incomplete);
            extension.thinned_origins.unite(input.thinned_origins());
            whole.unite(&complete.without(input.thinned_origins()));
        }
        // Another ingester has everything of what one ingester left out.
        extension.thinned_origins = extension.thinned_origins.without(&whole);
        // What one ingester refused may be complete at another one.
        extension.incomplete_origins = extension.incomplete_origins.without(&extension.origins);
    }
    meta.extension = Some(Box::new(extension));
    meta
}

/// Reduces the time range to what was written, within that of the inputs, because spans with wrong times do not count
/// in it.
fn tighten(meta: &mut BlockMeta, start: u64, end: u64) {
    let start = time_from_unix_nanos(start).max(meta.start_time);
    let end = time_from_unix_nanos(end).min(meta.end_time);
    if start <= end {
        (meta.start_time, meta.end_time) = (start, end);
    }
}
