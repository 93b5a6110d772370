//! An index of the blocks that name each block as a source, so that a change need not scan all blocks.

use std::sync::Arc;

use uuid::Uuid;

use super::covered::names_sources;
use crate::meta::{BlockMeta, CompactedBlockMeta};

/// All sources that the blocks of a poll name. Only the upper halves of ids are kept: what is found
/// by them may be wrong, and is looked at again.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Half of a source's id and the place of who names it, sorted.
    sources: Vec<(u64, u32)>,
    namers: Vec<Uuid>,
}

fn half(id: Uuid) -> u64 {
    id.as_u64_pair().0
}

impl Names {
    /// Of blocks sorted by id. Also returns the blocks that may cover another one, or be covered
    /// because they are made of the same: those that name a known block, or one that others name.
    pub(super) fn new(
        live: &[Arc<BlockMeta>],
        compacted: &[Arc<CompactedBlockMeta>],
    ) -> (Self, Vec<Uuid>) {
        let mut names = Self::default();
        let compacted_metas = compacted.iter().map(|block| &block.meta);
        for meta in live.iter().map(AsRef::as_ref).chain(compacted_metas) {
            if names_sources(meta) {
                let place = names.namers.len() as u32;
                names.namers.push(meta.block_id);
                names.sources.extend(meta.sources().iter().map(|id| (half(*id), place)));
            }
        }
        names.sources.sort_unstable();
        let mut linked = Vec::new();
        let mut live = live.iter().map(|meta| half(meta.block_id)).peekable();
        let mut compacted = compacted.iter().map(|block| half(block.meta.block_id)).peekable();
        for group in names.sources.chunk_by(|one, other| one.0 == other.0) {
            let source = group[0].0;
            while live.next_if(|id| *id < source).is_some() {}
            while compacted.next_if(|id| *id < source).is_some() {}
            let is_known = live.peek() == Some(&source) || compacted.peek() == Some(&source);
            if is_known || group.len() > 1 {
                linked.extend(group.iter().map(|(_, place)| names.namers[*place as usize]));
            }
        }
        linked.sort_unstable();
        linked.dedup();
        (names, linked)
    }

    /// The blocks that may name a source.
    pub(super) fn namers(&self, source: Uuid) -> impl Iterator<Item = Uuid> {
        let source = half(source);
        let first = self.sources.partition_point(|(half, _)| *half < source);
        let rest = self.sources.iter().skip(first);
        rest.take_while(move |(half, _)| *half == source)
            .map(|(_, place)| self.namers[*place as usize])
    }
}
