//! `delete` and `redact` run jobs of the compactor.
//!
//! A job is a record in the bucket. These commands run its first pass. A compactor on the bucket continues it: it checks
//! blocks that appear later, and deletes the old data of rewritten blocks.

mod preview;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use tactus_block_lifecycle::jobs::{JobRecord, JobRequest, RedactionKind, RedactionRequest};
use tactus_block_lifecycle::{Compactor, Limits, Settings};
use tactus_compaction::RedactionScope;
use tactus_config::Config;
use tactus_config::sections::compactor::{Compaction, CompactorJobs};
use tactus_storage::meta::BlockVersion;
use tactus_storage::{Bucket, Uuid};
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
    let blocklist = blocks.blocklist(tenant);
    // It owns only its own job, because this process does not know the blocks of other tenants.
    let own = Arc::new(OnceLock::<String>::new());
    let owns = {
        let own = Arc::clone(&own);
        Arc::new(move |name: &str| own.get().is_some_and(|own| name.contains(own.as_str())))
    };
    let compactor =
        Compactor::new(settings(config), bucket.clone(), blocklist, owns, &Registry::new());
    let record = compactor.create_job(tenant, request).await?;
    own.get_or_init(|| record.id.to_string());
    let spinner = progress::spinner("writing blocks anew");
    compactor.run_jobs(Duration::MAX, &CancellationToken::new()).await;
    spinner.finish_and_clear();
    let record = compactor.job(tenant, record.id).await?;
    if record.error.is_empty() {
        return Ok(record);
    }
    // The job's record says what was done. The next run continues from there.
    Err(Error::Setup(format!("job {} is not through: {}", record.id, record.error)))
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
    use super::*;

    #[test]
    fn dry_run_tells_which_blocks_were_not_looked_at() {
        assert!(!dry_run_text(&[], &[]).contains("cannot be read"));
        let text = dry_run_text(&[], &[1, 2, 3, 4].map(Uuid::from_u128));
        assert!(text.contains("4 blocks cannot be read"), "{text}");
        assert!(text.contains("000000000003, …") && !text.contains("000000000004"), "{text}");
    }
}
