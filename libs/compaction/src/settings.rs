//! The settings of a rewrite.

use tactus_block::{BuilderSettings, ROW_GROUP_SPANS};

/// Settings of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct RewriteSettings {
    /// The output: version, dedicated columns, compression, bloom filters. Inputs may differ in all of them.
    pub builder: BuilderSettings,
    /// Target size of a row group in bytes before compression. A trace is never divided.
    pub row_group_bytes: u64,
    /// Most spans of a row group, if no single trace has more.
    pub row_group_spans: usize,
    /// Memory for decoded spans of all inputs and the output. Windows become as small as necessary. What a single trace
    /// needs is added to that, and so are the footers of the inputs and the bloom filters of the output.
    pub memory_bytes: u64,
    /// Most bytes of a trace that is combined; 0 for no limit. A trace that is larger in one input already is kept as
    /// it is there.
    pub max_trace_bytes: u64,
}

impl RewriteSettings {
    /// Row groups of 100 MB or 64 000 spans, 256 MiB of memory, traces of any size.
    pub fn new(builder: BuilderSettings) -> Self {
        Self {
            builder,
            row_group_bytes: 100_000_000,
            row_group_spans: ROW_GROUP_SPANS,
            memory_bytes: 256 << 20,
            max_trace_bytes: 0,
        }
    }
}
