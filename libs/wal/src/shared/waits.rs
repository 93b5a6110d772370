//! Writes and syncs that are waiting for the disk.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A write or a sync that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for, as a verb: `write`, `sync`.
    pub action: &'static str,
    /// For how long so far.
    pub age: Duration,
}

/// All of them. There are only as many as threads that write, so a list is enough.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Vec<(Instant, &'static str)>>);

/// One of them, until it is dropped.
pub(super) struct Waiting<'a> {
    of: &'a Waits,
    entry: (Instant, &'static str),
}

impl Waits {
    pub(super) fn begin(&self, action: &'static str) -> Waiting<'_> {
        let entry = (Instant::now(), action);
        self.0.lock().push(entry);
        Waiting { of: self, entry }
    }

    pub(super) fn longest(&self) -> Option<Wait> {
        let waits = self.0.lock();
        let (began, action) = waits.iter().min_by_key(|(began, _)| *began)?;
        Some(Wait { action, age: began.elapsed() })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.of.0.lock();
        if let Some(at) = waits.iter().position(|entry| *entry == self.entry) {
            waits.swap_remove(at);
        }
    }
}
