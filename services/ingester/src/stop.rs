//! Ends a query whose caller is gone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Seen by a query that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

/// Held by who waits for the query: stops it when dropped.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Stop);

impl Stop {
    /// A stop and its guard.
    pub(crate) fn new() -> (Self, StopOnDrop) {
        let stop = Self::default();
        (stop.clone(), StopOnDrop(stop))
    }

    /// True once nobody waits for the answer any more; what is answered then is not read.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
