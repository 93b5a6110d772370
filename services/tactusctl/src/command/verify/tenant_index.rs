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

/// Compares both index files of a tenant with its blocks.
pub(super) async fn check(
    bucket: &Bucket,
    tenant: &str,
    listed: &ListedTenant,
    checks: &[Check],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let now = Timestamp::now();
    for (name, decode) in INDEX_FILES {
        let mut add = |severity, what: String| {
            let what = format!("{name}: {what}");
            let problem = Problem::TenantIndex;
            findings.push(Finding { block: None, problem, severity, what, repair: None });
        };
        match read_index_file(bucket, tenant, name, decode).await? {
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
                for difference in differences(&index, listed, checks, now) {
                    add(Severity::Damage, difference);
                }
            }
        }
    }
    Ok(findings)
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
        // If the index was not written for long, even new blocks should be in it.
        let is_newer = modified.is_some_and(|(_, time)| {
            written.duration_since(*time) < CLOCKS && now.duration_since(*time) < YOUNG
        });
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
    let bucket::Blocks { live, compacted, .. } = bucket::fresh_blocks(bucket, tenant).await?;
    let (blocks, marked) = (live.len(), compacted.len());
    if blocks + marked == 0 {
        for (name, _) in INDEX_FILES {
            bucket.delete(&tenant_index_key(tenant, name)).await?;
        }
        return Ok("the tenant index is deleted: there is no block".to_owned());
    }
    let form = META_FORM;
    let index = TenantIndex { created_at, live, compacted, left_out: 0, unread: 0, form };
    let encoded = tokio::task::spawn_blocking(move || (index.to_proto_zst(), index.to_json_gz()));
    let (proto, json) = encoded.await.map_err(Error::thread)?;
    for (name, bytes) in [(TENANT_INDEX_PROTO, proto), (TENANT_INDEX_JSON, json)] {
        bucket.put(&tenant_index_key(tenant, name), bytes.into()).await?;
    }
    Ok(format!("tenant index written with {blocks} live and {marked} compacted blocks"))
}
