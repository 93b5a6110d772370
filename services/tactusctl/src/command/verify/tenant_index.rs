//! Compares a tenant's index with its blocks, and writes the index again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::SignedDuration;
use tactus_storage::layout::{
    COMPACTED_META, META, TENANT_INDEX_JSON, TENANT_INDEX_PROTO, tenant_index_key,
};
use tactus_storage::tenant_index::{META_FORM, TenantIndex};
use tactus_storage::{BlockMeta, Bucket, Timestamp, Uuid};

use super::finding::{Check, Finding, Problem, Severity};
use super::tenant::ListedTenant;
use crate::bucket::{self, INDEX_FILES, read_index_file};
use crate::error::{Error, Result};
use crate::output::format;

/// A running system writes the index at least this often. A difference that is younger is no damage.
const YOUNG: SignedDuration = SignedDuration::from_mins(15);
/// The clocks of writers and of the store may differ by this much.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// A file of the tenant index: its name, and what was read of it.
type IndexFile = (&'static str, tactus_storage::Result<TenantIndex>);

/// Compares both index files of a tenant with its blocks.
pub(super) async fn check(
    bucket: &Bucket,
    listed: &ListedTenant,
    checks: &[Check],
) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    for (name, decode) in INDEX_FILES {
        files.push((name, read_index_file(bucket, &listed.name, name, decode).await?));
    }
    let findings = compare(&files, listed, checks);
    if findings.iter().all(|finding| finding.severity == Severity::Note) {
        return Ok(findings);
    }
    // The listing may be hours older than the index, which does not have what was merged or deleted since.
    let listed = ListedTenant::list(bucket, &listed.name, None).await?;
    Ok(compare(&files, &listed, checks))
}

fn compare(files: &[IndexFile], listed: &ListedTenant, checks: &[Check]) -> Vec<Finding> {
    let now = Timestamp::now();
    let has_json = files.iter().any(|(name, read)| *name == TENANT_INDEX_JSON && read.is_ok());
    let mut findings = Vec::new();
    for (name, read) in files {
        let mut add = |severity, what: String| {
            let what = format!("{name}: {what}");
            let problem = Problem::TenantIndex;
            findings.push(Finding { block: None, problem, severity, what, repair: None });
        };
        match read {
            // Tempo before 2.7 does not write it.
            Err(error) if error.is_not_found() && *name == TENANT_INDEX_PROTO && has_json => {
                add(Severity::Note, format!("missing: readers take {TENANT_INDEX_JSON}"));
            }
            Err(error) if error.is_not_found() => {
                let metas = listed.blocks.values().filter_map(|block| block.files.get(META));
                let oldest = metas.map(|(_, time)| *time).min();
                // A tenant without blocks has no index, and a new tenant may have none yet.
                if let Some(oldest) = oldest {
                    let young = now.duration_since(oldest) < YOUNG;
                    let severity = if young { Severity::Note } else { Severity::Damage };
                    add(severity, "missing".to_owned());
                }
            }
            Err(error) => add(Severity::Damage, error.to_string()),
            Ok(index) => {
                for difference in differences(index, listed, checks, now) {
                    add(Severity::Damage, difference);
                }
            }
        }
    }
    findings
}

fn differences(
    index: &TenantIndex,
    listed: &ListedTenant,
    checks: &[Check],
    now: Timestamp,
) -> Vec<String> {
    let written = index.created_at;
    let is_young = now.duration_since(written) < YOUNG;
    let indexed: HashMap<Uuid, &Arc<BlockMeta>> =
        index.live.iter().map(|meta| (meta.block_id, meta)).collect();
    let mut unlisted = Vec::new();
    let mut changed = Vec::new();
    for check in checks {
        let Some(meta) = &check.meta else { continue };
        let modified = listed.blocks.get(&check.id).and_then(|block| block.files.get(META));
        // It was compacted or deleted after the check.
        let Some((_, time)) = modified else { continue };
        // If the index was not written for long, even new blocks should be in it.
        let is_newer = written.duration_since(*time) < CLOCKS && now.duration_since(*time) < YOUNG;
        match indexed.get(&check.id) {
            None if !is_newer => unlisted.push(check.id),
            Some(known) if !is_same(known, meta, index.form) && !is_newer => {
                changed.push(check.id);
            }
            _ => {}
        }
    }
    let mut gone = Vec::new();
    for meta in &index.live {
        let block = listed.blocks.get(&meta.block_id);
        let is_live = block.is_some_and(|block| block.is_live());
        let compacted = block.and_then(|block| block.files.get(COMPACTED_META));
        let marked_since =
            compacted.is_some_and(|(_, time)| written.duration_since(*time) < CLOCKS);
        if !is_live && !marked_since && !is_young {
            gone.push(meta.block_id);
        }
    }
    let told = [
        ("blocks are missing in it", unlisted),
        ("blocks have another meta in it", changed),
        ("blocks in it are not live", gone),
    ];
    let told = told.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    told.map(|(what, blocks)| format!("{} {what}: {}", blocks.len(), format::names(&blocks)))
        .collect()
}

/// True if the index has this meta. Tempo, and programs before [`META_FORM`], leave out what they do not know.
fn is_same(known: &BlockMeta, meta: &BlockMeta, form: u64) -> bool {
    let without = |meta: &BlockMeta| BlockMeta { extension: None, ..meta.clone() };
    known == meta || (form < META_FORM && without(known) == without(meta))
}

/// Writes both index files from the metas in the bucket. Returns what was done.
pub(super) async fn rebuild(bucket: &Bucket, tenant: &str) -> Result<String> {
    let created_at = Timestamp::now();
    let bucket::Blocks { live, compacted, unreadable, unread } =
        bucket::fresh_blocks(bucket, tenant).await?;
    let (blocks, marked) = (live.len(), compacted.len());
    if blocks + marked + unreadable.len() == 0 {
        for (name, _) in INDEX_FILES {
            bucket.delete(&tenant_index_key(tenant, name)).await?;
        }
        return Ok("the tenant index is deleted: there is no block".to_owned());
    }
    let form = META_FORM;
    let index = TenantIndex { created_at, live, compacted, left_out: 0, unread, form };
    let encoded = tokio::task::spawn_blocking(move || (index.to_proto_zst(), index.to_json_gz()));
    let (proto, json) = encoded.await.map_err(Error::thread)?;
    for (name, bytes) in [(TENANT_INDEX_PROTO, proto), (TENANT_INDEX_JSON, json)] {
        bucket.put(&tenant_index_key(tenant, name), bytes.into()).await?;
    }
    let mut done = format!("tenant index written with {blocks} live and {marked} compacted blocks");
    if unread > 0 {
        done.push_str(&format!(", without {unread} whose meta cannot be read"));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use tactus_storage::block_io::{list_blocks, mark_compacted};
    use tactus_storage::layout::block_key;

    use super::super::block;
    use super::*;
    use crate::progress;
    use crate::testing::{TENANT, copy};

    /// The only block of the bucket. Its meta is older than any index.
    async fn old_block(bucket: &Bucket) -> Uuid {
        let id = list_blocks(bucket, TENANT, 1).await.unwrap().live[0];
        let meta = bucket.local_path(&block_key(TENANT, id, META)).unwrap();
        let file = File::options().write(true).open(meta).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
        id
    }

    async fn checked(bucket: &Bucket) -> (ListedTenant, Vec<Check>) {
        let listed = ListedTenant::list(bucket, TENANT, None).await.unwrap();
        let bar = progress::bar("checking blocks", 0);
        let mut checks = Vec::new();
        for (&id, files) in &listed.blocks {
            checks.push(block::check(bucket, &listed, id, files, false, &bar).await.unwrap());
        }
        (listed, checks)
    }

    async fn read(bucket: &Bucket) -> TenantIndex {
        let (name, decode) = INDEX_FILES[0];
        read_index_file(bucket, TENANT, name, decode).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn index_without_blocks_that_were_merged_after_their_check_is_sound() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let id = old_block(&bucket).await;
        let (listed, checks) = checked(&bucket).await;
        mark_compacted(&bucket, TENANT, id).await.unwrap();
        rebuild(&bucket, TENANT).await.unwrap();
        assert!(read(&bucket).await.live.is_empty());
        let found = check(&bucket, &listed, &checks).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    }

    #[tokio::test]
    async fn index_in_json_alone_is_no_damage() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        old_block(&bucket).await;
        rebuild(&bucket, TENANT).await.unwrap();
        let (listed, checks) = checked(&bucket).await;
        bucket.delete(&tenant_index_key(TENANT, TENANT_INDEX_PROTO)).await.unwrap();
        let found = check(&bucket, &listed, &checks).await.unwrap();
        assert!(found.iter().all(|finding| finding.severity == Severity::Note), "{found:?}");
        bucket.delete(&tenant_index_key(TENANT, TENANT_INDEX_JSON)).await.unwrap();
        let found = check(&bucket, &listed, &checks).await.unwrap();
        assert!(found.len() == 2 && found[0].severity == Severity::Damage, "{found:?}");
    }

    #[tokio::test]
    async fn index_tells_of_blocks_whose_meta_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = copy("vParquet4", directory.path());
        let broken = block_key(TENANT, Uuid::from_u128(7), META);
        bucket.put(&broken, "{".into()).await.unwrap();
        let done = rebuild(&bucket, TENANT).await.unwrap();
        assert!(done.contains("1 live") && done.contains("without 1 "), "{done}");
        let index = read(&bucket).await;
        assert_eq!((index.live.len(), index.unread), (1, 1));
        // Also if there is no other block.
        std::fs::remove_dir_all(directory.path().join(TENANT)).unwrap();
        bucket.put(&broken, "{".into()).await.unwrap();
        rebuild(&bucket, TENANT).await.unwrap();
        let index = read(&bucket).await;
        assert_eq!((index.live.len(), index.unread), (0, 1));
    }
}
