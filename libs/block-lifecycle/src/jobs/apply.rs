//! Applies one job to one block.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tactus_block::read::{AttributeOwner, BlockReader, NumberColumn, open_stored};
use tactus_compaction::RedactionScope;
use tactus_model::TraceId;
use tactus_storage::bloom::shard_of;
use tactus_storage::{BlockMeta, BlockReader as StoredBlock};
use tactus_telemetry::work_span;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{BlockChange, JobRecord, RedactionRequest, job_owner};
use crate::compactor::Compactor;
use crate::error::{Error, Result};
use crate::merge::{Purpose, Rewrite};

impl Compactor {
    /// Rewrites a block without what the job removes; `None` if the block has nothing of it.
    pub(super) async fn apply(
        &self,
        record: &mut JobRecord,
        meta: &Arc<BlockMeta>,
        stop: &CancellationToken,
    ) -> Result<Option<BlockChange>> {
        if meta.size == 0 {
            return Ok(None);
        }
        let traces = self.traces_in(meta, record.request.traces()?).await?;
        let redactions = record.request.redact.clone();
        if traces.is_empty() && redactions.is_empty() {
            return Ok(None);
        }
        if !self.is_affected(meta, traces, redactions).await? {
            return Ok(None);
        }
        // Record this before it happens: if the process is killed right afterwards, it must still be known that this
        // block has to be deleted before the job is done.
        record.note(BlockChange::of(meta.block_id));
        self.save_job(record).await?;
        if record.status.is_final() {
            return Ok(None);
        }
        let rewrite = Rewrite {
            inputs: vec![Arc::clone(meta)],
            owner: job_owner(record.id),
            purpose: Purpose::Job(record.id),
            changes: record.request.changes()?,
        };
        let span = work_span!("apply job", tenant = record.tenant.as_str());
        let done = self.rewrite(&record.tenant, rewrite, stop).instrument(span).await?;
        if done.unchanged {
            record.forget(meta.block_id);
            self.save_job(record).await?;
            return Ok(None);
        }
        Ok(Some(BlockChange {
            replaced_by: done.meta.map(|meta| meta.block_id),
            traces_deleted: done.stats.traces_removed,
            spans_deleted: done.stats.spans_removed,
            values_redacted: done.stats.values_redacted,
            ..BlockChange::of(meta.block_id)
        }))
    }

    /// Those of some traces that may be in the block. Reads each of its bloom filters once.
    async fn traces_in(&self, meta: &BlockMeta, ids: HashSet<TraceId>) -> Result<Vec<TraceId>> {
        let stored = StoredBlock::new(self.bucket.clone(), meta);
        let shards = meta.bloom_shard_count();
        let mut blooms = HashMap::new();
        let mut traces = Vec::new();
        for id in ids {
            let bloom = match blooms.entry(shard_of(&id.0, shards)) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(place) => place.insert(stored.bloom_of(&id.0, shards).await?),
            };
            if bloom.may_contain(&id.0) {
                traces.push(id);
            }
        }
        Ok(traces)
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
            if block.has_any_trace(traces)? {
                return Ok(true);
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

/// True if the block may have the attribute on spans in the redaction's time range. Its row groups are asked, because
/// spans with wrong times do not extend the time range of a block. Reads dictionaries, no values.
///
/// Errors: as [`BlockReader::visit_attribute_keys`].
pub fn has_attribute(
    block: &BlockReader,
    redaction: &RedactionRequest,
) -> Result<bool, tactus_block::Error> {
    let owners: &[AttributeOwner] = match redaction.scope {
        RedactionScope::Any => &[
            AttributeOwner::Resource,
            AttributeOwner::Scope,
            AttributeOwner::Span,
            AttributeOwner::Event,
            AttributeOwner::Link,
        ],
        RedactionScope::Resource => &[AttributeOwner::Resource],
        RedactionScope::Scope => &[AttributeOwner::Scope],
        RedactionScope::Span => &[AttributeOwner::Span],
        RedactionScope::Event => &[AttributeOwner::Event],
        RedactionScope::Link => &[AttributeOwner::Link],
    };
    let range = redaction.range();
    let is_in_range = |row_group: &usize| {
        let bounds = block.row_group_bounds(*row_group, NumberColumn::SpanStart);
        let known = range.zip(bounds.filter(|(first, last)| first <= last));
        known.is_none_or(|(range, (first, last))| first <= range.end && range.start <= last)
    };
    for row_group in (0..block.row_groups().len()).filter(is_in_range) {
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
