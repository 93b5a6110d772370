//! Moves unreadable segments into the quarantine, at the start and later.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tactus_model::TenantId;
use tactus_telemetry::error_text;

use crate::{
    ingester::Ingester,
    notes::Fate,
    segment::{Place, Segment, SegmentError},
};

/// A file is copied in pieces of this size. An unreadable piece is left as zeros.
const PIECE: usize = 4096;

impl Ingester {
    /// Removes an unreadable segment from queries and flushes. The query that needed it has failed; later ones run
    /// without it.
    pub(crate) fn set_aside(
        &self,
        tenant: &TenantId,
        segment: &Arc<Segment>,
        error: &SegmentError,
    ) {
        if !segment.mark_set_aside() {
            return;
        }
        // If the segment is gone already, a block or tail sampling's result has replaced it.
        if !self.tenant(tenant).is_some_and(|state| state.remove_segment(segment)) {
            return;
        }
        let kept = self.keep_for_a_human(segment.path(), segment.place(), segment.has_own_file());
        let noted = self.note(std::slice::from_ref(segment), Fate::Gone);
        if let Err(error) = noted {
            tracing::error!(
                error = error_text(&error),
                "cannot record that a segment is in quarantine"
            );
        }
        match segment.has_own_file() {
            // This fails if other files are in the directory.
            true => drop(segment.path().parent().map(fs::remove_dir)),
            false => segment.release(),
        }
        self.count_damaged(tenant.as_str(), error, kept);
    }

    /// Puts a segment into the quarantine: its file, or a copy if it shares the file with others. Returns the path.
    pub(crate) fn keep_for_a_human(
        &self,
        path: &Path,
        place: &Place,
        has_own_file: bool,
    ) -> io::Result<PathBuf> {
        let target = self.layout.quarantined(path)?;
        match has_own_file {
            true => place.file.rename(&target)?,
            false => copy(place, &target)?,
        }
        Ok(target)
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
            Err(error) => format!("nowhere: {error}"),
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
    let (from, mut to) = (File::open(place.file.path())?, File::create(target)?);
    let mut piece = [0; PIECE];
    let (mut at, end) = (place.offset, place.offset + place.bytes);
    while at < end {
        let bytes = ((at + 1).next_multiple_of(PIECE as u64).min(end) - at) as usize;
        if from.read_exact_at(&mut piece[..bytes], at).is_err() {
            piece.fill(0);
        }
        to.write_all(&piece[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}
