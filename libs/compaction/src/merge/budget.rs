//! What may be held in memory.

use tactus_block::estimated_bytes;
use tactus_block::read::BlockReader;
use tactus_model::merge::MergeOutput;

use super::input::Input;
use crate::RewriteSettings;

/// Shares of the memory of a merge.
pub(super) struct Budget {
    /// Limit of a trace that is combined; `u64::MAX` for none.
    pub(super) max_trace_bytes: u64,
    pub(super) row_group: RowGroupLimits,
    /// For the windows of all inputs.
    windows: u64,
    /// No window is planned smaller.
    least_window: u64,
    /// Bytes of each input before compression.
    sizes: Vec<u64>,
}

/// When a row group is full.
#[derive(Clone, Copy)]
pub(super) struct RowGroupLimits {
    spans: usize,
    /// Before compression, not more than memory allows.
    bytes: u64,
}

impl RowGroupLimits {
    /// True if a trace with some spans must go into the next row group. Depends on the traces alone and not on
    /// windows, so that the same blocks always become the same block.
    pub(super) fn is_full(self, output: &MergeOutput, spans: usize) -> bool {
        let held = output.batch().len();
        let bytes = || {
            let strings = output.strings().parts().0.len() as u64;
            estimated_bytes(output.batch()) + strings
        };
        held > 0 && (held + spans > self.spans || bytes() >= self.bytes)
    }
}

/// Each window costs some reads, however small it is.
const LEAST_WINDOW_BYTES: u64 = 64 << 10;

impl Budget {
    pub(super) fn new(settings: &RewriteSettings, inputs: &[BlockReader]) -> Self {
        let size = |reader: &BlockReader| {
            let sizes = reader.row_groups().iter().map(|group| group.uncompressed_bytes);
            sizes.fold(0, u64::saturating_add)
        };
        // A quarter for the row group that grows, a quarter for what writing it takes.
        let quarter = (settings.memory_bytes / 4).max(1);
        Self {
            max_trace_bytes: match settings.max_trace_bytes {
                0 => u64::MAX,
                limit => limit,
            },
            row_group: RowGroupLimits {
                spans: settings.row_group_spans,
                bytes: settings.row_group_bytes.min(quarter),
            },
            windows: settings.memory_bytes / 2,
            least_window: LEAST_WINDOW_BYTES.min(settings.memory_bytes / 16),
            sizes: inputs.iter().map(size).collect(),
        }
    }

    /// Bytes that the next window of an input may take: in proportion to the size of the input among those that are
    /// still read, so that all windows end at about the same trace.
    pub(super) fn share(&self, input: usize, inputs: &[Input<'_>]) -> u64 {
        let active = inputs.iter().zip(&self.sizes).filter(|(input, _)| !input.is_at_end());
        let (count, total) = active.fold((0u64, 0u64), |(count, total), (_, &size)| {
            (count + 1, total.saturating_add(size))
        });
        let part =
            u128::from(self.windows) * u128::from(self.sizes[input]) / u128::from(total.max(1));
        // A small input among large ones must still be read in more than crumbs.
        (part as u64).max(self.windows / (4 * count.max(1))).max(self.least_window)
    }
}
