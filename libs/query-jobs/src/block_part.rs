//! The block and the row groups that a job reads, and an estimate of their memory.

use std::ops::Range;
use std::sync::Arc;

use tactus_block::read::BlockReader as DataReader;
use tactus_cache::answer::{AnswerScope, Times};
use tactus_model::{AttributeSelection, Projection};
use tactus_proto::tactus::v1::BlockPart;
use tactus_storage::{BlockMeta, Uuid};

/// Tenant and block id. The id alone would be unique, but a meta with a wrong tenant must not show one tenant's block
/// to another.
pub(crate) type BlockKey = (Arc<str>, Uuid);

pub(crate) fn key_of(meta: &BlockMeta) -> BlockKey {
    (meta.tenant_id.as_str().into(), meta.block_id)
}

/// The row groups of a part that the file really has.
pub(crate) fn row_groups(block: &DataReader, part: &BlockPart) -> Range<usize> {
    row_groups_of(block.row_groups().len(), part)
}

/// The row groups of a part of a block with `all` row groups.
pub(crate) fn row_groups_of(all: usize, part: &BlockPart) -> Range<usize> {
    let first = (part.first_row_group as usize).min(all);
    let end = match part.row_groups {
        0 => all,
        count => first.saturating_add(count as usize).min(all),
    };
    first..end
}

/// For which other requests the answer for these row groups holds. `times`: two times for each row group, such that every
/// time range that contains both gives the same answer; `None` if they are unknown.
pub(crate) fn scope_around(
    row_groups: Range<usize>,
    times: impl Fn(usize) -> Option<(u64, u64)>,
) -> AnswerScope {
    let count = u32::try_from(row_groups.len()).unwrap_or(u32::MAX);
    let bounds = row_groups.map(times).try_fold((u64::MAX, 0), |(first, last), times| {
        times.map(|(start, end)| (first.min(start), last.max(end)))
    });
    let times = bounds.map_or(Times::Asked, |(first, last)| Times::Around(first, last));
    AnswerScope { row_groups: count, times }
}

/// The scope of an answer of some row groups that does not depend on time.
pub(crate) fn scope_of_any_time(row_groups: Range<usize>) -> AnswerScope {
    let row_groups = u32::try_from(row_groups.len()).unwrap_or(u32::MAX);
    AnswerScope { row_groups, times: Times::Any }
}

/// Memory of an entry of a column, about: most are levels and codes that are gone when the column is read.
const VALUE_BYTES: u64 = 3;

/// Estimates the memory of a row group while some of its columns are read and evaluated, from its compressed size and
/// its number of values. Rather too much than too little.
pub(crate) fn needed_bytes(block: &DataReader, row_group: usize, columns: &Projection) -> u64 {
    let lists = [
        &columns.span_attributes,
        &columns.resource_attributes,
        &columns.scope_attributes,
        &columns.event_attributes,
        &columns.link_attributes,
    ];
    let half_times = if lists.contains(&&AttributeSelection::All) {
        16
    } else if lists.iter().all(|list| list.is_none()) {
        3
    } else {
        8
    };
    let Some(row_group) = block.row_groups().get(row_group) else { return 0 };
    let by_bytes = row_group.bytes.saturating_mul(half_times) / 2;
    by_bytes.max(row_group.values.saturating_mul(VALUE_BYTES))
}
