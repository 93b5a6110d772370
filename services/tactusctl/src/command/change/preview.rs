//! Previews a job: applies it to each block, and discards the result.

use std::io;
use std::sync::Arc;

use indicatif::ProgressBar;
use serde::Serialize;
use tactus_block::read::{BlockReader, open_stored};
use tactus_block_lifecycle::jobs::{JobRequest, has_attribute};
use tactus_compaction::{Cancelled, Control, RewriteSettings, RewriteStats, merge_blocks};
use tactus_storage::meta::BlockVersion;
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::{building, progress};

/// A block that would be rewritten.
#[derive(Debug, Serialize)]
pub(super) struct Preview {
    pub(super) block: Uuid,
    /// Traces and spans that would be removed.
    pub(super) traces: u64,
    pub(super) spans: u64,
    /// Attribute values that would be removed or replaced.
    pub(super) values: u64,
    /// Size of the block now.
    pub(super) bytes: u64,
}

/// The blocks that contain something that the job removes, and those that cannot be looked at.
///
/// Errors: the store does not answer.
pub(super) async fn of(
    bucket: &Bucket,
    blocks: &[Arc<BlockMeta>],
    request: &JobRequest,
) -> Result<(Vec<Preview>, Vec<Uuid>)> {
    let bar = progress::bytes(
        "reading blocks",
        blocks.iter().map(|meta| meta.size).fold(0, u64::saturating_add),
    );
    let (mut affected, mut unreadable) = (Vec::new(), Vec::new());
    for meta in blocks {
        if meta.version().is_err() {
            unreadable.push(meta.block_id);
        } else if meta.size > 0 {
            let (bucket, shared, request) = (bucket.clone(), Arc::clone(meta), request.clone());
            let bar = bar.clone();
            let tried =
                tokio::task::spawn_blocking(move || try_on(&bucket, &shared, &request, &bar));
            match tried.await.map_err(Error::thread)? {
                Ok(stats) if stats.traces_removed + stats.values_redacted > 0 => {
                    affected.push(Preview {
                        block: meta.block_id,
                        traces: stats.traces_removed,
                        spans: stats.spans_removed,
                        values: stats.values_redacted,
                        bytes: meta.size,
                    });
                }
                Ok(_) => {}
                Err(error) if error.is_retryable() => return Err(error),
                Err(_) => unreadable.push(meta.block_id),
            }
        }
        bar.inc(meta.size);
    }
    bar.finish_and_clear();
    Ok((affected, unreadable))
}

fn try_on(
    bucket: &Bucket,
    meta: &BlockMeta,
    request: &JobRequest,
    bar: &ProgressBar,
) -> Result<RewriteStats> {
    let failed = |error| Error::block(meta.block_id, error);
    let block = open_stored(bucket, meta, &Handle::current()).map_err(failed)?;
    if !may_have(&block, request).map_err(failed)? {
        return Ok(RewriteStats::default());
    }
    let settings = RewriteSettings::new(building::settings(BlockVersion::VParquet4, &[]));
    let changes = request.changes().map_err(Error::Job)?;
    let control = Alive(bar);
    Ok(merge_blocks(&[block], io::sink(), &settings, &changes, &control)?.stats)
}

/// False if the block has nothing that the job removes, as far as ids and dictionaries tell: most blocks are not decoded.
fn may_have(block: &BlockReader, request: &JobRequest) -> tactus_block::Result<bool> {
    if block.has_any_trace(request.traces().unwrap_or_default())? {
        return Ok(true);
    }
    for redaction in &request.redact {
        if has_attribute(block, redaction)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps the bar moving within a large block.
struct Alive<'a>(&'a ProgressBar);

impl Control for Alive<'_> {
    fn check(&self) -> Result<(), Cancelled> {
        self.0.tick();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tactus_block_lifecycle::jobs::{RedactionKind, RedactionRequest};
    use tactus_compaction::RedactionScope;
    use tactus_storage::block_io::{list_blocks, read_meta};
    use tactus_storage::layout::{DATA, block_key};

    use super::*;
    use crate::testing::{TENANT, copy};

    async fn metas(bucket: &Bucket) -> Vec<Arc<BlockMeta>> {
        let mut metas = Vec::new();
        for id in list_blocks(bucket, TENANT, 1).await.unwrap().live {
            metas.push(Arc::new(read_meta(bucket, TENANT, id).await.unwrap()));
        }
        metas
    }

    #[tokio::test]
    async fn damaged_block_does_not_hide_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        copy("vParquet5", directory.path());
        let metas = metas(&bucket).await;
        let data = block_key(TENANT, metas[0].block_id, DATA);
        bucket.put(&data, "PAR1".into()).await.unwrap();
        let delete_traces = vec!["0af7651916cd43dd8448eb211c80319c".to_owned()];
        let request = JobRequest { delete_traces, ..JobRequest::default() };
        let (affected, unreadable) = of(&bucket, &metas, &request).await.unwrap();
        assert_eq!(unreadable, [metas[0].block_id]);
        let affected: Vec<_> = affected.iter().map(|it| (it.block, it.traces, it.spans)).collect();
        assert_eq!(affected, [(metas[1].block_id, 1, 4)]);
    }

    #[tokio::test]
    async fn block_without_the_attribute_is_not_decoded() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let metas = metas(&bucket).await;
        let block = open_stored(&bucket, &metas[0], &Handle::current()).unwrap();
        let may_have = |attribute: &str| {
            let redaction = RedactionRequest {
                scope: RedactionScope::Span,
                attribute: attribute.to_owned(),
                action: RedactionKind::Hash,
                replacement: None,
                query: None,
                start: None,
                end: None,
            };
            let request = JobRequest { redact: vec![redaction], ..JobRequest::default() };
            may_have(&block, &request).unwrap()
        };
        assert!(may_have("customer") && !may_have("no.such.attribute"));
    }
}
