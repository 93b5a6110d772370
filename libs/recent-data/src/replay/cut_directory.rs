//! Opens the segments in the directory of a cut.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use tactus_telemetry::{error_text, log_limited};

use super::{delete, patiently};
use crate::{
    directory::locate,
    error::Error,
    ingester::Ingester,
    layout::{
        CUT_FILE, decided_paths, has_segment_ending, is_deciding, is_pending,
        parse_segment_file_name, segment_key,
    },
    notes::Fate,
    segment::{
        Place, Segment, SegmentError, SegmentFile,
        cut::{Sections, read_sections},
    },
    unreadable::What,
};

/// The directory of a cut.
pub(super) struct CutDirectory<'a> {
    ingester: &'a Ingester,
    path: &'a Path,
    notes: &'a HashMap<String, Fate>,
    /// What of it cannot be served, because its content is wrong.
    damaged: HashSet<PathBuf>,
}

/// Whether a segment that was found is served.
enum Use {
    Now,
    /// The disk cannot read what was decided of it. The next start may find that damaged.
    Later,
    Never,
}

impl<'a> CutDirectory<'a> {
    pub(super) fn new(
        ingester: &'a Ingester,
        path: &'a Path,
        notes: &'a HashMap<String, Fate>,
    ) -> Self {
        Self { ingester, path, notes, damaged: HashSet::new() }
    }

    /// True if something in it cannot be served, because its content is wrong.
    pub(super) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Opens what is in it. `paths`: all that is there.
    pub(super) fn open(&mut self, mut paths: Vec<PathBuf>) -> Result<(), Error> {
        // What may hold undecided segments comes last: these count if what was decided of them is damaged.
        paths.sort_by_key(|path| is_pending(path) || path.ends_with(CUT_FILE));
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
    fn open_cut(&mut self, path: &Path) -> Result<(), Error> {
        let ingester = self.ingester;
        let (found, file) = match self.read_cut(path) {
            Ok(read) => read,
            Err(error) => return self.go_on_without(path, error),
        };
        if let Some(error) = found.damage.as_ref().filter(|damage| damage.is_of_disk()) {
            ingester.wait_for_disk(path, What::Unknown, error);
        } else if let Some(damage) = &found.damage {
            self.damaged.insert(path.to_owned());
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
            match self.use_of(&path) {
                Use::Now if self.fate(&path) == Some(Fate::Kept) => {
                    self.open_segment(&decided_paths(&path).1, place)?;
                }
                Use::Now => self.open_segment(&path, place)?,
                Use::Later => {}
                Use::Never => gone.push(place),
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
    fn open_file(&mut self, path: &Path) -> Result<(), Error> {
        match self.use_of(path) {
            Use::Now => {}
            Use::Later => return Ok(()),
            Use::Never => {
                delete(path, fs::remove_file(path));
                return Ok(());
            }
        }
        match SegmentFile::new(path, 1, self.ingester.segment_cache.file_counter()) {
            Ok(file) => self.open_segment(path, file.whole()),
            Err(source) => self.go_on_without(path, SegmentError::read(path, source)),
        }
    }

    /// Goes on without a file of which nothing can be read, if the cause lies in it or in the disk.
    fn go_on_without(&mut self, path: &Path, error: SegmentError) -> Result<(), Error> {
        if error.is_damage() {
            self.set_aside(path, &error);
        } else if error.is_of_disk() {
            self.ingester.wait_for_disk(path, What::Unknown, &error);
        } else {
            return Err(error.into());
        }
        Ok(())
    }

    /// Moves something of which nothing can be read, or the directory itself, into the quarantine.
    pub(super) fn set_aside(&mut self, path: &Path, error: &SegmentError) {
        self.damaged.insert(path.to_owned());
        let kept = self.ingester.layout.quarantine(path);
        self.ingester.count_damaged("", error, kept);
    }

    /// Call it for an undecided segment after what was decided of it was opened.
    fn use_of(&self, path: &Path) -> Use {
        if self.fate(path) == Some(Fate::Gone) {
            return Use::Never;
        }
        if !is_pending(path) {
            return Use::Now;
        }
        let (_, decided) = decided_paths(path);
        if self.damaged.contains(&decided) {
            // The place of a large one may have been given back. Then it is zeros, which is damage as well.
            tracing::warn!(
                path = %path.display(),
                "what tail sampling left of a segment is damaged: the segment is decided again if it is still there"
            );
            Use::Now
        } else if self.ingester.unreadable.has_below(&decided) {
            Use::Later
        } else if decided.exists() {
            // The result is written before the undecided segment goes, so that it counts if both are there.
            Use::Never
        } else {
            Use::Now
        }
    }

    fn fate(&self, path: &Path) -> Option<Fate> {
        self.notes.get(&segment_key(&self.ingester.layout.segments(), path)).copied()
    }

    /// Checks a segment and serves it. Sets it aside if it cannot be read.
    fn open_segment(&mut self, path: &Path, place: Place) -> Result<(), Error> {
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
                self.damaged.insert(path.to_owned());
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
