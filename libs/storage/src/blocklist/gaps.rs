//! What the block list lacks.

use super::Blocklist;

/// What the block list lacks of the blocks of some tenants: queries answer without them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListGaps {
    /// Blocks that it has no room for.
    left_out: usize,
    /// Blocks whose metas cannot be read.
    unread: usize,
    /// It could not be read yet, or only a part of it.
    is_part: bool,
}

impl ListGaps {
    /// What it lacks at this moment.
    pub fn of<'t>(blocklist: &Blocklist, tenants: impl IntoIterator<Item = &'t str>) -> Self {
        let mut gaps = Self::default();
        for tenant in tenants {
            let blocks = blocklist.tenant(tenant);
            gaps.left_out = gaps.left_out.saturating_add(blocks.left_out());
            gaps.unread = gaps.unread.saturating_add(blocks.unread());
            gaps.is_part |= blocklist.is_part(tenant);
        }
        gaps
    }

    /// True if something is missing.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// Those of two looks at the list.
    pub fn max(self, other: Self) -> Self {
        Self {
            left_out: self.left_out.max(other.left_out),
            unread: self.unread.max(other.unread),
            is_part: self.is_part || other.is_part,
        }
    }

    /// A sentence about each, for whoever gets an answer.
    pub fn messages(self) -> impl Iterator<Item = String> {
        let Self { left_out, unread, is_part } = self;
        let unread =
            (unread > 0).then(|| format!("the metas of {unread} blocks could not be read"));
        let left_out = (left_out > 0).then(|| {
            format!(
                "{left_out} blocks are not known for lack of memory (limit: storage.trace.blocklist_max_bytes)"
            )
        });
        let part = is_part.then(|| {
            "the list of blocks could not be read completely, spans in blocks may be missing"
                .to_owned()
        });
        [unread, left_out, part].into_iter().flatten()
    }
}
