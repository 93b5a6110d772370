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
use tactus_storage::{Bucket, Uuid};

use crate::error::{Error, Result, stored};
use crate::output::{Output, Table, format};
use crate::{Outcome, arguments, bucket, progress};
use finding::{Check, Finding, Severity};
use tenant::ListedTenant;

/// If no data is read, this many times more blocks are checked at a time, because the checks mostly wait for the store.
const SHALLOW_FACTOR: usize = 8;

/// After this many failures in a row the store is taken to be away, and the rest is not tried: each try may take minutes.
const MOST_FAILURES: usize = 10;

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
    /// What could not be read or written.
    failed: usize,
    /// Tenants that were not looked at, because the store does not answer any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_tried: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TenantReport {
    tenant: String,
    blocks: usize,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, checked: TenantReport) {
        self.blocks += checked.blocks;
        for finding in &checked.findings {
            match (&finding.repair, finding.severity) {
                (Some(_), _) => self.repaired += 1,
                (None, Severity::Damage) => self.damage += 1,
                (None, Severity::Unknown) => self.failed += 1,
                (None, Severity::Note) => {}
            }
        }
        self.tenants.push(checked);
    }
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
    let mut tenants = tenants.into_iter();
    let (mut report, mut in_a_row) = (Report::default(), 0);
    while let Some(tenant) = tenants.next() {
        let mut checked = TenantReport { tenant, blocks: 0, findings: Vec::new() };
        let done = match check_tenant(bucket, command, &mut checked).await {
            Ok(done) => {
                in_a_row = 0;
                done
            }
            // A local directory without files, such as `lost+found`, or a tenant that was deleted meanwhile.
            Err(Error::NotFound(_)) if command.tenant.is_none() => continue,
            // There is nothing else to tell.
            Err(error) if command.tenant.is_some() => return Err(error),
            Err(error) => {
                failed(None, error, &mut in_a_row).map(|finding| checked.findings.push(finding))
            }
        };
        let away = done.err();
        checked.findings.extend(away.as_ref().map(|error| Finding::failed(None, error)));
        report.add(checked);
        if away.is_some() {
            report.not_tried = tenants.collect();
            break;
        }
    }
    if report.tenants.is_empty() {
        // A wrong place must not look like a sound one.
        let text = "the bucket has no tenant: look at --path, or at the bucket and its prefix in the configuration";
        return Err(Error::NotFound(text.to_owned()));
    }
    output.show(&report, || text(&report))?;
    match report {
        Report { damage: 1.., .. } => Ok(Outcome::Damage),
        Report { failed: 1.., .. } => {
            let text = "not everything could be read or written: the problem `failed` says why";
            Err(Error::Setup(text.to_owned()))
        }
        _ => Ok(Outcome::Fine),
    }
}

/// Adds to the report what is found. Errors: the tenant cannot be listed. The inner error: the store does not answer any more.
async fn check_tenant(
    bucket: &Bucket,
    command: &arguments::Verify,
    report: &mut TenantReport,
) -> Result<Result<()>> {
    let listed = ListedTenant::list(bucket, &report.tenant, command.block).await?;
    let mut checks = Vec::with_capacity(listed.blocks.len());
    let mut done = check_blocks(bucket, command, &listed, &mut checks).await;
    checks.sort_unstable_by_key(|check| check.id);
    // If only one block is checked, the list of all blocks is not.
    if done.is_ok() && command.block.is_none() {
        match tenant_index::check(bucket, &listed, &checks).await {
            Ok(findings) => report.findings.extend(findings),
            Err(error) => report.findings.push(Finding::failed(None, &error)),
        }
    }
    if done.is_ok() && command.repair {
        done = repair_blocks(bucket, &listed, &mut checks, &mut report.findings).await;
    }
    report.blocks = checks.iter().filter(|check| check.is_live).count();
    report.findings.extend(checks.into_iter().flat_map(|check| check.findings));
    Ok(done)
}

/// Errors: the store does not answer any more.
async fn check_blocks(
    bucket: &Bucket,
    command: &arguments::Verify,
    listed: &ListedTenant,
    checks: &mut Vec<Check>,
) -> Result<()> {
    let at_a_time = usize::from(command.parallel) * if command.deep { 1 } else { SHALLOW_FACTOR };
    let bytes: u64 = listed.blocks.values().map(tenant::ListedBlock::data_bytes).sum();
    let bar = match command.deep {
        true => progress::bytes("reading blocks", bytes),
        false => progress::bar("checking blocks", listed.blocks.len() as u64),
    };
    let bar = &bar;
    let mut running = stream::iter(&listed.blocks)
        .map(|(&id, files)| async move {
            (id, block::check(bucket, listed, id, files, command.deep, bar).await)
        })
        .buffer_unordered(at_a_time);
    let mut in_a_row = 0;
    while let Some((id, checked)) = running.next().await {
        checks.push(match checked {
            Ok(check) => {
                in_a_row = 0;
                check
            }
            Err(error) => {
                let findings = vec![failed(Some(id), error, &mut in_a_row)?];
                Check { id, is_live: false, meta: None, findings }
            }
        });
    }
    bar.finish_and_clear();
    Ok(())
}

/// Repairs blocks and the tenant index, and notes in the findings what was done. Errors: the store does not answer any more.
async fn repair_blocks(
    bucket: &Bucket,
    listed: &ListedTenant,
    checks: &mut [Check],
    of_index: &mut Vec<Finding>,
) -> Result<()> {
    let mut changed = of_index.iter().any(|finding| finding.severity == Severity::Damage);
    let bar = progress::bar("mending blocks", checks.len() as u64);
    let mut in_a_row = 0;
    for check in checks {
        match repair::block(bucket, check, listed).await {
            Ok(done) => {
                in_a_row = 0;
                changed |= done;
            }
            Err(error) => check.findings.push(failed(Some(check.id), error, &mut in_a_row)?),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if changed {
        match tenant_index::rebuild(bucket, &listed.name).await {
            Ok(done) => {
                let written = of_index.iter_mut().filter(|it| it.severity != Severity::Unknown);
                written.for_each(|finding| finding.repair = Some(done.clone()));
            }
            Err(error) => of_index.push(Finding::failed(None, &error)),
        }
    }
    Ok(())
}

/// The finding for the error of a block or a tenant. Errors: it is the last of so many that the store is taken to be away.
fn failed(block: Option<Uuid>, error: Error, in_a_row: &mut usize) -> Result<Finding> {
    *in_a_row = if error.is_retryable() { *in_a_row + 1 } else { 0 };
    match *in_a_row {
        MOST_FAILURES.. => Err(error),
        _ => Ok(Finding::failed(block, &error)),
    }
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
    let Report { blocks, damage, repaired, failed, not_tried, .. } = report;
    let mut summary = format!("blocks: {blocks}  damage: {damage}  repaired: {repaired}");
    if *failed > 0 {
        summary.push_str(&format!("  failed: {failed}"));
    }
    summary.push('\n');
    if !not_tried.is_empty() {
        let names = format::clean(&not_tried.join(", "));
        summary.push_str(&format!("not looked at: {names}\n"));
    }
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
    stored(error).is_some_and(|error| {
        error.is_retryable() || matches!(error, tactus_storage::Error::Denied { .. })
    })
}

#[cfg(test)]
mod tests {
    use tactus_storage::layout::{
        META, TENANT_INDEX_PROTO, block_key, bloom_name, tenant_index_key,
    };
    use tactus_storage::tenant_index::TenantIndex;

    use super::*;
    use crate::testing::{TENANT, copy};

    const COMMAND: arguments::Verify =
        arguments::Verify { tenant: None, block: None, deep: false, repair: true, parallel: 2 };

    #[tokio::test]
    async fn block_that_cannot_be_read_hides_no_other_finding_and_no_repair() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let listed = ListedTenant::list(&bucket, TENANT, None).await.unwrap();
        let (&sound, _) = listed.blocks.first_key_value().unwrap();
        let sick = Uuid::from_u128(7);
        bucket.put(&block_key(TENANT, sick, META), "{".into()).await.unwrap();
        bucket.delete(&block_key(TENANT, sound, &bloom_name(0))).await.unwrap();
        let listed = ListedTenant::list(&bucket, TENANT, None).await.unwrap();
        // A socket: opening it is an error that says nothing about the block.
        let meta = bucket.local_path(&block_key(TENANT, sick, META)).unwrap();
        std::fs::remove_file(&meta).unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &meta).unwrap();
        let mut checks = Vec::new();
        check_blocks(&bucket, &COMMAND, &listed, &mut checks).await.unwrap();
        checks.sort_unstable_by_key(|check| check.id);
        let problems = |check: &Check| {
            let findings = check.findings.iter();
            findings.map(|it| (it.problem.as_str(), it.repair.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(problems(&checks[0]), [("failed", false)]);
        assert_eq!(problems(&checks[1]), [("bloom", false)]);
        // What was repaired is told, and the index says that it lacks the other block, whose meta can be listed again.
        std::fs::remove_file(&meta).unwrap();
        std::fs::write(&meta, "{").unwrap();
        let mut of_index = Vec::new();
        repair_blocks(&bucket, &listed, &mut checks, &mut of_index).await.unwrap();
        assert_eq!(problems(&checks[1]), [("bloom", true)]);
        assert!(of_index.is_empty(), "{of_index:?}");
        let index = bucket.get(&tenant_index_key(TENANT, TENANT_INDEX_PROTO)).await.unwrap();
        let index = TenantIndex::from_proto_zst(&index).unwrap();
        assert_eq!((index.live.len(), index.unread), (1, 1));
    }

    #[test]
    fn report_names_the_tenants_that_were_not_looked_at() {
        let tenants = || ["b", "c\u{1b}"].map(str::to_owned).to_vec();
        let report = Report { not_tried: tenants(), ..Report::default() };
        assert!(text(&report).ends_with("repaired: 0\nnot looked at: b, c\\u{1b}\n"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["notTried"], serde_json::json!(tenants()));
    }

    #[test]
    fn store_that_does_not_answer_ends_the_check() {
        let away = || {
            let (key, source) = (String::new(), "timeout".into());
            Error::Storage(tactus_storage::Error::Unavailable { key, source })
        };
        let refused = || Error::Setup("a disk".to_owned());
        let mut in_a_row = 0;
        for _ in 1..MOST_FAILURES {
            assert!(failed(Some(Uuid::nil()), away(), &mut in_a_row).is_ok());
        }
        assert!(failed(Some(Uuid::nil()), refused(), &mut in_a_row).is_ok());
        for _ in 1..MOST_FAILURES {
            assert!(failed(Some(Uuid::nil()), away(), &mut in_a_row).is_ok());
        }
        assert!(failed(Some(Uuid::nil()), away(), &mut in_a_row).is_err());
    }

    #[tokio::test]
    async fn place_without_tenants_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let settings = tactus_storage::BucketSettings::Local { path: directory.path().to_owned() };
        let bucket = Bucket::open(&settings).unwrap();
        let output = Output { json: false, colour: false, width: 80 };
        let error = run(&bucket, &COMMAND, &output).await.unwrap_err();
        assert!(error.to_string().contains("no tenant"), "{error}");
    }
}
