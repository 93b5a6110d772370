//! Syncing in the background, and on demand.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use crate::part::PartFile;
use crate::{Error, Result};

/// Starts the thread that syncs at most `interval` after an append.
pub(crate) fn spawn_syncer(shared: &Arc<Shared>, interval: Duration) -> Result<JoinHandle<()>> {
    let thread = Arc::clone(shared);
    std::thread::Builder::new()
        .name("wal-sync".to_owned())
        .spawn(move || run(&thread, interval))
        .map_err(Error::io("start the sync thread of", shared.directory.path()))
}

fn run(shared: &Shared, interval: Duration) {
    loop {
        let mut state = shared.state.lock();
        while !state.dirty && !state.stop {
            shared.wake.wait(&mut state);
        }
        // More frames come in meanwhile. Only `stop` wakes it now, because `dirty` is already set.
        if !state.stop {
            shared.wake.wait_for(&mut state, interval);
        }
        if state.stop {
            return;
        }
        state.dirty = false;
        drop(state);
        // The failure was logged there. The next round continues with the next part.
        let _ = shared.sync_all();
    }
}

impl Shared {
    /// Syncs every part with unsynced frames. Continues after a failure, and returns the first one.
    pub(crate) fn sync_all(&self) -> Result<()> {
        let files: Vec<Arc<PartFile>> = {
            let state = self.state.lock();
            let closed = state.closed.values().filter_map(|part| part.unsynced.clone());
            closed.chain(state.active.iter().map(|active| Arc::clone(&active.file))).collect()
        };
        let mut result = Ok(());
        for file in files {
            let end = file.written();
            let synced = self.sync_part(&file, end);
            // A part whose sync failed is dropped too, because syncing it again would only seem to help.
            if let Some(closed) = self.state.lock().closed.get_mut(&file.id) {
                // Another frame may have been written before the part was closed: keep it for the next round.
                let rest = synced.is_ok() && file.written() > end;
                closed.unsynced = closed.unsynced.take().filter(|_| rest);
            }
            if let Err(error) = synced {
                tracing::error!(part = %file.id, error = &error as &dyn std::error::Error, "WAL sync failed: a machine crash may lose acknowledged spans");
                result = result.and(Err(error));
            }
        }
        result
    }
}
