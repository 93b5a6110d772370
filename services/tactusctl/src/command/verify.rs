//! `verify`: finds damage in blocks, and repairs it.
//!
//! `data.parquet` is the truth. All other files of a block can be made from it again. Data that cannot be read is never
//! deleted: its block is set aside by a version in its meta that no reader knows.

mod block;
mod deep;
mod finding;
mod repair;
mod salvage;
mod tenant;
mod tenant_index;
mod tree;

use std::ops::Range;

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tactus_block::read::RowGroup;
use tactus_storage::Bucket;

use crate::error::{Error, Result};
use crate::output::{Output, Table, format};
use crate::{Outcome, arguments, bucket, progress};
use finding::{Finding, Severity};
use tenant::ListedTenant;

/// If no data is read, this many times more blocks are checked at a time, because the checks mostly wait for the store.
const SHALLOW_FACTOR: usize = 8;

/// What was checked, and the findings.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    tenants: Vec<TenantReport>,
    /// Live blocks checked.
    blocks: usize,
    /// Findings of damage that was not repaired.
    damage: usize,
    /// Findings that were repaired.
    repaired: usize,
}

#[derive(Debug, Serialize)]
struct TenantReport {
    tenant: String,
    blocks: usize,
    findings: Vec<Finding>,
}

pub(super) async fn run(
    bucket: &Bucket,
    command: &arguments::Verify,
    output: &Output,
) -> Result<Outcome> {
    let tenants = match &command.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => bucket::tenants(bucket).await?,
    };
    let mut report = Report::default();
    for tenant in tenants {
        let checked = match check_tenant(bucket, &tenant, command).await {
            // A local directory without files, such as `lost+found`, or a tenant that was deleted meanwhile.
            Err(Error::NotFound(_)) if command.tenant.is_none() => continue,
            checked => checked?,
        };
        report.blocks += checked.blocks;
        for finding in &checked.findings {
            match (&finding.repair, finding.severity) {
                (Some(_), _) => report.repaired += 1,
                (None, Severity::Damage) => report.damage += 1,
                (None, Severity::Note) => {}
            }
        }
        report.tenants.push(checked);
    }
    output.show(&report, || text(&report))?;
    Ok(if report.damage > 0 { Outcome::Damage } else { Outcome::Fine })
}

async fn check_tenant(
    bucket: &Bucket,
    tenant: &str,
    command: &arguments::Verify,
) -> Result<TenantReport> {
    let listed = ListedTenant::list(bucket, tenant, command.block).await?;
    let at_a_time = usize::from(command.parallel) * if command.deep { 1 } else { SHALLOW_FACTOR };
    let bytes: u64 = listed.blocks.values().map(tenant::ListedBlock::data_bytes).sum();
    let bar = match command.deep {
        true => progress::bytes("reading blocks", bytes),
        false => progress::bar("checking blocks", listed.blocks.len() as u64),
    };
    let mut checks: Vec<_> = stream::iter(&listed.blocks)
        .map(|(&id, files)| block::check(bucket, &listed, id, files, command.deep, &bar))
        .buffer_unordered(at_a_time)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<_>>()?;
    bar.finish_and_clear();
    checks.sort_unstable_by_key(|check: &finding::Check| check.id);
    let mut findings = Vec::new();
    // If only one block is checked, the list of all blocks is not.
    if command.block.is_none() {
        findings.extend(tenant_index::check(bucket, tenant, &listed, &checks).await?);
    }
    if command.repair {
        let mut changed = !findings.is_empty();
        let bar = progress::bar("mending blocks", checks.len() as u64);
        for check in &mut checks {
            changed |= repair::block(bucket, check, &listed).await?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        if changed {
            let done = tenant_index::rebuild(bucket, tenant).await?;
            findings.iter_mut().for_each(|finding| finding.repair = Some(done.clone()));
        }
    }
    let blocks = checks.iter().filter(|check| check.is_live).count();
    findings.extend(checks.into_iter().flat_map(|check| check.findings));
    Ok(TenantReport { tenant: tenant.to_owned(), blocks, findings })
}

fn text(report: &Report) -> String {
    let detail = |finding: &Finding| match &finding.repair {
        Some(repair) => format!("{}; repaired: {repair}", finding.what),
        None if finding.severity == Severity::Note => format!("{} (note)", finding.what),
        None => finding.what.clone(),
    };
    let findings = report.tenants.iter().flat_map(|checked| {
        checked.findings.iter().map(|finding| (checked.tenant.as_str(), finding))
    });
    let lines = Table::of(findings)
        .left("TENANT", |(tenant, _)| (*tenant).to_owned())
        .left("BLOCK", |(_, it)| it.block.map_or_else(|| "-".to_owned(), |id| id.to_string()))
        .left("PROBLEM", |(_, finding)| finding.problem.as_str().to_owned())
        .left("DETAIL", |(_, finding)| format::clean(&detail(finding)))
        .render();
    let any = report.tenants.iter().any(|tenant| !tenant.findings.is_empty());
    let Report { blocks, damage, repaired, .. } = report;
    let summary = format!("blocks: {blocks}  damage: {damage}  repaired: {repaired}\n");
    if any { lines + &summary } else { summary }
}

/// Divides the rows of a row group into ranges of about `bytes` before compression.
fn windows(group: &RowGroup, bytes: u64) -> impl Iterator<Item = Range<u64>> + use<> {
    let traces = group.traces;
    let windows = group.uncompressed_bytes.div_ceil(bytes).clamp(1, traces.max(1));
    let step = traces.div_ceil(windows).max(1);
    let starts = (0..traces).step_by(usize::try_from(step).unwrap_or(usize::MAX));
    starts.map(move |from| from..traces.min(from + step))
}

/// True for an error that says nothing about the block, because the store cannot be reached or denies access.
fn is_transient(error: &tactus_block::Error) -> bool {
    let tactus_block::Error::Io(error) = error else { return false };
    let stored = error.get_ref().and_then(|source| source.downcast_ref::<tactus_storage::Error>());
    stored.is_some_and(|error| {
        error.is_retryable() || matches!(error, tactus_storage::Error::Denied { .. })
    })
}
