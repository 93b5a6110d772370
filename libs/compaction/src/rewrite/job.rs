//! The part of a rewrite that runs on a thread of its own.

use std::sync::Arc;

use bytes::Bytes;
use tactus_block::BuiltBlock;
use tactus_block::read::{BlockReader, open_stored};
use tactus_storage::{BlockMeta, Bucket};
use tactus_work::Stop;
use tokio::runtime::Handle;

use crate::error::BlockProblem;
use crate::{
    Cancelled, Changes, Control, Error, Merged, Result, RewriteSettings, RewriteStats, merge_blocks,
};

/// A merge from a bucket into an object of it.
pub(super) struct Job {
    pub(super) bucket: Bucket,
    pub(super) inputs: Vec<Arc<BlockMeta>>,
    /// The object for the data.
    pub(super) key: String,
    pub(super) settings: RewriteSettings,
    pub(super) changes: Arc<Changes>,
    pub(super) control: Arc<dyn Control>,
    pub(super) only_if_changed: bool,
}

/// A merge whose data is in the bucket.
pub(super) struct Stored {
    /// `None` if nothing is left; no object was written then.
    pub(super) files: Option<Files>,
    /// The output is abandoned, because it would be as the inputs.
    pub(super) unchanged: bool,
    pub(super) stats: RewriteStats,
}

/// The files of a block besides its data, and its meta.
pub(super) struct Files {
    /// The meta as given, with the fields that describe the files filled in.
    pub(super) meta: BlockMeta,
    pub(super) blooms: Vec<Bytes>,
    pub(super) index: Bytes,
    pub(super) summary: Bytes,
    /// Earliest start and latest end of its spans, unix nanoseconds.
    pub(super) range: Option<(u64, u64)>,
}

/// Ends the merge when nobody waits for it any more.
struct Guarded {
    abandoned: Stop,
    inner: Arc<dyn Control>,
}

impl Control for Guarded {
    fn check(&self) -> Result<(), Cancelled> {
        if self.abandoned.is_stopped() { Err(Cancelled) } else { self.inner.check() }
    }

    fn progress(&self, done_bytes: u64, total_bytes: u64) {
        self.inner.progress(done_bytes, total_bytes);
    }
}

impl Job {
    /// `meta`: that of the output, without the fields that describe its files.
    pub(super) async fn run(self, meta: BlockMeta) -> Result<Stored> {
        let (abandoned, _abandon) = Stop::new();
        let control = Guarded { abandoned, inner: Arc::clone(&self.control) };
        let runtime = Handle::current();
        let merge = tokio::task::spawn_blocking(move || self.merge(meta, &control, &runtime));
        merge.await.map_err(|error| Error::Lost(error.into()))?
    }

    fn merge(
        &self,
        mut described: BlockMeta,
        control: &dyn Control,
        runtime: &Handle,
    ) -> Result<Stored> {
        let mut readers = Vec::with_capacity(self.inputs.len());
        for meta in &self.inputs {
            control.check().map_err(|_| Error::Cancelled)?;
            readers.push(self.open(meta, runtime)?);
        }
        let expected = self.inputs.iter().map(|meta| meta.size).fold(0, u64::saturating_add);
        let sink = self.bucket.writer(&self.key, expected, runtime)?;
        let merged = merge_blocks(&readers, sink, &self.settings, &self.changes, control);
        let merged = merged.map_err(|error| self.name_block(error))?;
        let Merged { block, range, cut_traces, stats } = merged;
        let unchanged = self.only_if_changed && !stats.has_changes();
        let Some(block) = block.filter(|_| !unchanged) else {
            return Ok(Stored { files: None, unchanged, stats });
        };
        block.describe(&mut described);
        if !cut_traces.is_empty() {
            described.extension.get_or_insert_default().cut_traces.add_all(&cut_traces);
        }
        let BuiltBlock { sink, blooms, index, summary_file, .. } = block;
        sink.finish()?;
        let summary = summary_file.bytes;
        let files = Files { meta: described, blooms, index, summary, range };
        Ok(Stored { files: Some(files), unchanged, stats })
    }

    fn open(&self, meta: &BlockMeta, runtime: &Handle) -> Result<BlockReader> {
        let problem = |source| Error::Block { block: meta.block_id, source };
        let reader = open_stored(&self.bucket, meta, runtime);
        let reader = reader.map_err(|error| problem(BlockProblem::Data(error)))?;
        let (found, expected) = (reader.row_groups().len() as u64, u64::from(meta.total_records));
        // The meta of some blocks of Tempo says one row group too many.
        if found != expected && found + 1 != expected {
            return Err(problem(BlockProblem::RowGroupCount { found, expected }));
        }
        Ok(reader)
    }

    /// Replaces an input's position in an error by the block's id.
    fn name_block(&self, error: Error) -> Error {
        let (input, source) = match error {
            Error::Input { input, source } => (input, BlockProblem::Data(source)),
            Error::TooLarge { input, spans, mib } => (input, BlockProblem::TooLarge { spans, mib }),
            Error::Unordered { input } => (input, BlockProblem::Unordered),
            other => return other,
        };
        match self.inputs.get(input) {
            Some(meta) => Error::Block { block: meta.block_id, source },
            None => Error::Invalid(source.to_string()),
        }
    }
}
