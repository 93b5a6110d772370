//! Finds segments, and reads back the write-ahead log, at the start.

mod cut_directory;
mod held;
mod log;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tactus_model::TenantId;
use tactus_storage::Uuid;
use tactus_telemetry::error_text;
use tactus_wal::Replay;

use crate::{
    begun_blocks::{Manifest, PendingBlock},
    error::Error,
    ingester::Ingester,
    layout::{Layout, PartRange, decided_paths, is_loop, parse_part_range, read_file},
    notes::Fate,
    segment::{Segment, SegmentError, is_error_of_disk},
    unreadable::What,
};

use cut_directory::CutDirectory;
use log::{Covered, replay_log};

/// How often a start reads again what the disk cannot read and much depends on, and the pauses.
const MORE_READS: usize = 3;
const PAUSE_OF_READS: Duration = Duration::from_millis(100);

/// Takes over what an earlier process left: segments, blocks in progress, and spans that are only in the log.
///
/// Memory: the spans of one log part. A damaged segment goes to quarantine, and the log keeps a damaged part aside;
/// both are logged and counted. So is what the disk cannot read, which stays where it is.
pub(crate) fn restore(ingester: &Arc<Ingester>, log: Replay) -> Result<(), Error> {
    let found = find_segments(ingester)?;
    if let Err(error) = resume_blocks(ingester) {
        tracing::error!(
            error = error_text(&error),
            "cannot read which blocks were in progress: their spans may be written to other blocks as well"
        );
    }
    replay_log(ingester, log, &found)
}

/// Opens the segments on disk.
fn find_segments(ingester: &Ingester) -> Result<Covered, Error> {
    let notes = read_notes(ingester)?;
    let directories = list_patiently(&ingester.layout.segments())?;
    // Where no number is left, the log takes no pushes, and says so.
    ingester.wal.skip_to(first_free_part(&directories, &notes))?;
    let mut covered = Covered::default();
    // In order of their numbers, because the oldest segments go into a block first.
    for path in directories {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(".writing-") {
            delete(&path, fs::remove_dir_all(&path));
        } else if let Some(parts) = parse_part_range(&name) {
            let mut directory = CutDirectory::new(ingester, &path, &notes);
            match list_patiently(&path) {
                Ok(paths) => directory.open(paths)?,
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotADirectory || is_loop(&source) =>
                {
                    directory.set_aside(&path, &SegmentError::read(&path, source));
                }
                Err(Error::Io { source, .. }) if is_error_of_disk(&source) => {
                    let error = SegmentError::read(&path, source);
                    ingester.wait_for_disk(&path, What::Unknown, &error);
                }
                Err(error) => return Err(error),
            }
            // Fails unless it is empty. The log goes before the files of segments, so what is left of it is the only copy.
            let is_empty = fs::remove_dir(&path).is_ok();
            // Whatever became of the copy for the quarantine: a full disk has no room for it.
            let is_damaged = is_empty
                || directory.has_damage()
                || ingester.unreadable.has_below(&path)
                || has_quarantined(ingester, &path);
            // Of what could not be read, or is not there, spans that the log still has are cut again, under other numbers:
            // notes say that the segments with these numbers are gone.
            covered.parts.push(parts);
            covered.damaged.extend(is_damaged.then_some(parts));
        } else {
            tracing::warn!(path = %path.display(), "foreign entry among the segments, left alone");
        }
    }
    // If the log still has a part whose segments are gone, new ones must not get their names: notes would call them gone.
    let left = ingester.wal.parts();
    let is_left = |parts: &PartRange| left.iter().any(|part| parts.contains(part.id.number()));
    let noted: Vec<_> = noted_parts(&notes).filter(is_left).collect();
    covered.parts.extend(&noted);
    covered.damaged.extend(&noted);
    covered.parts.sort_unstable();
    covered.parts.dedup();
    Ok(covered)
}

/// What became of segments.
///
/// Errors: it is unknown, and the notes cannot be set aside. New segments may get the numbers that they are about, so that
/// nobody may read them later.
fn read_notes(ingester: &Ingester) -> Result<HashMap<String, Fate>, Error> {
    let path = Layout::notes(&ingester.settings.directory);
    let is_unread = |read: &io::Result<_>| read.as_ref().is_err_and(is_error_of_disk);
    let error = match patiently(|| ingester.notes.read(), is_unread) {
        Ok(notes) => return Ok(notes),
        Err(error) if is_error_of_disk(&error) || error.kind() == io::ErrorKind::InvalidData => {
            error
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let kept = ingester.layout.quarantine(&path).map_err(Error::io("set aside", &path))?;
    tracing::error!(
        %error,
        kept = %kept.display(),
        "cannot read segments.notes: spans that are in blocks may be written to other blocks as well"
    );
    Ok(HashMap::new())
}

/// True if something of a directory is in the quarantine, or if nobody knows: then the log may have the only copy of it.
fn has_quarantined(ingester: &Ingester, directory: &Path) -> bool {
    let is_unread = |found: &io::Result<bool>| found.is_err();
    patiently(|| ingester.layout.has_quarantined(directory), is_unread).unwrap_or(true)
}

/// The first log part number that no directory of segments uses, and that no note is about: what became of a segment that
/// is gone must not be taken for what became of a new one.
fn first_free_part(directories: &[PathBuf], notes: &HashMap<String, Fate>) -> u64 {
    let names = directories.iter().filter_map(|path| path.file_name()?.to_str());
    let ranges = names.filter_map(parse_part_range).chain(noted_parts(notes));
    ranges.map(|range| range.last + 1).max().unwrap_or(1)
}

/// The log parts of the segments that notes are about.
fn noted_parts(notes: &HashMap<String, Fate>) -> impl Iterator<Item = PartRange> {
    notes.keys().filter_map(|key| parse_part_range(key.split_once('/')?.0))
}

/// Reads something. If the disk cannot, it is asked again, because a path to it may fail over.
fn patiently<R>(read: impl Fn() -> R, is_unread: impl Fn(&R) -> bool) -> R {
    for _ in 0..MORE_READS {
        let result = read();
        if !is_unread(&result) {
            return result;
        }
        thread::sleep(PAUSE_OF_READS);
    }
    read()
}

fn list_patiently(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_unread = |listed: &Result<_, Error>| match listed {
        Err(Error::Io { source, .. }) => is_error_of_disk(source),
        _ => false,
    };
    patiently(|| list_sorted(directory), is_unread)
}

fn list_sorted(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        paths.push(entry.map_err(Error::io("list", directory))?.path());
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Logs if a leftover file could not be deleted, which does no harm.
fn delete(path: &Path, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(path = %path.display(), %error, "cannot delete a leftover");
    }
}

/// Finds the blocks in progress, so that each is finished once and under its own id.
fn resume_blocks(ingester: &Ingester) -> Result<(), Error> {
    let root = ingester.layout.flushing();
    let mut result = Ok(());
    for tenant_entry in fs::read_dir(&root).map_err(Error::io("list", &root))? {
        let directory = tenant_entry.map_err(Error::io("list", &root))?.path();
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (Ok(tenant), true) = (TenantId::parse(name), directory.is_dir()) else { continue };
        // If one directory cannot be listed, the blocks of the others are resumed all the same.
        match list_sorted(&directory) {
            Ok(paths) => paths.iter().for_each(|path| resume_block(ingester, &tenant, path)),
            Err(error) => result = Err(error),
        }
    }
    result
}

fn resume_block(ingester: &Ingester, tenant: &TenantId, path: &Path) {
    let id = path.file_stem().and_then(|stem| Uuid::parse_str(stem.to_str()?).ok());
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "cannot read a manifest, left alone");
            return;
        }
    };
    let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
    let (Some(id), Some(manifest)) = (id, manifest) else {
        // A manifest is renamed into place, so an unreadable one is a leftover from before its block began.
        let _ = fs::remove_file(path);
        return;
    };
    let listed: HashSet<&Path> = manifest.segments.iter().map(PathBuf::as_path).collect();
    let root = ingester.layout.segments();
    let is_listed = |path: &Path| path.strip_prefix(&root).is_ok_and(|path| listed.contains(path));
    let mut segments = ingester.tenant_or_insert(tenant).segments();
    if manifest.flushed.is_some() {
        let is_stored = |segment: &&Arc<Segment>| {
            segment.is_pending() && is_listed(&decided_paths(segment.path()).1)
        };
        segments.iter().filter(is_stored).for_each(|it| let_go_of_undecided(ingester, tenant, it));
    }
    segments.retain(|segment| is_listed(segment.path()));
    if segments.is_empty() {
        let _ = fs::remove_file(path);
        return;
    }
    match manifest.flushed {
        Some(_) => {
            // Keep the segments for the full time again: if the clock was set meanwhile, nobody knows how long readers
            // have known the block.
            let block = PendingBlock::new(id, segments, true);
            ingester.flushes.held.add(tenant.clone(), Instant::now(), block);
        }
        None => ingester.flushes.resume(tenant, id, segments),
    }
}

/// Ends a segment of which a block has what tail sampling left. It was found because its result is damaged here. If it were
/// decided again, its spans would be in two blocks.
fn let_go_of_undecided(ingester: &Ingester, tenant: &TenantId, segment: &Arc<Segment>) {
    if let Err(error) = ingester.note(std::slice::from_ref(segment), Fate::Gone) {
        tracing::error!(
            path = %segment.path().display(),
            error = error_text(&error),
            "cannot record that a segment is in a block"
        );
    }
    ingester.tenant_or_insert(tenant).replace_segment(segment, None);
    segment.release();
}
