//! Lets a caller watch and stop a merge, and reports what a rewrite did.

/// The merge shall end without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// A merge calls these while it runs, on its own thread. Be quick and do not block.
pub trait Control: Send + Sync {
    /// Called before reading each window of rows and before writing each row group. `Err` ends the merge.
    fn check(&self) -> Result<(), Cancelled>;

    /// Called after each window with the compressed bytes of the inputs that are done, and of all inputs.
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

/// Counts of one merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteStats {
    /// Input blocks.
    pub blocks_read: u64,
    /// Traces of all inputs. A trace that is in several inputs counts several times.
    pub traces_read: u64,
    /// Spans of all inputs.
    pub spans_read: u64,
    /// Traces of the output.
    pub traces_written: u64,
    /// Spans of the output.
    pub spans_written: u64,
    /// Row groups of the output.
    pub row_groups_written: u64,
    /// Traces that were in more than one input.
    pub traces_combined: u64,
    /// Spans left out because the same span was there already.
    pub duplicate_spans: u64,
    /// Traces that lost spans because they would have become too large.
    pub traces_cut: u64,
    /// Spans that these traces lost.
    pub spans_cut: u64,
    /// Traces left out by age.
    pub traces_expired: u64,
    /// Spans of the traces left out by age.
    pub spans_expired: u64,
    /// Traces left out by id. A trace counts once, however many inputs have it.
    pub traces_removed: u64,
    /// Spans of the traces left out by id.
    pub spans_removed: u64,
    /// Attribute values removed or replaced. A value of a shared resource or scope counts once.
    pub values_redacted: u64,
    /// Compressed bytes of the inputs' columns.
    pub bytes_read: u64,
    /// Bytes of the output's `data.parquet`.
    pub bytes_written: u64,
    /// The most bytes of decoded spans in memory at a time: windows of the inputs, and the output's row group.
    pub peak_bytes: u64,
}

impl RewriteStats {
    /// True if something was left out or replaced.
    pub fn has_changes(&self) -> bool {
        self.traces_expired + self.traces_removed + self.values_redacted > 0
    }
}
