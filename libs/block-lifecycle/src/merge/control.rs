//! Ends a rewrite that is not needed any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tactus_compaction::Cancelled;
use tactus_storage::poller::Owns;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often ownership is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Cancels a rewrite when the process stops, or when another compactor becomes responsible. Checks as long as it lives.
#[derive(Debug)]
pub(super) struct Control {
    flag: Arc<Flag>,
    task: JoinHandle<()>,
}

/// Set once the rewrite shall end.
#[derive(Debug, Default)]
pub(super) struct Flag {
    cancelled: AtomicBool,
}

impl Control {
    pub(super) fn watch(owns: Owns, owner: String, stop: &CancellationToken) -> Self {
        let flag = Arc::new(Flag::default());
        let (watched, stop) = (Arc::clone(&flag), stop.clone());
        let task = tokio::spawn(async move {
            while owns(&owner) {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = stop.cancelled() => break,
                }
            }
            watched.cancelled.store(true, Ordering::Relaxed);
        });
        Self { flag, task }
    }

    pub(super) fn shared(&self) -> Arc<Flag> {
        Arc::clone(&self.flag)
    }
}

impl Drop for Control {
    /// A rewrite whose caller is gone shall end, too.
    fn drop(&mut self) {
        self.task.abort();
        self.flag.cancelled.store(true, Ordering::Relaxed);
    }
}

impl tactus_compaction::Control for Flag {
    fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) }
    }
}
