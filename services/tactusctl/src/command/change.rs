//! `delete` and `redact` run jobs of the compactor.
//!
//! A job is a record in the bucket. These commands run its first pass. A compactor on the bucket continues it: it checks
//! blocks that appear later, and deletes the old data of rewritten blocks.

mod preview;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tactus_block_lifecycle::jobs::{
    JobRecord, JobRequest, JobStatus, RedactionKind, RedactionRequest,
};
use tactus_block_lifecycle::{Compactor, Limits, Settings};
use tactus_compaction::RedactionScope;
use tactus_config::Config;
use tactus_config::sections::compactor::{Compaction, CompactorJobs};
use tactus_storage::meta::BlockVersion;
use tactus_storage::{Bucket, Uuid};
use tactus_telemetry::error_text;
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;

use super::traces::parse_id;
use crate::arguments::{self, Change};
use crate::bucket::{self, Blocks};
use crate::error::{Error, Result};
use crate::output::{Output, Table, format};
use crate::{building, progress};
use preview::Preview;

const HOUR: Duration = Duration::from_secs(3600);

/// Passes of a job, each over the blocks that there are then, for as long as other processes change them.
const MAX_PASSES: usize = 3;

/// Why a job is not through if no block is to blame.
const OTHERS: &str =
    "other processes changed blocks meanwhile, and a compactor has to go on with it";

/// `delete`.
pub(super) async fn delete(
    bucket: &Bucket,
    command: &arguments::Delete,
    config: Option<&Config>,
    output: &Output,
) -> Result<()> {
    let ids = command.traces.iter().map(|id| parse_id(id).map(|id| id.to_hex()));
    let request =
        JobRequest { delete_traces: ids.collect::<Result<_>>()?, ..request(&command.change) };
    run(bucket, &command.tenant, request, command.change.yes, config, output).await
}

/// `redact`.
pub(super) async fn redact(
    bucket: &Bucket,
    command: &arguments::Redact,
    config: Option<&Config>,
    output: &Output,
) -> Result<()> {
    let request = JobRequest { redact: vec![redaction(command)?], ..request(&command.change) };
    run(bucket, &command.tenant, request, command.change.yes, config, output).await
}

fn request(change: &Change) -> JobRequest {
    JobRequest {
        requested_by: change.requested_by.clone(),
        reason: change.reason.clone(),
        ..JobRequest::default()
    }
}

fn redaction(command: &arguments::Redact) -> Result<RedactionRequest> {
    let usage = |text: &str| Error::Usage(text.to_owned());
    let (scope, name) = command
        .attribute
        .split_once('.')
        .filter(|(_, name)| !name.is_empty())
        .ok_or_else(|| usage("--attribute: SCOPE.NAME, such as span.user.email"))?;
    let scope = match scope {
        "any" => RedactionScope::Any,
        "resource" => RedactionScope::Resource,
        "scope" | "instrumentation" => RedactionScope::Scope,
        "span" => RedactionScope::Span,
        "event" => RedactionScope::Event,
        "link" => RedactionScope::Link,
        _ => {
            return Err(usage(
                "--attribute: the scope is any, resource, scope, span, event or link",
            ));
        }
    };
    let (action, replacement) = match command.action.split_once('=') {
        None if command.action == "remove" => (RedactionKind::Remove, None),
        None if command.action == "hash" => (RedactionKind::Hash, None),
        Some(("replace", text)) => (RedactionKind::Replace, Some(text.to_owned())),
        _ => return Err(usage("--action: remove, hash or replace=TEXT")),
    };
    let seconds = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    Ok(RedactionRequest {
        scope,
        attribute: name.to_owned(),
        action,
        replacement,
        query: command.query.clone(),
        start: seconds(&command.start),
        end: seconds(&command.end),
    })
}

/// What a job would do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun {
    dry_run: bool,
    request: JobRequest,
    blocks: Vec<Preview>,
    /// Blocks that could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Uuid>,
}

async fn run(
    bucket: &Bucket,
    tenant: &str,
    request: JobRequest,
    yes: bool,
    config: Option<&Config>,
    output: &Output,
) -> Result<()> {
    // An invalid request is wrong usage, also without `--yes`.
    request.check().map_err(|error| Error::Usage(error.to_string()))?;
    request.changes().map_err(|error| Error::Usage(error.to_string()))?;
    let blocks = bucket::blocks(bucket, tenant).await?;
    if yes {
        let record = carry_out(bucket, tenant, request, &blocks, config).await?;
        output.show(&record, || record_text(&record))?;
        return match unreadable_text(&blocks.unreadable) {
            None => Ok(()),
            Some(text) => Err(Error::Setup(text)),
        };
    }
    let live = blocks.blocklist(tenant).tenant(tenant);
    let (affected, unread) = preview::of(bucket, live.live(), &request).await?;
    let unreadable = [blocks.unreadable, unread].concat();
    let dry_run = DryRun { dry_run: true, request, blocks: affected, unreadable };
    output.show(&dry_run, || dry_run_text(&dry_run.blocks, &dry_run.unreadable))
}

/// Says which blocks were not looked at; `None` if there are none.
fn unreadable_text(blocks: &[Uuid]) -> Option<String> {
    if blocks.is_empty() {
        return None;
    }
    let (count, named) = (format::counted(blocks.len(), "block"), format::names(blocks));
    Some(format!("{count} cannot be read and may have it too (see verify): {named}"))
}

async fn carry_out(
    bucket: &Bucket,
    tenant: &str,
    request: JobRequest,
    blocks: &Blocks,
    config: Option<&Config>,
) -> Result<JobRecord> {
    let compactor_of = |blocks: &Blocks| {
        // Nothing but its own job is run: this process does not know the blocks of other tenants.
        let owns = Arc::new(|_: &str| true);
        let blocklist = blocks.blocklist(tenant);
        Compactor::new(settings(config), bucket.clone(), blocklist, owns, &Registry::new())
    };
    let mut compactor = compactor_of(blocks);
    let id = compactor.create_job(tenant, request).await?.id;
    // The job's record says what was done. A compactor on the bucket continues from there.
    let not_through = |reason: &str| Error::Setup(format!("job {id} is not through: {reason}"));
    let failed = |error: &dyn std::error::Error| not_through(&error_text(error));
    let mut pass = 1;
    loop {
        let spinner = progress::spinner("writing blocks anew");
        let done = compactor.run_job(tenant, id, None, &CancellationToken::new()).await;
        spinner.finish_and_clear();
        let status = done.map_err(|error| failed(&error))?;
        let record = compactor.job(tenant, id).await.map_err(|error| failed(&error))?;
        match unfinished(status, &record) {
            None => return Ok(record),
            Some(OTHERS) if pass < MAX_PASSES => pass += 1,
            Some(reason) => return Err(not_through(reason)),
        }
        // What a compactor on the bucket wrote meanwhile is not among the blocks that were listed before.
        let listed = bucket::blocks(bucket, tenant).await;
        compactor = compactor_of(&listed.map_err(|error| failed(&error))?);
    }
}

/// Why a pass of a job has not done everything; `None` if it has. `status` is that of the pass: another process may have
/// written the record since.
fn unfinished(status: JobStatus, record: &JobRecord) -> Option<&str> {
    match status {
        JobStatus::Watching | JobStatus::Done => None,
        JobStatus::Cancelled => Some("it was cancelled"),
        JobStatus::Pending | JobStatus::Running if record.error.is_empty() => Some(OTHERS),
        JobStatus::Pending | JobStatus::Running => Some(record.error.as_str()),
    }
}

/// The settings of a compactor that only runs a job.
fn settings(config: Option<&Config>) -> Settings {
    Settings {
        compaction: Compaction::default(),
        jobs: CompactorJobs {
            // The compactor on the bucket watches for new blocks.
            watch_period: Duration::MAX.into(),
            max_open_per_tenant: 0,
            ..CompactorJobs::default()
        },
        retention_interval: HOUR,
        rewrite: building::rewrite(building::settings(BlockVersion::VParquet4, &[]), config),
        limits: Arc::new(|_| Limits::default()),
    }
}

fn dry_run_text(blocks: &[Preview], unreadable: &[Uuid]) -> String {
    let lines = Table::of(blocks)
        .left("BLOCK", |block| block.block.to_string())
        .right("TRACES", |block| block.traces.to_string())
        .right("SPANS", |block| block.spans.to_string())
        .right("VALUES", |block| block.values.to_string())
        .right("SIZE", |block| format::bytes(block.bytes))
        .render();
    let note =
        if blocks.is_empty() { "nothing to do" } else { "nothing is changed: add --yes to do it" };
    let count = format::counted(blocks.len(), "block");
    let unreadable = unreadable_text(unreadable).map(|text| text + "\n").unwrap_or_default();
    format!("{lines}{count} would be written anew; {note}\n{unreadable}")
}

fn record_text(record: &JobRecord) -> String {
    let lines = Table::of(&record.blocks)
        .left("BLOCK", |change| change.block.to_string())
        .left("REPLACED BY", |change| {
            change.replaced_by.map_or_else(|| "-".to_owned(), |id| id.to_string())
        })
        .right("TRACES", |change| change.traces_deleted.to_string())
        .right("SPANS", |change| change.spans_deleted.to_string())
        .right("VALUES", |change| change.values_redacted.to_string())
        .render();
    let blocks = format::counted(record.blocks.len(), "block");
    let (id, status) = (record.id, record.status.name());
    format!("{lines}{blocks} written anew; job {id} is {status}\n")
}

#[cfg(test)]
mod tests {
    use tactus_storage::Timestamp;

    use super::*;

    #[test]
    fn job_is_through_only_once_a_pass_has_checked_all_blocks() {
        let mut record = JobRecord::new("t", JobRequest::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(unfinished(JobStatus::Watching, &record), None);
        assert_eq!(unfinished(JobStatus::Done, &record), None);
        assert_eq!(unfinished(JobStatus::Running, &record), Some(OTHERS));
        assert!(unfinished(JobStatus::Cancelled, &record).is_some());
        record.error = "block 1: gone".to_owned();
        assert_eq!(unfinished(JobStatus::Running, &record), Some("block 1: gone"));
    }

    #[test]
    fn dry_run_tells_which_blocks_were_not_looked_at() {
        assert!(!dry_run_text(&[], &[]).contains("cannot be read"));
        let text = dry_run_text(&[], &[1, 2, 3, 4].map(Uuid::from_u128));
        assert!(text.contains("4 blocks cannot be read"), "{text}");
        assert!(text.contains("000000000003, …") && !text.contains("000000000004"), "{text}");
    }
}
