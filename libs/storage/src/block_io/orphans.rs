//! Finds what interrupted writers left: blocks without a meta, and files that were never renamed.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use uuid::Uuid;

use crate::bucket::{Bucket, blocking_write};
use crate::error::{Error, Result};
use crate::layout::{
    self, CLOCK, COMPACTED_META, META, OVERRIDES_DIRECTORY, OVERRIDES_FILE, OWN_PREFIX,
    TENANT_INDEX_JSON, TENANT_INDEX_PROTO, is_block_file, is_tenant_index, parse_block_id,
    parse_block_key,
};

/// How much later than a tenant's index our clock may be. Every poll writes the index, so a larger difference means
/// that the clock has jumped, or that nobody polls.
const MAX_AFTER_INDEX: SignedDuration = SignedDuration::from_hours(1);

/// How often a store is asked for the object that tells its time, and the pause between two times.
const CLOCK_LOOKS: usize = 5;
const CLOCK_PAUSE: Duration = Duration::from_millis(200);

/// A block directory with neither `meta.json` nor `meta.compacted.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The block that it would have been.
    pub block_id: Uuid,
    /// Bytes of its objects.
    pub bytes: u64,
    /// When the newest of its objects was written.
    pub newest: Timestamp,
}

#[derive(Default)]
struct Directory {
    has_meta: bool,
    /// Has a file that no block has, so that another program may need all of it.
    is_foreign: bool,
    bytes: u64,
    newest: Option<Timestamp>,
}

/// Blocks of a tenant that nobody finished, all of whose objects are older than `older_than`; by block id. A directory
/// with a file that no block has is not a block.
///
/// Any of them may belong to an upload in progress, so choose a time that is much longer than an upload. Age is
/// measured with the store's clock, or with ours if that is earlier. Writes an object to find out the store's time.
pub async fn list_orphans(
    bucket: &Bucket,
    tenant: &str,
    older_than: Duration,
) -> Result<Vec<Orphan>> {
    layout::check_tenant(tenant)?;
    let mut directories: HashMap<Uuid, Directory> = HashMap::new();
    let mut index_written = None;
    let mut objects = bucket.list_stream(tenant, None)?;
    while let Some(object) = objects.try_next().await? {
        if is_tenant_index(&object.key) {
            index_written = index_written.max(Some(object.last_modified));
        }
        let Some((_, id, file)) = parse_block_key(&object.key) else { continue };
        let directory = directories.entry(id).or_default();
        directory.has_meta |= file == META || file == COMPACTED_META;
        directory.is_foreign |= !is_block_file(file);
        directory.bytes = directory.bytes.saturating_add(object.size);
        directory.newest = directory.newest.max(Some(object.last_modified));
    }
    directories.retain(|_, directory| !directory.has_meta);
    let foreign = || directories.iter().filter(|(_, directory)| directory.is_foreign);
    if let Some((directory, _)) = foreign().next() {
        let others = foreign().count() - 1;
        tracing::info!(tenant, %directory, others, "a directory has a file that no block has: it is not a block and is left alone");
    }
    let orphans = directories.into_iter().filter(|(_, directory)| !directory.is_foreign);
    let mut orphans: Vec<_> = orphans
        .filter_map(|(block_id, found)| {
            Some(Orphan { block_id, bytes: found.bytes, newest: found.newest? })
        })
        .collect();
    let mut now = our_time();
    if let Some(latest) =
        index_written.and_then(|at: Timestamp| at.checked_add(MAX_AFTER_INDEX).ok())
    {
        now = now.min(latest);
    }
    orphans.retain(|orphan| is_older(orphan.newest, older_than, now));
    if !orphans.is_empty() {
        now = now.min(store_time(bucket).await?);
        orphans.retain(|orphan| is_older(orphan.newest, older_than, now));
    }
    orphans.sort_by_key(|orphan| orphan.block_id);
    let mut found = Vec::with_capacity(orphans.len());
    for orphan in orphans {
        if !is_obstructed(bucket, tenant, orphan.block_id).await? {
            found.push(orphan);
        }
    }
    Ok(found)
}

/// True if reading finds the block, whatever a listing says.
async fn has_meta(bucket: &Bucket, tenant: &str, block_id: Uuid) -> Result<bool> {
    for file in [META, COMPACTED_META] {
        if bucket.exists(&layout::block_key(tenant, block_id, file)).await? {
            return Ok(true);
        }
    }
    is_obstructed(bucket, tenant, block_id).await
}

/// True if something is in the place of the meta of a block that no listing shows, so that the block may be sound.
pub(super) async fn is_obstructed(bucket: &Bucket, tenant: &str, block_id: Uuid) -> Result<bool> {
    for file in [META, COMPACTED_META] {
        if bucket.is_obstructed(&layout::block_key(tenant, block_id, file)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes the objects of an orphan if it still is one. If anything was written there since it was found, it returns
/// false and deletes nothing.
pub async fn clear_orphan(bucket: &Bucket, tenant: &str, orphan: &Orphan) -> Result<bool> {
    layout::check_tenant(tenant)?;
    let prefix = layout::block_prefix(tenant, orphan.block_id);
    let objects = bucket.list(&prefix).await?;
    let is_meta = |key: &str| {
        parse_block_key(key).is_some_and(|(_, _, file)| file == META || file == COMPACTED_META)
    };
    let is_foreign = |key: &str| {
        key.strip_prefix(&prefix).is_some_and(|file| !file.is_empty() && !is_block_file(file))
    };
    let has_changed = objects.iter().any(|object| {
        is_meta(&object.key) || is_foreign(&object.key) || object.last_modified > orphan.newest
    });
    if has_changed || has_meta(bucket, tenant, orphan.block_id).await? {
        return Ok(false);
    }
    bucket.delete_all(objects.into_iter().map(|object| object.key).collect()).await?;
    // A writer may have added files meanwhile, which must stay.
    remove_empty_directories(bucket, &prefix).await?;
    Ok(true)
}

/// Removes, from a local store, empty directories right under `prefix`, then itself if it is empty.
pub async fn remove_empty_directories(bucket: &Bucket, prefix: &str) -> Result<()> {
    let Some(path) = bucket.local_path(prefix.trim_end_matches('/')) else { return Ok(()) };
    blocking_write(prefix, move || {
        remove_empty(&path);
        Ok(())
    })
    .await
}

/// Removes a directory of a local store if it has had nothing but empty directories for as long as `age`. True if it is gone.
pub(crate) async fn remove_old_directory(
    bucket: &Bucket,
    prefix: &str,
    age: Duration,
) -> Result<bool> {
    let Some(path) = bucket.local_path(prefix) else { return Ok(false) };
    blocking_write(prefix, move || {
        let changed = std::fs::metadata(&path).and_then(|directory| directory.modified());
        let changed = changed.ok().and_then(|changed| Timestamp::try_from(changed).ok());
        if !changed.is_some_and(|changed| is_older(changed, age, our_time())) {
            return Ok(false);
        }
        remove_empty(&path);
        Ok(!path.exists())
    })
    .await
}

fn remove_empty(path: &Path) {
    // Directories that are not empty, or already gone, are ignored.
    for entry in read_dir(path).into_iter().flatten() {
        let _ = std::fs::remove_dir(entry.path());
    }
    let _ = std::fs::remove_dir(path);
}

/// True if the store has a clock of its own, which [`store_time`] tells.
pub fn has_clock(bucket: &Bucket) -> bool {
    bucket.local_path(CLOCK).is_none()
}

/// The store's time, from an object written for it. For a local store it is [`tactus_clock::now`],
/// which does not follow the wall clock's jumps at once.
pub async fn store_time(bucket: &Bucket) -> Result<Timestamp> {
    if !has_clock(bucket) {
        return Ok(steady_time());
    }
    bucket.put(CLOCK, Bytes::from_static(b"now")).await?;
    for look in 0..CLOCK_LOOKS {
        if look > 0 {
            // Some stores do not show at once what was written.
            sleep(CLOCK_PAUSE).await;
        }
        if let Some(object) = bucket.find(CLOCK).await? {
            return Ok(object.last_modified);
        }
    }
    let source = "the store does not show what was just written".into();
    Err(Error::Unavailable { key: CLOCK.into(), source })
}

fn steady_time() -> Timestamp {
    // A time that cannot be told is 1970, so that nothing is old.
    Timestamp::try_from(tactus_clock::now()).unwrap_or_default()
}

/// The time by which objects are old enough to be deleted, if no store tells an earlier one. When the wall clock has
/// jumped ahead, it is not believed at first. When it was set back, new objects carry its time, and must not look old.
pub(crate) fn our_time() -> Timestamp {
    Timestamp::now().min(steady_time())
}

/// True if at `now` more than `age` has passed since `time`.
pub(crate) fn is_older(time: Timestamp, age: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(age).is_ok_and(|age| now.duration_since(time) > age)
}

/// What [`clear_leftovers`] or [`clear_shared_leftovers`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Empty block directories.
    pub directories: u64,
}

/// Deletes, from a local store, files of a tenant that an interrupted write never renamed and that are older than
/// `older_than`, and empty block directories of the same age. No listing shows these files, because they are not
/// objects. Does nothing in other stores, whose own life-cycle rules handle broken-off uploads.
pub async fn clear_leftovers(
    bucket: &Bucket,
    tenant: &str,
    older_than: Duration,
) -> Result<Leftovers> {
    layout::check_tenant(tenant)?;
    let Some(path) = bucket.local_path(tenant) else { return Ok(Leftovers::default()) };
    let key = tenant.to_owned();
    blocking_write(tenant, move || {
        clear_leftovers_of(&path, older_than)
            .map_err(|error| Error::Unavailable { key, source: error.into() })
    })
    .await
}

fn clear_leftovers_of(tenant: &Path, older_than: Duration) -> std::io::Result<Leftovers> {
    let mut cleared = Leftovers::default();
    let mut directories = vec![tenant.to_owned()];
    for entry in read_dir(tenant)? {
        let name = entry.file_name();
        if name.to_str().and_then(parse_block_id).is_some() {
            directories.push(entry.path());
        }
    }
    for directory in directories {
        let entries = read_dir(&directory)?;
        let is_block = directory != tenant;
        let is_own = |name: &str| match is_block {
            true => is_block_file(name),
            false => [TENANT_INDEX_PROTO, TENANT_INDEX_JSON].contains(&name),
        };
        let mut is_empty = entries.is_empty() && is_block;
        if is_empty {
            is_empty = directory.metadata().is_ok_and(|found| is_old(&found, older_than));
        }
        if is_empty && std::fs::remove_dir(&directory).is_ok() {
            cleared.directories += 1;
        }
        clear_staged(entries, is_own, older_than, &mut cleared);
    }
    Ok(cleared)
}

/// As [`clear_leftovers`], of the files that are in no directory of blocks: our own, such as records of jobs, and limits that
/// tenants set.
pub async fn clear_shared_leftovers(bucket: &Bucket, older_than: Duration) -> Result<Leftovers> {
    let Some(root) = bucket.local_path("") else { return Ok(Leftovers::default()) };
    blocking_write("/", move || {
        clear_shared_leftovers_of(&root, older_than)
            .map_err(|error| Error::Unavailable { key: "/".into(), source: error.into() })
    })
    .await
}

fn clear_shared_leftovers_of(root: &Path, older_than: Duration) -> std::io::Result<Leftovers> {
    let mut cleared = Leftovers::default();
    clear_staged(read_dir(root)?, |name| name.starts_with(OWN_PREFIX), older_than, &mut cleared);
    for tenant in read_dir(&root.join(OVERRIDES_DIRECTORY))? {
        if tenant.file_type().is_ok_and(|kind| kind.is_dir()) {
            let entries = read_dir(&tenant.path())?;
            clear_staged(entries, |name| name == OVERRIDES_FILE, older_than, &mut cleared);
        }
    }
    Ok(cleared)
}

/// Deletes those of the files that were to get a name that `is_own` takes, and are old.
fn clear_staged(
    entries: Vec<std::fs::DirEntry>,
    is_own: impl Fn(&str) -> bool,
    older_than: Duration,
    cleared: &mut Leftovers,
) {
    for entry in entries {
        let name = entry.file_name();
        let Ok(found) = entry.metadata() else { continue };
        if !found.is_file()
            || !name.to_str().and_then(staged_name).is_some_and(&is_own)
            || !is_old(&found, older_than)
        {
            continue;
        }
        if std::fs::remove_file(entry.path()).is_ok() {
            cleared.files += 1;
            cleared.bytes += found.len();
        }
    }
}

/// The entries of a directory; none if there is no such directory.
fn read_dir(path: &Path) -> std::io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The name in `name#<digits>`, as the local store calls a file before it renames it.
fn staged_name(staged: &str) -> Option<&str> {
    let (name, end) = staged.rsplit_once('#')?;
    (!end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

fn is_old(found: &std::fs::Metadata, older_than: Duration) -> bool {
    found.modified().is_ok_and(|written| tactus_clock::age_of(written) > older_than)
}

#[cfg(test)]
mod tests;
