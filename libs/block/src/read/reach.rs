//! The byte ranges that reading a projection needs, for callers that read several row groups.

use std::ops::Range;

use tactus_model::Projection;

use super::attributes::value_leaves;
use super::cache::Slot;
use super::columns::Leaf;
use super::plan::Plan;
use super::task::Task;
use super::{BlockReader, batch, footer};

impl BlockReader {
    /// The byte ranges of all columns that reading a projection of a row group may need, in no particular order.
    /// Columns whose values are in the footer are not included. Reads nothing.
    pub fn ranges_of(&self, row_group: usize, projection: &Projection) -> Vec<Range<u64>> {
        let file = &*self.file;
        let Some(group) = file.footer.row_groups().get(row_group) else { return Vec::new() };
        let plan = Plan::new(&file.columns, projection);
        let task = Task::new(file, row_group, None);
        let is_read =
            |(slot, leaf): &&(Slot, Leaf)| !batch::is_told(&task, slot, *leaf, &file.columns);
        let mut leaves: Vec<_> =
            plan.columns.iter().filter(is_read).map(|(_, leaf)| *leaf).collect();
        for list in &plan.lists {
            leaves.extend(list.leaves());
            leaves.extend(value_leaves(list.columns));
        }
        leaves.retain(|leaf| *leaf == file.columns.trace_id || !task.is_all_null(*leaf));
        leaves.push(batch::spine_leaf(&task, &leaves, &file.columns));
        leaves.sort_unstable_by_key(|leaf| leaf.index);
        leaves.dedup();
        let facts = leaves.into_iter().map(|leaf| footer::chunk_facts(group, leaf, file.size));
        facts.filter_map(|facts| Some(facts.ok()?.range)).collect()
    }
}
