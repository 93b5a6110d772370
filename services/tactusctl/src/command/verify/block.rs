//! Checks the files of one block against its meta and footer. Also opens blocks, and sets them aside.

use std::sync::Arc;

use indicatif::ProgressBar;
use tactus_block::read::{
    BlockFacts, BlockReader, StoredSource, facts_of, open_stored, stored_tail,
};
use tactus_storage::block_io::{meta_that_fits, read_meta};
use tactus_storage::bloom::BloomShard;
use tactus_storage::index::RowGroupIndex;
use tactus_storage::layout::{COMPACTED_META, DATA, INDEX, META, block_key, bloom_key, bloom_name};
use tactus_storage::{BlockMeta, Bucket, Uuid};
use tactus_telemetry::error_text;
use tokio::runtime::Handle;

use super::deep::{self, Side};
use super::finding::{Check, Finding, Problem};
use super::is_transient;
use super::tenant::{ListedBlock, ListedTenant};
use crate::error::{Error, Result};
use crate::output::format;

/// How many missing bloom filters are named. Of the others, only the number is given.
const NAMED_BLOOMS: usize = 3;

/// Bloom filters of a block at most; no writer makes more.
const MAX_BLOOMS: u32 = 1000;

/// Checks a block. Errors: only errors of the bucket that say nothing about the block, for example that it cannot be reached.
pub(super) async fn check(
    bucket: &Bucket,
    tenant: &ListedTenant,
    id: Uuid,
    listed: &ListedBlock,
    is_deep: bool,
    bar: &ProgressBar,
) -> Result<Check> {
    let name = &tenant.name;
    let mut check = Check { id, is_live: listed.is_live(), meta: None, findings: Vec::new() };
    if !check.is_live {
        if has_lost_its_meta(bucket, tenant, id, listed).await? {
            check.add(Problem::Meta, "missing; the tenant index has it");
        } else {
            check.findings.extend(note_of(id, listed));
        }
    } else {
        match read_meta(bucket, name, id).await {
            Ok(meta) => {
                let meta = Arc::new(meta);
                let read = check.read(bucket, &meta, listed, is_deep, bar).await;
                check.settle(bucket, name, read).await?;
            }
            Err(error) if error.is_corrupt() => {
                check.add(Problem::Meta, error_text(&error));
            }
            // The block was compacted or deleted since the listing.
            Err(error) if error.is_not_found() => check.is_live = false,
            Err(error) => return Err(error.into()),
        }
    }
    if !is_deep {
        bar.inc(1);
    }
    Ok(check)
}

/// True for a block that is live in the tenant index and has data, but no meta of either kind. A block that is being deleted
/// keeps its compacted meta to the end, and a block that is being written is not in the index yet.
async fn has_lost_its_meta(
    bucket: &Bucket,
    tenant: &ListedTenant,
    id: Uuid,
    listed: &ListedBlock,
) -> Result<bool> {
    if listed.is_compacted() || !listed.files.contains_key(DATA) {
        return Ok(false);
    }
    // A listing takes time, so the files are checked once more. Data is deleted before the compacted meta, so it comes last.
    let exists = async |file| match bucket.head(&block_key(&tenant.name, id, file)).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(Error::from(error)),
    };
    Ok(tenant.indexed(bucket, id).await?.is_some()
        && !exists(META).await?
        && !exists(COMPACTED_META).await?
        && exists(DATA).await?)
}

/// The finding for a directory that is neither a live nor a compacted block.
fn note_of(id: Uuid, listed: &ListedBlock) -> Option<Finding> {
    if listed.is_compacted() {
        return None;
    }
    let size = format::bytes(listed.all_bytes());
    let what = format!("no meta: a block on its way or the rest of one, {size}");
    Some(Finding::note(id, Problem::Leftover, what))
}

impl Check {
    /// Drops the findings of a block that was compacted or deleted meanwhile.
    pub(super) async fn settle(
        &mut self,
        bucket: &Bucket,
        tenant: &str,
        read: Result<()>,
    ) -> Result<()> {
        if read.is_ok() && self.findings.is_empty() {
            return Ok(());
        }
        match bucket.head(&block_key(tenant, self.id, META)).await {
            Ok(_) => read,
            Err(error) if error.is_not_found() => {
                self.is_live = false;
                self.findings.clear();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn read(
        &mut self,
        bucket: &Bucket,
        meta: &Arc<BlockMeta>,
        listed: &ListedBlock,
        is_deep: bool,
        bar: &ProgressBar,
    ) -> Result<()> {
        self.meta = Some(Arc::clone(meta));
        if meta.format.ends_with(SET_ASIDE) {
            let what = format!("set aside by a repair: version {}", format::clean(&meta.format));
            self.findings.push(Finding::note(self.id, Problem::SetAside, what));
            return Ok(());
        }
        let Ok(facts) = facts_of(meta) else {
            let what = format!("{} is not a version that is read", format::clean(&meta.format));
            self.findings.push(Finding::note(self.id, Problem::Version, what));
            return Ok(());
        };
        self.check_bloom_files(meta, listed);
        if !listed.files.contains_key(INDEX) {
            // Other writers may leave it out; readers then take the footer.
            match meta.extension {
                Some(_) => self.add(Problem::Index, "missing"),
                None => {
                    let what = "none: the footer is read instead";
                    self.findings.push(Finding::note(self.id, Problem::Index, what));
                }
            }
        }
        let Some(&(size, _)) = listed.files.get(DATA) else {
            self.add(Problem::DataMissing, format!("{DATA} does not exist"));
            return Ok(());
        };
        if size != meta.size {
            self.add(Problem::Size, format!("meta: {} bytes, file: {size}", meta.size));
        }
        // The size of the file itself is used, so that a wrong meta does not hide other findings.
        let facts = BlockFacts { size, ..facts };
        let side = if is_deep {
            self.read_side_files(bucket, meta, listed).await?
        } else {
            Side::default()
        };
        let (bucket, meta, bar) = (bucket.clone(), Arc::clone(meta), bar.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut findings = Vec::new();
            let reader = match open(&bucket, &meta, &facts) {
                Ok(reader) => reader,
                Err(error) if is_transient(&error) => return Err(error),
                Err(error) => {
                    let what = error_text(&error);
                    findings.push(Finding::damage(meta.block_id, Problem::DataUnreadable, what));
                    return Ok(findings);
                }
            };
            compare(&meta, &reader, &mut findings);
            if size == meta.size {
                compare_end(&bucket, &meta, &mut findings)?;
            }
            if is_deep {
                deep::check(&meta, &reader, &side, &bar, &mut findings)?;
            }
            Ok(findings)
        });
        let findings = read.await.map_err(Error::thread)?;
        self.findings.extend(findings.map_err(|error| Error::block(self.id, error))?);
        Ok(())
    }

    fn check_bloom_files(&mut self, meta: &BlockMeta, listed: &ListedBlock) {
        let shards = meta.bloom_shard_count();
        if shards > MAX_BLOOMS {
            self.add(Problem::Meta, format!("{shards} bloom filters: no block has so many"));
            return;
        }
        let names = (0..shards).map(bloom_name);
        let missing: Vec<_> = names.filter(|name| !listed.files.contains_key(name)).collect();
        if missing.is_empty() {
            return;
        }
        let mut what = missing[..missing.len().min(NAMED_BLOOMS)].join(", ");
        if missing.len() > NAMED_BLOOMS {
            what.push_str(&format!(" and {} more", missing.len() - NAMED_BLOOMS));
        }
        self.add(Problem::Bloom, format!("missing: {what}"));
    }

    /// Reads the bloom filters and the index that exist and are valid.
    async fn read_side_files(
        &mut self,
        bucket: &Bucket,
        meta: &BlockMeta,
        listed: &ListedBlock,
    ) -> Result<Side> {
        let mut side = Side::default();
        let shards = Some(meta.bloom_shard_count()).filter(|shards| *shards <= MAX_BLOOMS);
        for shard in 0..shards.unwrap_or(0) {
            if !listed.files.contains_key(&bloom_name(shard)) {
                side.blooms.push(None);
                continue;
            }
            let bytes = bucket.get(&bloom_key(&meta.tenant_id, self.id, shard)).await?;
            let bloom = BloomShard::decode(bytes)
                .map_err(|error| self.add(Problem::Bloom, named(error, &bloom_name(shard))));
            side.blooms.push(bloom.ok());
        }
        if listed.files.contains_key(INDEX) {
            let bytes = bucket.get(&block_key(&meta.tenant_id, self.id, INDEX)).await?;
            match RowGroupIndex::decode(&bytes) {
                Ok(index) => side.index = Some(index),
                Err(error) => self.add(Problem::Index, named(error, INDEX)),
            }
        }
        Ok(side)
    }
}

/// What is wrong with a file.
fn named(error: tactus_storage::Error, file: &str) -> String {
    error.with_key(file).to_string()
}

/// Compares the meta with the footer.
fn compare(meta: &BlockMeta, reader: &BlockReader, findings: &mut Vec<Finding>) {
    let mut add = |problem, what| findings.push(Finding::damage(meta.block_id, problem, what));
    let footer = reader.footer_bytes();
    if meta.footer_size != 0 && meta.footer_size as usize != footer {
        add(Problem::Footer, format!("meta: {} bytes, file: {footer}", meta.footer_size));
    }
    let groups = reader.row_groups().len();
    let said = meta.total_records as usize;
    // Tempo writes one more if its last row group was full.
    if said != groups && said != groups + 1 {
        add(Problem::RowGroups, format!("meta: {said}, file: {groups}"));
    }
    let traces: u64 = reader.row_groups().iter().map(|group| group.traces).sum();
    if meta.total_objects != traces {
        add(Problem::Traces, format!("meta: {}, file: {traces}", meta.total_objects));
    }
    if meta.start_time > meta.end_time {
        add(Problem::Times, format!("from {} to {}", meta.start_time, meta.end_time));
    }
}

/// Compares the end of the data with its copy in the summary, which has a checksum. Errors: only errors that say nothing about
/// the block.
fn compare_end(
    bucket: &Bucket,
    meta: &BlockMeta,
    findings: &mut Vec<Finding>,
) -> tactus_block::Result<()> {
    let runtime = Handle::current();
    let Some(tail) = stored_tail(bucket, meta, &runtime) else { return Ok(()) };
    let source = StoredSource::new(bucket, meta, &runtime)?;
    let what = match tail.is_end_of(&source) {
        Ok(true) => return Ok(()),
        Ok(false) => "the footer or a page index differs from its copy in the summary".to_owned(),
        Err(error) if is_transient(&error) => return Err(error),
        Err(error) => error_text(&error),
    };
    findings.push(Finding::damage(meta.block_id, Problem::DataDamaged, what));
    Ok(())
}

/// Suffix of the version of a block that is set aside. No reader knows such a version. Tactus leaves the block out of
/// queries and merges, and Tempo treats a version with `preview` in its name as an empty block.
pub(super) const SET_ASIDE: &str = "-damaged-preview";

/// Calls `make` with the data of a block, which has this size. The inner error is that of opening the data, or of `make`.
///
/// Errors: only errors that say nothing about the block.
pub(super) async fn read_data<T: Send + 'static>(
    bucket: &Bucket,
    meta: &Arc<BlockMeta>,
    size: u64,
    make: impl FnOnce(&BlockMeta, &BlockReader) -> tactus_block::Result<T> + Send + 'static,
) -> Result<tactus_block::Result<T>> {
    let facts = match facts_of(meta) {
        Ok(facts) => BlockFacts { size, ..facts },
        Err(error) => return Ok(Err(error.into())),
    };
    let (bucket, meta, id) = (bucket.clone(), Arc::clone(meta), meta.block_id);
    let made = tokio::task::spawn_blocking(move || make(&meta, &open(&bucket, &meta, &facts)?));
    match made.await.map_err(Error::thread)? {
        Err(error) if is_transient(&error) => Err(Error::block(id, error)),
        made => Ok(made),
    }
}

/// Opens the data, whatever size the meta claims. A summary is only that of data with the size in the meta.
fn open(
    bucket: &Bucket,
    meta: &BlockMeta,
    facts: &BlockFacts,
) -> tactus_block::Result<BlockReader> {
    if meta.size == facts.size {
        return open_stored(bucket, meta, &Handle::current());
    }
    // A remote source takes its size from the meta.
    let meta = BlockMeta { size: facts.size, ..meta.clone() };
    let source = StoredSource::new(bucket, &meta, &Handle::current())?;
    BlockReader::open(Arc::new(source), facts)
}

/// Hides a block from all readers by another version in its meta. Its files stay until they are as old as the retention.
pub(super) async fn set_aside(bucket: &Bucket, meta: &BlockMeta) -> Result<()> {
    let mut hidden = meta.clone();
    hidden.format.push_str(SET_ASIDE);
    let key = block_key(&meta.tenant_id, meta.block_id, META);
    bucket.put(&key, meta_that_fits(&hidden).into()).await?;
    Ok(())
}
