//! A round for one tenant: merges that are due, then rewrites of blocks from which a retention policy removes
//! something.

mod control;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tactus_compaction::{
    BoxError, Cancelled, Changes, OutputBlock, RewriteSettings, RewriteStats, Rewritten,
    fingerprint, output_id,
};
use tactus_config::sections::overrides::CompactionLimits;
use tactus_storage::block_io::read_meta;
use tactus_storage::blocklist::BlockChanges;
use tactus_storage::layout::{NO_COMPACT, block_key};
use tactus_storage::meta::time_from_unix_nanos;
use tactus_storage::{BlockMeta, Timestamp, Uuid};
use tactus_telemetry::{error_text, work_span};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::classes::{classes_of, marker_due, marker_missing};
use crate::compactor::{Compactor, Reason};
use crate::error::{Error, Result};
use crate::jobs::JobStatus;
use crate::jobs::store::load;
use crate::selection::{Selected, select, written_version};
use crate::settings::Limits;
use control::Control;

/// The purpose of a rewrite. It is part of the id of the new block, so that doing it twice writes the same block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    Merge,
    /// Removes traces that a policy lets expire. The marker for the meta.
    Expire(String),
    /// Does what a job asks for.
    Job(Uuid),
}

/// Blocks to write again as one.
pub(crate) struct Rewrite {
    pub(crate) inputs: Vec<Arc<BlockMeta>>,
    /// The compactor to which the hash of this name belongs does the rewrite.
    pub(crate) owner: String,
    pub(crate) purpose: Purpose,
    pub(crate) changes: Changes,
}

/// Rewrites that may fail for passing reasons in a tenant's turn. More of them mean that the bucket does not answer.
const MAX_FAILURES: usize = 8;

impl Compactor {
    /// Runs the merges of a tenant that are due, for as long as a tenant's turn may last.
    pub(crate) async fn compact_tenant(&self, tenant: &str, stop: &CancellationToken) {
        let started = Instant::now();
        // One that fails again and again must not hold up all others.
        let (mut failures, mut failed) = (0, HashSet::new());
        loop {
            let now = time_from_unix_nanos(tactus_clock::unix_nanos());
            let limits = (self.settings.limits)(tenant);
            let due = self.due(tenant, &limits, now);
            let is_new = |rewrite: &Rewrite| {
                !rewrite.inputs.iter().any(|meta| failed.contains(&meta.block_id))
            };
            let mine =
                due.into_iter().find(|rewrite| is_new(rewrite) && (self.owns)(&rewrite.owner));
            let Some(rewrite) = mine else { return };
            let inputs: Vec<Uuid> = rewrite.inputs.iter().map(|meta| meta.block_id).collect();
            let span = work_span!("merge", tenant, blocks = rewrite.inputs.len());
            match self.rewrite(tenant, rewrite, stop).instrument(span).await {
                Ok(_) => {}
                Err(error) if error.is_cancelled() => return,
                Err(error) if self.failed(tenant, &error) => {}
                Err(error) if error.may_pass() => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        return;
                    }
                    failed.extend(inputs);
                }
                // Nobody to blame, and it would fail again: it must not hold up all other merges.
                Err(_) => {
                    inputs.iter().for_each(|&block| self.leave_out(tenant, block, Reason::Other));
                }
            }
            if stop.is_cancelled()
                || started.elapsed() > self.settings.compaction.max_time_per_tenant.as_std()
            {
                return;
            }
        }
    }

    /// All rewrites that are due, whoever does them.
    fn due(&self, tenant: &str, limits: &Limits, now: Timestamp) -> Vec<Rewrite> {
        let known = self.blocklist.tenant(tenant);
        let left_out = self.left_out(tenant, |block| known.has_live(block));
        let may_expire = |meta: &&Arc<BlockMeta>| {
            let id = meta.block_id;
            matches!(left_out.get(&id), None | Some(Reason::TooLarge))
                && !known.is_no_compact(id)
                && !self.is_busy(id)
        };
        let (too_large, blocks): (Vec<_>, Vec<_>) = known
            .live()
            .iter()
            .filter(may_expire)
            .cloned()
            .partition(|meta| left_out.contains_key(&meta.block_id));
        let mut due = Vec::new();
        let CompactionLimits { compaction_window, compaction_disabled, .. } = &limits.compaction;
        let compaction = &self.settings.compaction;
        let own_window = compaction_window.non_zero();
        let window = own_window.unwrap_or(compaction.compaction_window.as_std());
        let merges = match compaction_disabled {
            true => Vec::new(),
            false => select(tenant, &blocks, compaction, window, now),
        };
        let own = merges.iter().filter(|merge| (self.owns)(&merge.owner));
        let outstanding: usize = own.map(|merge| merge.blocks.len()).sum();
        self.metrics.outstanding.with([tenant]).set(outstanding as f64);
        due.extend(merges.into_iter().map(|Selected { blocks, owner }| Rewrite {
            inputs: blocks,
            owner,
            purpose: Purpose::Merge,
            changes: Changes::default(),
        }));
        if !limits.compaction.retention_policies.is_empty()
            && let Some(now) = self.clock.trusted().map(full_hour)
        {
            let is_known = |meta: &&Arc<BlockMeta>| meta.version().is_ok() && meta.size > 0;
            due.extend(blocks.iter().chain(&too_large).filter(is_known).filter_map(|meta| {
                Some(Rewrite {
                    inputs: vec![Arc::clone(meta)],
                    owner: meta.block_id.to_string(),
                    purpose: Purpose::Expire(marker_missing(limits, meta, now)?),
                    changes: Changes::default(),
                })
            }));
        }
        due
    }

    /// Rewrites blocks as one, and marks the inputs once the new block is in the bucket.
    ///
    /// If the process is killed before the new meta is written, nothing has changed. If it is killed afterwards, the
    /// new block names its inputs as sources, so that readers ignore them and retention marks them.
    pub(crate) async fn rewrite(
        &self,
        tenant: &str,
        rewrite: Rewrite,
        stop: &CancellationToken,
    ) -> Result<Rewritten> {
        let Rewrite { inputs, owner, purpose, mut changes } = rewrite;
        let ids: Vec<Uuid> = inputs.iter().map(|meta| meta.block_id).collect();
        let Some(first) = inputs.first() else {
            return Err(Error::InputGone(Uuid::nil()));
        };
        let limits = (self.settings.limits)(tenant);
        let now = self.clock.trusted().map(full_hour);
        let first_start =
            inputs.iter().map(|meta| meta.start_time).fold(first.start_time, Ord::min);
        let last_end = inputs.iter().map(|meta| meta.last_time()).fold(first.last_time(), Ord::max);
        if !matches!(purpose, Purpose::Job(_))
            && let Some(now) = now
        {
            changes.retention = classes_of(&limits, now, (first_start, last_end))?;
        }
        let level = inputs.iter().map(|meta| meta.compaction_level).max().unwrap_or(0);
        let mut settings = self.settings_for(first, &limits);
        if matches!(purpose, Purpose::Job(_)) {
            // A job takes out what was asked, and no spans beside that.
            settings.max_trace_bytes = 0;
        }
        // The id depends on everything that changes the content. Otherwise two compactors could mix their files.
        let done_how = format!("{} {}", purpose.name(), fingerprint(&settings, &changes));
        let output = output_id(&ids, &done_how);
        let Some(_reserved) = self.reserve(ids.iter().copied().chain([output]).collect()) else {
            return Err(Error::InputGone(ids[0]));
        };
        for &id in &ids {
            self.check_may_compact(tenant, id).await?;
        }
        let target = OutputBlock {
            id: output,
            level: Some(if purpose == Purpose::Merge { level.saturating_add(1) } else { level }),
            retention: match &purpose {
                Purpose::Merge => {
                    now.and_then(|now| marker_due(&limits, last_end, now)).unwrap_or_default()
                }
                Purpose::Expire(marker) => marker.clone(),
                Purpose::Job(_) => retention_of(first),
            },
            only_if_changed: matches!(purpose, Purpose::Job(_)),
        };
        let control = Control::watch(self.owns.clone(), owner, stop);
        let rewritten = tactus_compaction::rewrite_blocks(
            &self.bucket,
            &inputs,
            target,
            settings,
            Arc::new(changes),
            control.shared(),
            || self.check_commit(tenant, &ids, &purpose),
        )
        .await?;
        drop(control);
        self.set_sound(&ids);
        if rewritten.unchanged {
            return Ok(rewritten);
        }
        self.replace(tenant, &inputs, rewritten.meta.as_ref()).await;
        self.count(tenant, &inputs, level, &purpose, &rewritten.stats);
        log_rewritten(tenant, &purpose, inputs.len(), &rewritten);
        Ok(rewritten)
    }

    /// Marks the inputs compacted, and shows the new block in the block list instead.
    async fn replace(&self, tenant: &str, inputs: &[Arc<BlockMeta>], output: Option<&BlockMeta>) {
        let mut changes = BlockChanges::default();
        changes.add.extend(output.cloned().map(Arc::new));
        for meta in inputs {
            if let Err(error) = self.mark_in_bucket(tenant, meta, &mut changes).await {
                // Readers ignore the input because of the new block. Retention will mark it later.
                let error = error_text(&error);
                tracing::warn!(tenant, block = %meta.block_id, error, "cannot mark a merged block yet");
            }
        }
        self.blocklist.change(tenant, changes);
    }

    /// Blocks keep their version and columns, unless those of the configuration are to be adopted.
    fn settings_for(&self, first: &BlockMeta, limits: &Limits) -> RewriteSettings {
        let mut settings = self.settings.rewrite.clone();
        settings.max_trace_bytes = limits.max_trace_bytes;
        settings.builder.writer.value_filter = limits.value_filter;
        if !self.settings.compaction.adopt_block_settings {
            settings.builder.writer.version = written_version(first);
            settings.builder.writer.dedicated_columns = first.dedicated_columns.to_vec();
        } else if let Some(columns) = &limits.dedicated_columns {
            settings.builder.writer.dedicated_columns.clone_from(columns);
        }
        settings
    }

    /// Checks for the flag of another writer that wants a block left alone.
    async fn check_may_compact(&self, tenant: &str, block: Uuid) -> Result<()> {
        match self.bucket.head(&block_key(tenant, block, NO_COMPACT)).await {
            Ok(_) => {
                self.leave_out(tenant, block, Reason::Other);
                Err(Error::Flagged(block))
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Another compactor that also considered itself responsible may have been faster, and a job may be cancelled.
    async fn check_commit(
        &self,
        tenant: &str,
        blocks: &[Uuid],
        purpose: &Purpose,
    ) -> Result<(), BoxError> {
        for &block in blocks {
            read_meta(&self.bucket, tenant, block).await?;
        }
        if let Purpose::Job(id) = *purpose {
            let record = load(&self.bucket, tenant, id).await?;
            if record.is_none_or(|record| record.status == JobStatus::Cancelled) {
                return Err(Cancelled.into());
            }
        }
        Ok(())
    }

    /// Counts and logs a failure. True if a single block is at fault, which is excluded from now on.
    pub(crate) fn failed(&self, tenant: &str, error: &Error) -> bool {
        if error.is_lost_race() {
            tracing::debug!(tenant, error = error_text(error), "somebody else was faster");
            return false;
        }
        if let Error::Flagged(_) = error {
            return true;
        }
        if let Error::Rewrite(tactus_compaction::Error::MadeBefore(_)) = error {
            // If a live block has the spans of the inputs, retention marks them.
            tracing::warn!(tenant, error = error_text(error), "blocks are not merged");
            return false;
        }
        self.metrics.errors.inc();
        let text = error_text(error);
        let Some((block, reason)) = error.blamed_block() else {
            tracing::error!(tenant, error = text, "work on blocks failed, it is tried again");
            return false;
        };
        self.leave_out(tenant, block, reason);
        if reason == Reason::TooLarge {
            tracing::warn!(tenant, %block, error = text, "the block has a trace too large to be merged and is left as it is");
        } else {
            tracing::error!(tenant, %block, error = text, "the block cannot be read and is left out of merges");
        }
        true
    }

    fn count(
        &self,
        tenant: &str,
        inputs: &[Arc<BlockMeta>],
        level: u32,
        purpose: &Purpose,
        stats: &RewriteStats,
    ) {
        let metrics = &self.metrics;
        metrics.expired_traces.with([tenant]).inc_by(stats.traces_expired);
        if *purpose != Purpose::Merge {
            return;
        }
        let level = level.saturating_add(1).to_string();
        metrics.blocks.with([&level]).inc_by(inputs.len() as u64);
        metrics.objects_written.with([&level]).inc_by(stats.traces_written);
        metrics.objects_combined.with([&level]).inc_by(stats.traces_combined);
        metrics.bytes_written.with([&level]).inc_by(stats.bytes_written);
        let factor = inputs.first().map_or(0, |meta| meta.replication_factor).to_string();
        metrics.spans_combined.with([&factor]).inc_by(stats.duplicate_spans);
        metrics.spans_deduped.with([&factor]).inc_by(stats.duplicate_spans);
        if stats.spans_cut > 0 {
            let discarded = metrics.discarded_spans.with(["trace_too_large_to_compact", tenant]);
            discarded.inc_by(stats.spans_cut);
            let (traces, spans) = (stats.traces_cut, stats.spans_cut);
            tracing::warn!(tenant, traces, spans, "spans of traces over the limit were left out");
        }
    }
}

fn log_rewritten(tenant: &str, purpose: &Purpose, inputs: usize, rewritten: &Rewritten) {
    tracing::info!(
        tenant,
        purpose = purpose.name(),
        inputs,
        block = rewritten.meta.as_ref().map(|meta| meta.block_id.to_string()),
        traces = rewritten.stats.traces_written,
        spans = rewritten.stats.spans_written,
        bytes = rewritten.stats.bytes_written,
        "blocks are rewritten"
    );
}

/// The marker of retention that a block has.
fn retention_of(block: &BlockMeta) -> String {
    block.extension.as_ref().map_or_else(String::new, |extension| extension.retention.clone())
}

/// The time that policies use. Rounded, so that compactors that do the same rewrite at about the same time do it for
/// the same time.
fn full_hour(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(3600) * 3600).unwrap_or(now)
}

impl Purpose {
    fn name(&self) -> String {
        match self {
            Self::Merge => "merge".to_owned(),
            Self::Expire(marker) => format!("expire {marker}"),
            Self::Job(id) => format!("job {id}"),
        }
    }
}

#[cfg(test)]
mod tests;
