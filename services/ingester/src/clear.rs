//! Deletes what a block that is in object storage leaves behind.

use std::{fs, io, path::Path, sync::atomic::Ordering};

use tactus_model::TenantId;

use crate::{
    flush::PendingBlock,
    ingester::Ingester,
    layout::{PartRange, parse_part_range, pending_path},
    segment::Segment,
};

impl Ingester {
    /// Deletes what a finished block leaves behind. Failures leave garbage, never lose spans: the manifest goes
    /// last, and a restart finds the block in the bucket.
    pub(crate) fn clear_block(&self, tenant: &TenantId, block: &PendingBlock) {
        let log_gone = block
            .segments
            .iter()
            .filter_map(|segment| part_range(segment.path()))
            .all(|parts| self.release_log(parts));
        if !log_gone {
            // The log still holds these spans; without their segments a restart would take them for new.
            return;
        }
        let mut cleared = true;
        for segment in &block.segments {
            if !self.clear_pending(segment) {
                cleared = false;
                continue;
            }
            if let Err(error) = fs::remove_file(segment.path()) {
                tracing::error!(path = %segment.path().display(), %error, "cannot delete a segment");
                cleared &= error.kind() == io::ErrorKind::NotFound;
            }
            if let Some(directory) = segment.path().parent() {
                // Fails while other tenants' segments are in it.
                let _ = fs::remove_dir(directory);
            }
        }
        let _ = fs::remove_dir_all(self.layout.building().join(block.id.to_string()));
        if cleared {
            let _ = fs::remove_file(self.manifest_path(tenant, block.id));
        }
        self.metrics.blocks_cleared.inc();
    }

    /// Deletes what a decision left behind: without its segment it would be taken for undecided. False if that fails.
    fn clear_pending(&self, segment: &Segment) -> bool {
        if !self.has_pending.load(Ordering::Relaxed) {
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
