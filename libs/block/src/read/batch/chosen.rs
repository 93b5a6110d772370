//! Reads chosen spans of a row, wherever they are in it.

use std::sync::Arc;

use tactus_model::{Buffer, SpanId};

use super::IsChosen;
use crate::Result;
use crate::read::cache::Slot;
use crate::read::columns::Columns;
use crate::read::spine::SpanRows;
use crate::read::task::Task;

/// Makes the task read only the spans with chosen ids. Returns their rows.
pub(super) fn choose_spans(
    task: &mut Task<'_>,
    columns: &Columns,
    rows: SpanRows,
    is_chosen: IsChosen<'_>,
) -> Result<SpanRows> {
    let leaf = columns.span_id;
    if !task.is_told_by_footer(leaf) {
        task.fetch(&[leaf])?;
    }
    let ids = task.ids(leaf, rows.trace.len(), SpanId)?;
    let chosen: Arc<[u8]> = ids.iter().map(|&id| u8::from(is_chosen(id))).collect();
    task.hold(Slot::Column(leaf.index), only(&ids, &chosen));
    task.choose(Arc::clone(&chosen));
    Ok(SpanRows {
        trace: only(&rows.trace, &chosen),
        resource: only(&rows.resource, &chosen),
        scope: only(&rows.scope, &chosen),
        levels: None,
        ..rows
    })
}

fn only<T: bytemuck::Pod + Send + Sync>(values: &[T], chosen: &[u8]) -> Buffer<T> {
    let kept = values.iter().zip(chosen).filter(|(_, chosen)| **chosen != 0);
    kept.map(|(&value, _)| value).collect()
}
