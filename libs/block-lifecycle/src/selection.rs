//! Selects the blocks to merge: those that end in the same time window, the smallest first.

use std::sync::Arc;
use std::time::Duration;

use tactus_block::read::MAX_FOOTER_BYTES;
use tactus_config::sections::compactor::Compaction;
use tactus_storage::meta::{BlockVersion, MAX_SOURCES};
use tactus_storage::{BlockMeta, Timestamp, Uuid};

/// How long blocks are merged level by level.
const ACTIVE_SECONDS: i64 = 24 * 3600;

/// Most bytes of the footers of blocks that are merged. The footer of the merged block may be larger than them together.
const MAX_INPUT_FOOTER_BYTES: u64 = MAX_FOOTER_BYTES / 2;

/// What a row group takes in a footer, about.
const ROW_GROUP_FOOTER_BYTES: u64 = 20_000;

/// Blocks that shall become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) blocks: Vec<Arc<BlockMeta>>,
    /// The compactor to which the hash of this name belongs does the merge.
    pub(crate) owner: String,
}

struct Entry<'a> {
    meta: &'a Arc<BlockMeta>,
    group: String,
    /// Blocks of different kinds do not become one.
    kind: String,
    order: String,
    owner: String,
}

impl Entry<'_> {
    /// The most urgent one has the lowest. The block id decides between entries that would otherwise depend on the order of
    /// the list.
    fn urgency(&self) -> (&str, &str, Uuid) {
        (&self.group, &self.order, self.meta.block_id)
    }
}

/// All merges that are due, the most urgent first. A block is in at most one of them.
///
/// With `adopt_block_settings`, blocks with different versions and columns may be merged, because the output does not
/// use those of the inputs. `window`: blocks that end in the same window of this length are merged.
pub(crate) fn select(
    tenant: &str,
    blocks: &[Arc<BlockMeta>],
    settings: &Compaction,
    window: Duration,
    now: Timestamp,
) -> Vec<Selected> {
    let window_seconds = i64::try_from(window.as_secs()).unwrap_or(i64::MAX).max(1);
    let now_window = now.as_second().div_euclid(window_seconds);
    let border = (now.as_second() - ACTIVE_SECONDS).div_euclid(window_seconds);
    let mut entries: Vec<Entry<'_>> = blocks
        .iter()
        .filter(|meta| meta.version().is_ok() && meta.size > 0)
        .filter_map(|meta| {
            let window = meta.end_unix_seconds().div_euclid(window_seconds);
            let adopt = settings.adopt_block_settings;
            entry(tenant, meta, window, now_window - window, window.cmp(&border), adopt)
        })
        .collect();
    // By kind first: blocks of another kind whose sizes lie between must not part those of one.
    entries.sort_by(|a, b| (&a.kind, a.urgency()).cmp(&(&b.kind, b.urgency())));
    let mut selected = Vec::new();
    let mut rest = entries.as_slice();
    while let Some(first) = rest.first() {
        let run = run_length(first, rest, settings);
        if run >= settings.min_input_blocks.max(2) {
            selected.push(&rest[..run]);
            rest = &rest[run..];
        } else {
            rest = &rest[1..];
        }
    }
    selected.sort_by(|a, b| a[0].urgency().cmp(&b[0].urgency()));
    let merge = |run: &[Entry<'_>]| Selected {
        blocks: run.iter().map(|entry| Arc::clone(entry.meta)).collect(),
        owner: run[0].owner.clone(),
    };
    selected.into_iter().map(merge).collect()
}

/// `None` for blocks that are not merged now.
fn entry<'a>(
    tenant: &str,
    meta: &'a Arc<BlockMeta>,
    window: i64,
    age: i64,
    side: std::cmp::Ordering,
    adopt: bool,
) -> Option<Entry<'a>> {
    let (level, factor) = (meta.compaction_level, meta.replication_factor);
    let kind = match adopt {
        true => String::new(),
        false => {
            let columns_hash = meta.dedicated_columns_hash();
            format!("{}-{columns_hash:016X}-{}", meta.format, meta.data_encoding)
        }
    };
    let objects = format!("{:016X}", meta.total_objects);
    let (group, order, owner) = match side {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => (
            // Ten digits, so that level 10 does not sort before level 2.
            format!("A-{level:010}-{age:016X}-{factor}"),
            objects,
            format!("{tenant}-{level}-{window}-{factor}"),
        ),
        std::cmp::Ordering::Less => (
            format!("B-{age:016X}-{factor}"),
            format!("{level:010}-{objects}"),
            format!("{tenant}-{window}-{factor}"),
        ),
    };
    Some(Entry { meta, group, kind, order, owner })
}

/// How many entries, from the first one on, may become one block.
fn run_length(first: &Entry<'_>, entries: &[Entry<'_>], settings: &Compaction) -> usize {
    let (mut objects, mut bytes, mut footer) = (0u64, 0u64, 0u64);
    let fits = |entry: &&Entry<'_>| {
        objects = objects.saturating_add(entry.meta.total_objects);
        bytes = bytes.saturating_add(entry.meta.size);
        footer = footer.saturating_add(footer_bytes(entry.meta));
        entry.group == first.group
            && entry.kind == first.kind
            && objects <= settings.max_compaction_objects
            && bytes <= settings.max_block_bytes
            && footer <= MAX_INPUT_FOOTER_BYTES
    };
    entries.iter().take(settings.max_input_blocks.clamp(2, MAX_SOURCES)).take_while(fits).count()
}

/// What a block adds to the footer of a merged one, at most. Its own may be of a writer with shorter ones.
fn footer_bytes(meta: &BlockMeta) -> u64 {
    (u64::from(meta.total_records) * ROW_GROUP_FOOTER_BYTES).max(meta.footer_size.into())
}

/// The version in which blocks of this version are rewritten. vParquet3 is only read.
pub(crate) fn written_version(meta: &BlockMeta) -> BlockVersion {
    match meta.version() {
        Ok(BlockVersion::VParquet5) => BlockVersion::VParquet5,
        _ => BlockVersion::VParquet4,
    }
}

#[cfg(test)]
mod tests;
