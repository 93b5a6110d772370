//! Jobs that remove data from a tenant's blocks: deletion of traces, redaction of attributes.
//!
//! A job is an object in the bucket. It tells the compactors what to do and, when it is done, records who asked for
//! what and which blocks were rewritten.

mod apply;
mod record;
pub(crate) mod store;
pub(crate) mod turns;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::future;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tactus_storage::block_io::store_time;
use tactus_storage::blocklist::ListGaps;
use tactus_storage::{Timestamp, Uuid};
use tactus_telemetry::error_text;
use tokio_util::sync::CancellationToken;

use crate::compactor::{Compactor, JobState};
use crate::error::{Error, Result};

pub use apply::has_attribute;
pub use record::{
    BlockChange, JobRecord, JobRequest, JobStatus, MAX_TRACES, RedactionKind, RedactionRequest,
};
use store::{delete, list, load, load_with_version, save};

impl Compactor {
    /// Creates a job. Errors: `Error::BadJob` with the name of the field, `Error::TooManyJobs`, those of the bucket.
    pub async fn create_job(&self, tenant: &str, request: JobRequest) -> Result<JobRecord> {
        request.check()?;
        self.check_open_jobs(tenant).await?;
        // Uses the store's clock, because the watch period ends by the earlier of that and ours. With our clock alone,
        // a job that was created while our clock was behind would be done before the last earlier spans are in blocks.
        let record = JobRecord::new(tenant, request, store_time(&self.bucket).await?);
        if !save(&self.bucket, &record, None).await? {
            return Err(Error::Contended(record.id));
        }
        tracing::info!(tenant, job = %record.id, "job is accepted");
        Ok(record)
    }

    async fn check_open_jobs(&self, tenant: &str) -> Result<()> {
        let limit = self.settings.jobs.max_open_per_tenant;
        if limit == 0 {
            return Ok(());
        }
        let was_full = self.full_of_jobs.lock().get(tenant).copied();
        if was_full.is_some_and(|at| at.elapsed() < STAYS_FULL) {
            return Err(Error::TooManyJobs { limit });
        }
        let mut ids = self.jobs_of(tenant).await?;
        {
            let known = self.jobs.lock();
            ids.retain(|id| known.get(id).is_none_or(|state| state.finished.is_none()));
        }
        if ids.len() < limit {
            return Ok(());
        }
        let mut loaded = stream::iter(ids)
            .map(|id| async move { (id, self.load_if_whole(tenant, id).await) })
            .buffer_unordered(RECORDS_AT_ONCE);
        let mut open = 0;
        while let Some((id, record)) = loaded.next().await {
            match record? {
                Some(record) if record.status.is_final() => {
                    self.jobs.lock().entry(id).or_default().finished = Some(record.updated_at);
                }
                Some(_) => open += 1,
                None => {}
            }
            if open >= limit {
                let mut full = self.full_of_jobs.lock();
                full.retain(|_, at| at.elapsed() < STAYS_FULL);
                full.insert(tenant.to_owned(), Instant::now());
                return Err(Error::TooManyJobs { limit });
            }
        }
        Ok(())
    }

    async fn jobs_of(&self, tenant: &str) -> Result<Vec<Uuid>> {
        let all = list(&self.bucket).await?;
        Ok(all.into_iter().filter(|(owner, _)| owner == tenant).map(|(_, id)| id).collect())
    }

    /// A job; `None` if there is none, or if it cannot be read.
    pub(crate) async fn load_if_whole(&self, tenant: &str, id: Uuid) -> Result<Option<JobRecord>> {
        match load(&self.bucket, tenant, id).await {
            // A record that cannot be read must not hide the other jobs.
            Err(error @ Error::BadRecord { .. }) => {
                tracing::error!(
                    tenant,
                    error = error_text(&error),
                    "the record of a job cannot be read, the job is not listed"
                );
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// The ids of a tenant's jobs, newest first. All records together may be larger than memory.
    pub(crate) async fn list_jobs(&self, tenant: &str) -> Result<Vec<Uuid>> {
        let ids = self.jobs_of(tenant).await?;
        let mut created: Vec<_> = stream::iter(ids)
            .map(|id| async move {
                let record = self.load_if_whole(tenant, id).await?;
                Ok::<_, Error>(record.map(|record| (Reverse(record.created_at), id)))
            })
            .buffer_unordered(RECORDS_AT_ONCE)
            .try_filter_map(future::ok)
            .try_collect()
            .await?;
        created.sort_unstable();
        Ok(created.into_iter().map(|(_, id)| id).collect())
    }

    /// One job. Errors: `Error::NoSuchJob`.
    pub async fn job(&self, tenant: &str, id: Uuid) -> Result<JobRecord> {
        load(&self.bucket, tenant, id).await?.ok_or(Error::NoSuchJob(id))
    }

    /// Cancels an unfinished job. What it has done stays done; a block that it is just rewriting stays as it was.
    pub(crate) async fn cancel_job(&self, tenant: &str, id: Uuid) -> Result<JobRecord> {
        let _records = self.records.lock().await;
        for _ in 0..MAX_SAVES {
            let stored = load_with_version(&self.bucket, tenant, id).await?;
            let (mut record, version) = stored.ok_or(Error::NoSuchJob(id))?;
            if record.status.is_final() {
                return Ok(record);
            }
            record.status = JobStatus::Cancelled;
            record.updated_at = Timestamp::now();
            if save(&self.bucket, &record, Some(&version)).await? {
                self.full_of_jobs.lock().remove(tenant);
                if let Some(state) = self.jobs.lock().get(&id) {
                    state.cancel.cancel();
                }
                return Ok(record);
            }
        }
        Err(Error::Contended(id))
    }

    /// Passes of the unfinished jobs for which this process is responsible, for about `turn`. At least one job goes on.
    pub(crate) async fn run_jobs(&self, turn: Duration, stop: &CancellationToken) {
        let end = Instant::now().checked_add(turn);
        let mut has_run = false;
        let listed = match list(&self.bucket).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(error = error_text(&error), "cannot list jobs");
                return;
            }
        };
        self.forget_jobs(&listed);
        let mine = listed.into_iter().filter(|&(_, id)| (self.owns)(&job_owner(id)));
        let turns = self.job_turns.lock().order(mine);
        let mut open: HashMap<(String, &str), u64> = HashMap::new();
        for (tenant, id) in turns {
            let (finished, seen) = match self.jobs.lock().get(&id) {
                Some(state) => (state.finished, state.status),
                None => (None, None),
            };
            if let Some(finished) = finished {
                self.expire_record(&tenant, id, finished).await;
                continue;
            }
            if has_run && is_over(end) {
                // It is counted as it was last seen.
                let status = seen.unwrap_or(JobStatus::Pending.name());
                *open.entry((tenant, status)).or_default() += 1;
                continue;
            }
            has_run = true;
            match self.run_job(&tenant, id, end, stop).await {
                Ok(status) => *open.entry((tenant.clone(), status.name())).or_default() += 1,
                Err(error) => {
                    let error = error_text(&error);
                    tracing::error!(tenant, job = %id, error, "a pass of the job failed, it continues in the next round");
                }
            }
            self.job_turns.lock().had(&tenant, id);
            if stop.is_cancelled() {
                return;
            }
        }
        self.metrics
            .jobs
            .retain(|[tenant, status]| open.contains_key(&(tenant.to_owned(), status)));
        for ((tenant, status), count) in open {
            self.metrics.jobs.with([&tenant, status]).set(count as f64);
        }
    }

    /// Forgets jobs whose records are gone.
    fn forget_jobs(&self, listed: &[(String, Uuid)]) {
        let listed: HashSet<Uuid> = listed.iter().map(|&(_, id)| id).collect();
        self.jobs.lock().retain(|id, _| listed.contains(id));
    }

    /// Deletes the record of a finished job once it is old enough.
    async fn expire_record(&self, tenant: &str, id: Uuid, finished: Timestamp) {
        let Some(kept) = self.settings.jobs.record_retention.non_zero() else { return };
        let end = self.clock.trusted().and_then(|now| now.checked_sub(kept).ok());
        if end.is_none_or(|end| finished >= end) {
            return;
        }
        match delete(&self.bucket, tenant, id).await {
            Ok(()) => tracing::info!(tenant, job = %id, "deleted the record of a finished job"),
            Err(error) => {
                let error = error_text(&error);
                tracing::warn!(tenant, job = %id, error, "cannot delete the record of a finished job");
            }
        }
    }

    /// One pass of a job, whoever is responsible for it; how far it is then. `None` for `end`: all blocks are checked.
    ///
    /// Errors: `Error::NoSuchJob`, `Error::BadRecord`, those of the bucket. That of a block is noted in the record.
    pub async fn run_job(
        &self,
        tenant: &str,
        id: Uuid,
        end: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<JobStatus> {
        let stop = &stop.child_token();
        self.jobs.lock().entry(id).or_default().cancel = stop.clone();
        let loaded = load(&self.bucket, tenant, id).await?;
        let mut record = loaded.ok_or(Error::NoSuchJob(id))?;
        if record.status.is_final() {
            let state = JobState { finished: Some(record.updated_at), ..JobState::default() };
            self.jobs.lock().insert(id, state);
            return Ok(record.status);
        }
        let before = (record.status, record.error.clone());
        record.error.clear();
        let is_through = self.jobs.lock().get(&id).is_some_and(|state| state.is_through);
        let is_watched = self.is_watched(&record);
        let complete = is_through || self.run_pass(&mut record, end, stop).await?;
        if record.status.is_final() {
            return Ok(record.status);
        }
        if complete && is_watched {
            self.jobs.lock().entry(id).or_default().is_through = true;
        }
        record.status = self.status_after(&record, complete, is_watched);
        if (record.status, &record.error) != (before.0, &before.1) {
            self.save_job(&mut record).await?;
        }
        self.jobs.lock().entry(id).or_default().status = Some(record.status.name());
        Ok(record.status)
    }

    /// Checks the blocks that this job has not seen. True if none of them has anything that it removes. Ends early at
    /// `end`, after at least one block, and if somebody cancels the job.
    async fn run_pass(
        &self,
        record: &mut JobRecord,
        end: Option<Instant>,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let tenant = record.tenant.clone();
        let known = self.blocklist.tenant(&tenant);
        let replaced: HashSet<Uuid> = record.blocks.iter().map(|change| change.block).collect();
        let written: HashSet<Uuid> =
            record.blocks.iter().filter_map(|change| change.replaced_by).collect();
        // A query may match only after the spans of a trace are together. So a block that was merged from several is
        // checked even if its inputs were; what another job has made of one block is not.
        let has_query = record.request.redact.iter().any(|redaction| redaction.query.is_some());
        let mut complete = true;
        if ListGaps::of(&self.blocklist, [tenant.as_str()]).any() {
            // Blocks that are not known may have what is to go.
            complete = false;
            record.error = "the list of the tenant's blocks is incomplete".to_owned();
        }
        for meta in known.live() {
            let block = meta.block_id;
            {
                let mut jobs = self.jobs.lock();
                let checked = &mut jobs.entry(record.id).or_default().checked;
                // It need not rewrite again what it wrote before a restart.
                if checked.contains(&block) || written.contains(&block) {
                    continue;
                }
                // True if the input was checked and left as it was, or was written by this job.
                let is_free = |source: &Uuid| {
                    !replaced.contains(source)
                        && (written.contains(source) || checked.contains(source))
                };
                let joins = has_query && meta.sources().len() > 1;
                if !joins && !meta.sources().is_empty() && meta.sources().iter().all(is_free) {
                    checked.insert(block);
                    continue;
                }
            }
            if meta.version().is_err() {
                complete = false;
                record.error = format!("block {block}: {} cannot be read", meta.format);
                continue;
            }
            match self.apply(record, meta, stop).await {
                Ok(None) => {
                    self.jobs.lock().entry(record.id).or_default().checked.insert(block);
                }
                // Not checked for ever: if somebody restores the block, it is done again.
                Ok(Some(change)) => {
                    self.count_change(record, &change);
                    record.note(change);
                    // Each rewrite is recorded before the next one starts.
                    record.status = JobStatus::Running;
                    self.save_job(record).await?;
                    if record.status.is_final() {
                        return Ok(false);
                    }
                }
                Err(error) if error.is_cancelled() => return Ok(false),
                Err(error) if error.is_lost_race() => {
                    complete = false;
                    self.failed(&tenant, &error);
                    continue;
                }
                Err(error) => {
                    complete = false;
                    record.error = format!("block {block}: {}", error_text(&error));
                    self.failed(&tenant, &error);
                    continue;
                }
            }
            if is_over(end) {
                return Ok(false);
            }
        }
        Ok(complete)
    }

    /// True once no new block can contain spans that were received before the job.
    fn is_watched(&self, record: &JobRecord) -> bool {
        let kept = self.settings.compaction.compacted_block_retention.as_std();
        let cleared = kept + self.settings.retention_interval * 2;
        let watch = self.settings.jobs.watch_period.as_std().max(cleared);
        let end = self.clock.trusted().and_then(|now| now.checked_sub(watch).ok());
        end.is_some_and(|end| record.created_at < end)
    }

    /// A job is done when its watch period is over and all replaced blocks are deleted.
    fn status_after(&self, record: &JobRecord, complete: bool, is_watched: bool) -> JobStatus {
        if !complete {
            return JobStatus::Running;
        }
        let known = self.blocklist.tenant(&record.tenant);
        let exists = |id| known.has_live(id) || known.has_compacted(id);
        let gone = !record.blocks.iter().any(|change| exists(change.block));
        if is_watched && gone { JobStatus::Done } else { JobStatus::Watching }
    }

    async fn save_job(&self, record: &mut JobRecord) -> Result<()> {
        let _records = self.records.lock().await;
        for _ in 0..MAX_SAVES {
            let mut expected = None;
            let stored = load_with_version(&self.bucket, &record.tenant, record.id).await?;
            if let Some((stored, version)) = stored {
                // If somebody has cancelled it meanwhile, it stays cancelled.
                if stored.status == JobStatus::Cancelled {
                    record.status = JobStatus::Cancelled;
                }
                // Another process may do the same job, and have been faster with a block.
                record.take_done(stored.blocks);
                expected = Some(version);
            }
            record.updated_at = Timestamp::now();
            if save(&self.bucket, record, expected.as_deref()).await? {
                return Ok(());
            }
        }
        Err(Error::Contended(record.id))
    }

    fn count_change(&self, record: &JobRecord, change: &BlockChange) {
        let count = |kind, changes| {
            self.metrics.job_changes.with([record.tenant.as_str(), kind]).inc_by(changes);
        };
        count("deleted_traces", change.traces_deleted);
        count("redacted_values", change.values_redacted);
    }
}

/// True once a turn is over; `None`: it has no end.
fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

fn job_owner(id: Uuid) -> String {
    format!("job-{id}")
}

/// The result of a count is used for this long, because counting very many jobs is expensive.
const STAYS_FULL: Duration = Duration::from_secs(30);

/// Records of jobs that are read at a time.
const RECORDS_AT_ONCE: usize = 8;

/// Attempts to write a record that other processes change at the same time.
const MAX_SAVES: usize = 8;

#[cfg(test)]
mod tests;
