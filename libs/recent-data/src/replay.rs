//! Finds segments, and reads back the write-ahead log, at the start.

mod held;
mod log;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tactus_model::TenantId;
use tactus_storage::Uuid;
use tactus_telemetry::{error_text, log_limited};
use tactus_wal::Replay;

use crate::{
    begun_blocks::{Manifest, PendingBlock},
    directory::locate,
    error::Error,
    ingester::Ingester,
    layout::{
        CUT_FILE, Layout, PartRange, decided_paths, has_segment_ending, is_deciding, is_loop,
        is_pending, parse_part_range, parse_segment_file_name, read_file, segment_key,
    },
    notes::Fate,
    segment::{
        Place, Segment, SegmentError, SegmentFile,
        cut::{Sections, read_sections},
        is_error_of_disk,
    },
    unreadable::What,
};

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
            let has_damage = Cell::new(false);
            let directory = Directory { ingester, path: &path, notes: &notes, has_damage };
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
                || directory.has_damage.get()
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

/// The directory of a cut.
struct Directory<'a> {
    ingester: &'a Ingester,
    path: &'a Path,
    notes: &'a HashMap<String, Fate>,
    /// Something in it cannot be served, because its content is wrong.
    has_damage: Cell<bool>,
}

impl Directory<'_> {
    fn open(&self, paths: Vec<PathBuf>) -> Result<(), Error> {
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            if is_deciding(&path) {
                delete(&path, fs::remove_file(&path));
            } else if name == Some(CUT_FILE) {
                self.open_cut(&path)?;
            } else if name.is_some_and(has_segment_ending) {
                self.open_file(&path)?;
            } else {
                tracing::warn!(path = %path.display(), "foreign file among the segments, left alone");
            }
        }
        Ok(())
    }

    /// Opens the segments of all tenants, except those that the notes call gone.
    fn open_cut(&self, path: &Path) -> Result<(), Error> {
        let ingester = self.ingester;
        let (found, file) = match self.read_cut(path) {
            Ok(read) => read,
            Err(error) => return self.go_on_without(path, error),
        };
        if let Some(error) = found.damage.as_ref().filter(|damage| damage.is_of_disk()) {
            ingester.wait_for_disk(path, What::Unknown, error);
        } else if let Some(damage) = &found.damage {
            self.has_damage.set(true);
            ingester.metrics.replay_errors.with([""]).inc();
            tracing::error!(
                error = error_text(damage),
                found = found.sections.len(),
                "file of segments is damaged: only the segments that could be found are served"
            );
            // Others may be in it.
            if let Ok(kept) = ingester.layout.quarantined(path) {
                file.keep_as(kept);
            }
        }
        let mut gone = Vec::new();
        for section in found.sections {
            let (name, place) = locate(&section, &file);
            let path = self.path.join(name);
            match self.fate(&path) {
                // The result of its decision is beside it.
                _ if section.is_pending && decided_paths(&path).1.exists() => gone.push(place),
                Some(Fate::Gone) => gone.push(place),
                Some(Fate::Kept) => self.open_segment(&decided_paths(&path).1, place)?,
                None => self.open_segment(&path, place)?,
            }
        }
        gone.iter().for_each(|_| file.release_one());
        gone.iter().for_each(Place::give_back);
        Ok(())
    }

    fn read_cut(&self, path: &Path) -> Result<(Sections, Arc<SegmentFile>), SegmentError> {
        let found = patiently(|| read_sections(path), is_unread)?;
        // Others may be in it, for which it stays.
        let is_unread = found.damage.as_ref().is_some_and(SegmentError::is_of_disk);
        let file = SegmentFile::new(
            path,
            found.sections.len() + usize::from(is_unread),
            self.ingester.segment_cache.file_counter(),
        );
        Ok((found, file.map_err(|source| SegmentError::read(path, source))?))
    }

    /// Opens a segment that is a file of its own.
    fn open_file(&self, path: &Path) -> Result<(), Error> {
        let is_decided = is_pending(path) && decided_paths(path).1.exists();
        // The result is written before the pending segment is deleted, so the pending one does not count if both are
        // there.
        if is_decided || self.fate(path) == Some(Fate::Gone) {
            delete(path, fs::remove_file(path));
            return Ok(());
        }
        match SegmentFile::new(path, 1, self.ingester.segment_cache.file_counter()) {
            Ok(file) => self.open_segment(path, file.whole()),
            Err(source) => self.go_on_without(path, SegmentError::read(path, source)),
        }
    }

    /// Goes on without a file of which nothing can be read, if the cause lies in it or in the disk.
    fn go_on_without(&self, path: &Path, error: SegmentError) -> Result<(), Error> {
        if error.is_damage() {
            self.set_aside(path, &error);
        } else if error.is_of_disk() {
            self.ingester.wait_for_disk(path, What::Unknown, &error);
        } else {
            return Err(error.into());
        }
        Ok(())
    }

    fn set_aside(&self, path: &Path, error: &SegmentError) {
        self.has_damage.set(true);
        let kept = self.ingester.layout.quarantine(path);
        self.ingester.count_damaged("", error, kept);
    }

    fn fate(&self, path: &Path) -> Option<Fate> {
        self.notes.get(&segment_key(&self.ingester.layout.segments(), path)).copied()
    }

    /// Checks a segment and serves it. Sets it aside if it cannot be read.
    fn open_segment(&self, path: &Path, place: Place) -> Result<(), Error> {
        let ingester = self.ingester;
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(tenant) = name.and_then(parse_segment_file_name) else {
            // An earlier release accepted tenant names that buckets cannot store.
            let kept = ingester.quarantine(path, &place);
            ingester.metrics.replay_errors.with([""]).inc();
            log_limited!(
                error,
                ?kept,
                "segment moved to quarantine: object storage cannot store the name of its tenant"
            );
            return Ok(());
        };
        match Segment::open(path, place.clone(), true, &ingester.segment_cache) {
            Ok(segment) => {
                if segment.is_pending() {
                    ingester.has_pending.store(true, Ordering::Release);
                }
                ingester.tenant_or_insert(&tenant).add_segment(Arc::new(segment));
            }
            Err(error) if error.is_damage() => {
                self.has_damage.set(true);
                let kept = ingester.quarantine(path, &place);
                ingester.count_damaged(tenant.as_str(), &error, kept);
            }
            Err(error) if error.is_of_disk() => {
                ingester.wait_for_disk(path, What::Unopened(tenant, place), &error);
            }
            // The segment may be sound. If it were set aside, its spans would be missing from then on.
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// True if the disk cannot read where the sections of a file are.
fn is_unread(found: &Result<Sections, SegmentError>) -> bool {
    let damage = found.as_ref().map_or_else(Some, |found| found.damage.as_ref());
    damage.is_some_and(SegmentError::is_of_disk)
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
    let is_listed = |segment: &Arc<Segment>| {
        segment.path().strip_prefix(&root).is_ok_and(|path| listed.contains(path))
    };
    let segments = ingester.tenant_or_insert(tenant).segments();
    let segments: Vec<_> = segments.into_iter().filter(is_listed).collect();
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
