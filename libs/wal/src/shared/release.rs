//! Releases parts whose frames are stored elsewhere.

use std::sync::atomic::Ordering;
use std::{fs, io};

use super::{Closed, Shared};
use crate::directory::Listing;
use crate::{Error, PartId, Result};

/// How many damaged parts are kept. A further one replaces the oldest, so that a crash loop cannot fill the disk.
const DAMAGED_PARTS_KEPT: usize = 16;

impl Shared {
    /// Takes back a frame that was written but not acknowledged. Its failed sync has closed the part, and if no
    /// acknowledged frame is left in it, nobody else would release it.
    pub(super) fn retract(&self, id: PartId) {
        let empty = match self.state.lock().closed.get_mut(&id) {
            Some(closed) => {
                closed.frames = closed.frames.saturating_sub(1);
                closed.frames == 0
            }
            None => false,
        };
        if empty && let Err(error) = self.release(id) {
            tracing::warn!(part = %id, error = &error as &dyn std::error::Error, "cannot release WAL part without frames");
        }
    }

    pub(crate) fn release(&self, id: PartId) -> Result<()> {
        let closed = {
            let mut state = self.state.lock();
            if state.active.as_ref().is_some_and(|active| active.file.id == id) {
                return Err(Error::PartInUse(id));
            }
            match state.closed.get(&id) {
                None => return Err(Error::UnknownPart(id)),
                Some(closed) if closed.replaying => return Err(Error::PartInUse(id)),
                Some(_) => state.closed.remove(&id).ok_or(Error::UnknownPart(id))?,
            }
        };
        if let Err(error) = self.remove_file(id, closed.damaged) {
            self.state.lock().closed.insert(id, closed);
            return Err(error);
        }
        self.total_bytes.fetch_sub(closed.bytes, Ordering::Relaxed);
        if self.settings.fsync_interval.is_some() {
            // If the name is back after a machine crash, the part is replayed once more. No data is lost.
            if let Err(error) = self.directory.sync() {
                tracing::warn!(part = %id, error = &error as &dyn std::error::Error, "cannot sync WAL directory after release");
            }
        }
        Ok(())
    }

    fn remove_file(&self, id: PartId, damaged: bool) -> Result<()> {
        let path = self.directory.part_path(id);
        let aside = self.directory.damaged_path(id);
        let (action, done) = match damaged {
            true => ("set aside", fs::rename(&path, &aside)),
            false => ("delete", fs::remove_file(&path)),
        };
        match done {
            // Somebody else removed the file, which was the goal.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done.map_err(Error::io(action, &path))?,
        }
        if damaged {
            tracing::warn!(path = %aside.display(), "damaged WAL part set aside");
            self.drop_oldest_damaged();
        }
        Ok(())
    }

    fn drop_oldest_damaged(&self) {
        let Ok(Listing { damaged, .. }) = self.directory.list() else { return };
        for id in &damaged[..damaged.len().saturating_sub(DAMAGED_PARTS_KEPT)] {
            let path = self.directory.damaged_path(*id);
            tracing::warn!(path = %path.display(), "oldest damaged WAL part deleted");
            let _ = fs::remove_file(path);
        }
    }

    /// Notes that a part is read by others than replay, who read as much of it as its size says.
    ///
    /// Errors: the disk cannot tell the size.
    pub(crate) fn adopted(&self, id: PartId) -> Result<()> {
        let path = self.directory.part_path(id);
        let bytes = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("look at", &path)(error)),
        };
        if let Some(closed) = self.state.lock().closed.get_mut(&id) {
            self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.total_bytes.fetch_sub(closed.bytes, Ordering::Relaxed);
            (closed.bytes, closed.replaying) = (bytes, false);
        }
        Ok(())
    }

    /// Records that replay has returned all frames of a part. A part without frames is released at once, because nobody
    /// else would.
    pub(crate) fn replayed(&self, id: PartId, frames: u64, damaged: bool) {
        if let Some(closed) = self.state.lock().closed.get_mut(&id) {
            *closed =
                Closed { frames, replaying: false, damaged, bytes: closed.bytes, unsynced: None };
        }
        if frames == 0
            && let Err(error) = self.release(id)
        {
            tracing::warn!(part = %id, error = &error as &dyn std::error::Error, "cannot release WAL part without frames");
        }
    }
}
