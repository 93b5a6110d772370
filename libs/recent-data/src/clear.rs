//! Deletes the local files of a block once it is in object storage.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use tactus_model::TenantId;
use tactus_telemetry::error_text;

use crate::{
    begun_blocks::PendingBlock,
    error::Error,
    ingester::Ingester,
    layout::{Layout, PartRange, parse_part_range, pending_path, segment_key},
    notes::Fate,
    segment::Segment,
};

impl Ingester {
    /// Deletes the local files of a finished block. If that fails, files are left over but no spans are lost. The
    /// manifest is deleted last, so a restart finds the block in the bucket.
    pub(crate) fn clear_block(&self, tenant: &TenantId, block: &PendingBlock) {
        let log_gone = block
            .segments
            .iter()
            .filter_map(|segment| part_range(segment.path()))
            .all(|parts| self.release_log(parts));
        if !log_gone {
            // The log still holds these spans. Without their segments, a restart would take them for new ones.
            return;
        }
        let mut cleared = block.segments.iter().all(|segment| self.clear_pending(segment));
        let noted = if cleared { self.note(&block.segments, Fate::Gone) } else { Ok(()) };
        if let Err(error) = &noted {
            tracing::error!(block = %block.id, error = error_text(error), "cannot record that segments are in a block");
        }
        cleared &= noted.is_ok();
        for segment in &block.segments {
            // If the note failed, a shared file still goes, because that frees space on a full disk. A segment's own
            // file stays: without it, the older version that it replaced would count again after a restart.
            if cleared || !segment.has_own_file() {
                segment.release();
            }
        }
        if cleared {
            let _ = fs::remove_file(self.manifest_path(tenant, block.id));
        }
        self.metrics.blocks_cleared.inc();
    }

    /// Records what happened to segments; see [`crate::notes::Notes::add`].
    pub(crate) fn note(&self, segments: &[Arc<Segment>], fate: Fate) -> Result<(), Error> {
        let root = self.layout.segments();
        let keys: Vec<_> = segments.iter().map(|it| segment_key(&root, it.path())).collect();
        let noted = self.notes.add(keys.iter().map(String::as_str), fate);
        noted.map_err(Error::io("write", &Layout::notes(&self.settings.directory)))
    }

    /// Deletes the pending segment after its decision; otherwise a restart would decide it again. False if that fails.
    fn clear_pending(&self, segment: &Segment) -> bool {
        if !segment.has_own_file() || !self.has_pending.load(Ordering::Relaxed) {
            return true;
        }
        let path = pending_path(segment.path());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), %error, "cannot delete a segment");
                false
            }
            _ => true,
        }
    }
}

/// The log parts whose spans a segment holds.
pub(crate) fn part_range(segment: &Path) -> Option<PartRange> {
    parse_part_range(segment.parent()?.file_name()?.to_str()?)
}
