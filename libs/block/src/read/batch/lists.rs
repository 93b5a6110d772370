//! Reads attribute lists of which only some keys are wanted. Their strings come first in the batch's dictionary.

use tactus_model::{
    Attribute, AttributeList, Dictionary, Projection, SpanBatch, ValueType, distinct_owners,
};

use crate::Result;
use crate::attribute_owner::AttributeOwner;
use crate::read::attributes::{
    DistinctStrings, KeyScan, fixed_columns, key_leaf, read_distinct, read_list, scan_keys,
    value_leaves,
};
use crate::read::cache::{Attributes, Slot};
use crate::read::columns::Columns;
use crate::read::plan::{ListPlan, Plan};
use crate::read::spine::SpanRows;
use crate::read::strings::StringPool;
use crate::read::task::Task;

use super::{Counts, told_by_pages};

/// Reads the lists of which some keys are wanted, each with a dictionary of its own. Fetches value columns only if the
/// key column has a wanted key.
pub(super) fn pick_attributes(
    task: &mut Task<'_>,
    plan: &Plan<'_>,
    rows: &SpanRows,
    counts: &Counts,
) -> Result<Vec<Option<Attributes>>> {
    let mut picked = Vec::new();
    let mut scans = Vec::new();
    let mut leaves = Vec::new();
    for (at, list) in plan.lists.iter().enumerate() {
        let held = list.slot.as_ref().and_then(|slot| task.take::<Attributes>(slot));
        if held.is_none()
            && let Some(slot) = &list.slot
        {
            let mut pool = StringPool::default();
            let scan = task.with_pool(&mut pool, |task| scan_list(task, list, counts))?;
            if !scan.is_empty() {
                leaves.extend(told_by_pages(task, list, value_leaves(list.columns)));
            }
            scans.push((at, slot, scan, pool));
        }
        picked.push(held);
    }
    task.fetch(&leaves)?;
    for (at, slot, scan, mut pool) in scans {
        let list = &plan.lists[at];
        let owners = counts.owners(list.owner);
        let mut of_span = None;
        let read = |task: &mut Task<'_>| {
            let is_resource = list.owner == AttributeOwner::Resource;
            let of_one = match is_resource {
                true => distinct_of_one(task, list, &scan, owners)?,
                false => None,
            };
            if let Some((distinct, of_owner)) = of_one {
                of_span = Some(rows.resources_in(of_owner));
                return Ok(distinct);
            }
            let attributes = read_list(task, list.columns, list.selection, scan, owners)?;
            task.expect(list.columns.leaf(), attributes.owners(), owners)?;
            if !is_resource {
                return Ok(attributes);
            }
            let (distinct, of_owner) = distinct_owners(&attributes, task.pool.len());
            of_span = Some(rows.resources_in(of_owner));
            Ok(distinct)
        };
        let attributes = task.with_pool(&mut pool, read)?;
        let attributes = Attributes { list: attributes, strings: pool.finish_shared(), of_span };
        picked[at] = Some(task.keep(slot.clone(), attributes));
    }
    for (list, picked) in plan.lists.iter().zip(&picked) {
        if let Some(picked) = picked {
            let (found, expected) = match &picked.of_span {
                Some(of_span) => (of_span.len(), counts.spans),
                None => (picked.list.owners(), counts.owners(list.owner)),
            };
            task.expect(list.columns.leaf(), found, expected)?;
        }
    }
    Ok(picked)
}

/// Reads the attribute lists of which all keys are wanted, and puts these and the others into the batch.
pub(super) fn read_attributes(
    task: &mut Task<'_>,
    plan: &Plan<'_>,
    counts: &Counts,
    picked: Vec<Option<AttributeList>>,
    batch: &mut SpanBatch,
) -> Result<()> {
    for (list, picked) in plan.lists.iter().zip(picked) {
        let attributes = match picked {
            Some(picked) => picked,
            None => {
                let scan = scan_list(task, list, counts)?;
                let owners = counts.owners(list.owner);
                read_list(task, list.columns, list.selection, scan, owners)?
            }
        };
        match list.owner {
            AttributeOwner::Resource => batch.resources.attributes = attributes,
            AttributeOwner::Scope => batch.scopes.attributes = attributes,
            AttributeOwner::Span => batch.span_attributes = attributes,
            AttributeOwner::Event => batch.events.attributes = attributes,
            AttributeOwner::Link => batch.links.attributes = attributes,
        }
    }
    Ok(())
}

/// The distinct owners of a list, and which of them each owner equals, if only a single column of strings is wanted
/// from the list; otherwise `None`.
fn distinct_of_one(
    task: &mut Task<'_>,
    list: &ListPlan<'_>,
    generic: &KeyScan,
    owners: usize,
) -> Result<Option<(AttributeList, Vec<u32>)>> {
    let mut columns = fixed_columns(list.columns, list.selection);
    let (Some(column), None, true) = (columns.next(), columns.next(), generic.is_empty()) else {
        return Ok(None);
    };
    let found = read_distinct(task, column, list.columns.level, owners)?;
    let in_list = |found: DistinctStrings| {
        let mut distinct = AttributeList::default();
        for code in found.values {
            if !(column.omit_empty && code == 0) {
                let payload = u64::from(code);
                distinct.push(Attribute { key: found.key, value_type: ValueType::String, payload });
            }
            distinct.end_owner();
        }
        (distinct, found.of_owner)
    };
    Ok(found.map(in_list))
}

fn scan_list(task: &mut Task<'_>, list: &ListPlan<'_>, counts: &Counts) -> Result<KeyScan> {
    let owners = counts.owners(list.owner);
    match key_leaf(list.columns, list.selection) {
        Some(leaf) => scan_keys(task, leaf, list.columns.level, list.selection, owners),
        None => Ok(KeyScan::default()),
    }
}

/// Adds the lists with some keys to the batch. The dictionary that would be the most expensive to recode becomes the
/// beginning of the batch's own.
pub(super) fn adopt_strings(
    task: &mut Task<'_>,
    columns: &Columns,
    projection: &Projection,
    counts: &Counts,
    picked: Vec<Option<Attributes>>,
) -> Result<Vec<Option<AttributeList>>> {
    // Finding the code of a string costs about as much as this many look-ups by code.
    const STRING_COST: usize = 32;
    let cost = |codes: usize, strings: &Dictionary| codes + STRING_COST * strings.len();
    let lists = picked.iter().flatten();
    let most = lists.map(|picked| (cost(2 * picked.list.len(), &picked.strings), &picked.strings));
    let mut most =
        most.max_by_key(|(cost, _)| *cost).map(|(cost, strings)| (cost, strings.clone()));
    let of_spans = [
        (projection.name, columns.name),
        (projection.status_message, columns.status_message),
        (projection.trace_state, columns.trace_state),
    ];
    for (_, leaf) in of_spans.into_iter().filter(|(wanted, _)| *wanted) {
        let column = task.own_codes(leaf, counts.spans)?;
        let cost = cost(column.codes.len(), &column.strings);
        if column.strings.len() > 1 && most.as_ref().is_none_or(|(most, _)| cost > *most) {
            most = Some((cost, column.strings.clone()));
        }
        task.hold(Slot::Column(leaf.index), column);
    }
    if let Some((_, strings)) = most {
        task.absorb(columns.name, strings)?;
    }
    let mut lists = Vec::new();
    for picked in picked {
        lists.push(match picked {
            Some(Attributes { list, strings, .. }) => {
                let recode = task.absorb(columns.name, strings)?;
                Some(recode.list(list))
            }
            None => None,
        });
    }
    Ok(lists)
}
