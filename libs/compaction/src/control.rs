//! How a caller watches and stops a merge.

/// The merge shall end without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Called by a merge while it runs, on its thread: be quick, do not block.
pub trait Control: Send + Sync {
    /// Asked before every window of rows is read and every row group is written. `Err` ends the merge.
    fn check(&self) -> Result<(), Cancelled>;

    /// Told after every window: compressed bytes of the inputs that are done, and of all.
    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        let _ = (done_bytes, total_bytes);
    }
}

/// Nobody watches; runs to the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unattended;

impl Control for Unattended {
    fn check(&self) -> Result<(), Cancelled> {
        Ok(())
    }
}
