//! The blocks that a query reads, as far as they are known before the ingesters are asked.
//!
//! An ingester continues to answer for spans that are in a block, because not every block list shows that block yet. If
//! the request names the block, the ingester leaves these spans out. After the ingesters have answered, the block list
//! is read again: by then, it has every block whose spans an ingester has released meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tactus_storage::Uuid;
use tactus_storage::blocklist::{ListGaps, TenantBlocks};

use super::{QueryBlock, add_with_sources, select};
use crate::frontend::Frontend;

/// Ingesters are told of at most this many blocks, the newest, which hold the spans of some minutes. For spans in other
/// blocks they answer as well.
const MAX_TOLD: usize = 2_048;

/// The blocks of a tenant for a query, before its ingesters are asked.
pub(crate) struct KnownBlocks {
    tenant: String,
    window: (i64, i64),
    /// The query reads at most this many blocks, the newest. 0: all.
    most: usize,
    listed: Arc<TenantBlocks>,
    /// The blocks that the query would read now, the newest first.
    selected: Vec<QueryBlock>,
    /// Ingesters are told of this many of them.
    told: usize,
    /// The ids of those blocks, and of the blocks they were made of.
    ids: Vec<Uuid>,
}

impl Frontend {
    /// The blocks that a query within `window` (unix seconds) reads of a tenant as things stand: the `most` newest, or all
    /// for 0.
    pub(crate) fn known_blocks(
        &self,
        tenant: &str,
        window: (i64, i64),
        most: usize,
    ) -> KnownBlocks {
        let listed = self.blocklist.tenant(tenant);
        let selected = newest(select(&listed, window, self.settings.blocklist_poll), most);
        let (told, ids) = told(&listed, &selected);
        KnownBlocks { tenant: tenant.to_owned(), window, most, listed, selected, told, ids }
    }

    /// The blocks to read after the ingesters have answered: those in the list now, and those that ingesters were told
    /// of. `reads_known`: without the blocks that were known before, for a query that reads these without waiting for
    /// the ingesters.
    pub(crate) fn blocks_left(&self, known: &KnownBlocks, reads_known: bool) -> Vec<QueryBlock> {
        let mut blocks = self.blocks_to_read(known);
        if reads_known {
            let read: HashSet<_> = known.selected.iter().map(|block| block.block_id).collect();
            blocks.retain(|block| !read.contains(&block.block_id));
        }
        blocks
    }

    /// True if the list lacks blocks. To be asked after the ingesters have answered and before the list is looked at again:
    /// by now it may be too old to have what an ingester released.
    pub(crate) fn lacks_blocks(&self, known: &[KnownBlocks]) -> bool {
        ListGaps::of(&self.blocklist, known.iter().map(|known| known.tenant.as_str())).any()
    }

    fn blocks_to_read(&self, known: &KnownBlocks) -> Vec<QueryBlock> {
        let listed = self.blocklist.tenant(&known.tenant);
        if Arc::ptr_eq(&listed, &known.listed) {
            return known.selected.clone();
        }
        let now = select(&listed, known.window, self.settings.blocklist_poll);
        let mut blocks = newest(now, known.most);
        // A block that was merged meanwhile can still be read. Its spans count once, like those of any two blocks.
        let ids: HashSet<_> = blocks.iter().map(|block| block.block_id).collect();
        let told = known.selected.iter().take(known.told);
        blocks.extend(told.filter(|block| !ids.contains(&block.block_id)));
        blocks
    }
}

impl KnownBlocks {
    /// The blocks that the query would read now, the newest first.
    pub(crate) fn selected(&self) -> &[QueryBlock] {
        &self.selected
    }

    /// The ids of blocks whose spans ingesters leave out, in the form of requests.
    pub(crate) fn ids(&self) -> Bytes {
        self.ids.iter().flat_map(|id| *id.as_bytes()).collect()
    }
}

fn newest(mut blocks: Vec<QueryBlock>, most: usize) -> Vec<QueryBlock> {
    if most > 0 {
        blocks.truncate(most);
    }
    blocks
}

/// How many of these blocks ingesters are told of, and the ids of all blocks in them that an ingester may have made.
/// `selected` is ordered by age, the newest first.
fn told(listed: &TenantBlocks, selected: &[QueryBlock]) -> (usize, Vec<Uuid>) {
    let (mut ids, mut held) = (Vec::new(), HashSet::new());
    for (number, block) in selected.iter().enumerate() {
        add_with_sources(listed, block.block_id, &mut held);
        // Ingesters make only blocks of level 0.
        held.retain(|&id| listed.meta(id).is_none_or(|meta| meta.compaction_level == 0));
        if ids.len() + held.len() > MAX_TOLD {
            return (number, ids);
        }
        ids.extend(held.drain());
    }
    (selected.len(), ids)
}
