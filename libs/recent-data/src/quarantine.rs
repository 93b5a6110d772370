//! Moves segments whose content is wrong into the quarantine, at the start and later.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tactus_model::TenantId;
use tactus_telemetry::error_text;
use tactus_wal::create_anew;

use crate::{
    ingester::Ingester,
    layout::segment_key,
    notes::Fate,
    segment::{Place, Segment, SegmentError},
};

/// A file is copied in pieces of this size. A piece that is cut off is left as zeros.
const PIECE: usize = 4096;

impl Ingester {
    /// Removes a segment from queries and flushes: for good if its content is wrong, and until the disk can read it if
    /// that is the cause. The query that needed it has failed; later ones run without it.
    pub(crate) fn set_aside(
        &self,
        tenant: &TenantId,
        segment: &Arc<Segment>,
        error: &SegmentError,
    ) {
        // What was made of columns that the disk did not give may look damaged.
        let of_disk = segment.failure_since(0).filter(SegmentError::is_of_disk);
        let error = of_disk.as_ref().unwrap_or(error);
        if error.is_of_disk() {
            return self.leave_out(tenant, segment, error);
        }
        if !segment.mark_set_aside() {
            return;
        }
        // If the segment is gone already, a block or tail sampling's result has replaced it.
        if self.tenant(tenant).is_some_and(|state| state.remove_segment(segment)) {
            self.quarantine_served(tenant, segment, error);
        }
    }

    /// Puts a segment that was served into the quarantine. A block that is being made of it may release it, too.
    pub(crate) fn quarantine_served(
        &self,
        tenant: &TenantId,
        segment: &Segment,
        error: &SegmentError,
    ) {
        let has_own_file = segment.has_own_file();
        let kept = self.keep_for_a_human(segment.path(), segment.place());
        if kept.is_ok() {
            // The next start decides again what this was decided of, if that is still there and no block has its spans.
            if !has_own_file || segment.is_flushed() {
                self.note_quarantined(segment.path());
            }
            match has_own_file {
                // This fails if other files are in the directory.
                true => drop(segment.path().parent().map(fs::remove_dir)),
                false => segment.release(),
            }
        }
        self.count_damaged(tenant.as_str(), error, kept);
    }

    /// Puts a segment that was never opened into the quarantine. Returns the path.
    ///
    /// Errors: it stays where it is, and the next start finds it again.
    pub(crate) fn quarantine(&self, path: &Path, place: &Place) -> io::Result<PathBuf> {
        let has_own_file = place.has_own_file();
        let kept = self.keep_for_a_human(path, place)?;
        if !has_own_file {
            self.note_quarantined(path);
            place.file.release_one();
        }
        Ok(kept)
    }

    /// Moves the file of a segment, or copies the segment if it shares the file with others.
    fn keep_for_a_human(&self, path: &Path, place: &Place) -> io::Result<PathBuf> {
        let target = self.layout.quarantined(path)?;
        match place.has_own_file() {
            true => place.file.rename(&target)?,
            // An incomplete copy is none: the original stays.
            false => copy(place, &target).inspect_err(|_| drop(fs::remove_file(&target)))?,
        }
        Ok(target)
    }

    fn note_quarantined(&self, path: &Path) {
        let key = segment_key(&self.layout.segments(), path);
        if let Err(error) = self.notes.add([key.as_str()], Fate::Gone) {
            tracing::error!(
                %error,
                "cannot record that a segment is in quarantine: the next start finds it again"
            );
        }
    }

    /// Logs and counts that a segment is lost.
    pub(crate) fn count_damaged(
        &self,
        tenant: &str,
        error: &SegmentError,
        kept: io::Result<PathBuf>,
    ) {
        self.metrics.replay_errors.with([tenant]).inc();
        let kept = match kept {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("where it was: {error}"),
        };
        tracing::error!(
            error = error_text(error), %kept,
            "damaged segment set aside: its spans are lost to queries"
        );
    }

    /// Moves the directory of a cut into the quarantine.
    pub(crate) fn quarantine_directory(&self, directory: &Path, error: &SegmentError) {
        let kept = self.layout.quarantine(directory);
        let kept = kept.map_or_else(|error| error.to_string(), |path| path.display().to_string());
        tracing::error!(error = error_text(error), kept, "unreadable segments set aside");
    }
}

fn copy(place: &Place, target: &Path) -> io::Result<()> {
    let (from, mut to) = (File::open(place.file.path())?, create_anew(target)?);
    let mut piece = [0; PIECE];
    let (mut at, end) = (place.offset, place.offset + place.bytes);
    while at < end {
        let bytes = ((at + 1).next_multiple_of(PIECE as u64).min(end) - at) as usize;
        match from.read_exact_at(&mut piece[..bytes], at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => piece.fill(0),
            read => read?,
        }
        to.write_all(&piece[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}
