//! One job on one block.

use std::sync::Arc;

use tactus_block::read::{AttributeOwner, BlockReader, open_stored};
use tactus_model::TraceId;
use tactus_storage::{BlockMeta, BlockReader as StoredBlock, Timestamp};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{AttributeScope, BlockChange, JobRecord, RedactionRequest, job_owner};
use crate::compactor::Compactor;
use crate::error::{Error, Result};
use crate::merge::{Purpose, Rewrite};

impl Compactor {
    /// Writes a block again without what the job takes out; `None` if the block holds nothing of it.
    pub(super) async fn apply(
        &self,
        record: &JobRecord,
        meta: &Arc<BlockMeta>,
        stop: &CancellationToken,
    ) -> Result<Option<BlockChange>> {
        if meta.version().is_err() || meta.size == 0 {
            return Ok(None);
        }
        let mut traces = Vec::new();
        for id in record.request.traces()? {
            let stored = StoredBlock::new(self.bucket.clone(), meta);
            if stored.bloom_of(&id.0, meta.bloom_shard_count()).await?.may_contain(&id.0) {
                traces.push(id);
            }
        }
        let touches = |redaction: &&RedactionRequest| {
            let in_block = |second: u64| i64::try_from(second).unwrap_or(i64::MAX);
            redaction.start.is_none_or(|start| in_block(start) <= meta.end_unix_seconds())
                && redaction.end.is_none_or(|end| in_block(end) >= meta.start_unix_seconds())
        };
        let redactions: Vec<_> = record.request.redact.iter().filter(touches).cloned().collect();
        if traces.is_empty() && redactions.is_empty() {
            return Ok(None);
        }
        if !self.is_affected(meta, traces, redactions).await? {
            return Ok(None);
        }
        let rewrite = Rewrite {
            inputs: vec![Arc::clone(meta)],
            owner: job_owner(record.id),
            purpose: Purpose::Job(record.id),
            changes: record.request.changes()?,
        };
        let done = self.rewrite(&record.tenant, rewrite, stop).await?;
        Ok(Some(BlockChange {
            block: meta.block_id,
            replaced_by: done.meta.map(|meta| meta.block_id),
            at: Timestamp::now(),
            traces_deleted: done.stats.traces_removed,
            spans_deleted: done.stats.spans_removed,
            values_redacted: done.stats.values_redacted,
        }))
    }

    async fn is_affected(
        &self,
        meta: &Arc<BlockMeta>,
        traces: Vec<TraceId>,
        redactions: Vec<RedactionRequest>,
    ) -> Result<bool> {
        let (bucket, meta, runtime) = (self.bucket.clone(), Arc::clone(meta), Handle::current());
        let block_id = meta.block_id;
        let look = move || -> Result<bool, tactus_block::Error> {
            let block = open_stored(&bucket, &meta, &runtime)?;
            for id in traces {
                if let Some(row_group) = block.find_row_group(id, None)?
                    && block.find_row(row_group, id)?.is_some()
                {
                    return Ok(true);
                }
            }
            for redaction in &redactions {
                if has_attribute(&block, redaction)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let looked = looked.map_err(|_| Error::InputGone(block_id))?;
        looked.map_err(|source| Error::Unreadable { block: block_id, source })
    }
}

/// True if the block may have the attribute.
fn has_attribute(
    block: &BlockReader,
    redaction: &RedactionRequest,
) -> Result<bool, tactus_block::Error> {
    let owners: &[AttributeOwner] = match redaction.scope {
        AttributeScope::Any => &[
            AttributeOwner::Resource,
            AttributeOwner::Scope,
            AttributeOwner::Span,
            AttributeOwner::Event,
            AttributeOwner::Link,
        ],
        AttributeScope::Resource => &[AttributeOwner::Resource],
        AttributeScope::Scope => &[AttributeOwner::Scope],
        AttributeScope::Span => &[AttributeOwner::Span],
        AttributeScope::Event => &[AttributeOwner::Event],
        AttributeScope::Link => &[AttributeOwner::Link],
    };
    for row_group in 0..block.row_groups().len() {
        for &owner in owners {
            let mut found = false;
            let complete = block.visit_attribute_keys(row_group, owner, &mut |key| {
                found |= key == redaction.attribute.as_bytes();
            })?;
            if found || !complete {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
