//! Combines the attributes of each owner: generic ones first, then those with columns of their own.

use tactus_model::{AttributeList, Buffer, ValueType};
use tactus_storage::meta::BlockVersion;

use crate::Result;
use crate::read::task::Task;

use super::fixed::FixedValues;
use super::keys::KeyScan;
use super::{NOTHING, Values};

/// The generic attributes of all owners.
#[derive(Debug)]
pub(super) struct Generic {
    starts: Vec<u32>,
    keys: Vec<u32>,
    values: Values,
}

impl Generic {
    /// No attributes.
    pub(super) fn empty(owners: usize) -> Self {
        Self { starts: vec![0; owners + 1], keys: Vec::new(), values: Values::default() }
    }

    /// Attributes of which only the keys are wanted.
    pub(super) fn without_values(scan: KeyScan) -> Self {
        let KeyScan { starts, keys, .. } = scan;
        let types = vec![ValueType::Unset as u8; keys.len()];
        let payloads = vec![0; keys.len()];
        Self { starts, keys, values: Values { types, payloads } }
    }

    /// Adds the values of picked attributes.
    pub(super) fn fill_in(&mut self, picked: &KeyScan, values: &Values) {
        let values = values.types.iter().zip(&values.payloads);
        for (&ordinal, (&value_type, &payload)) in picked.ordinals.iter().flatten().zip(values) {
            if value_type != NOTHING {
                self.values.types[ordinal as usize] = value_type;
                self.values.payloads[ordinal as usize] = payload;
            }
        }
    }
}

/// Handles keys for which no column has a value: vParquet4 keeps them, vParquet5 drops them.
pub(super) fn settle_valueless(
    task: &Task<'_>,
    keys: KeyScan,
    mut values: Values,
) -> Result<Generic> {
    let KeyScan { mut starts, mut keys, .. } = keys;
    if values.types.contains(&NOTHING) {
        if task.version() == BlockVersion::VParquet5 {
            let kept = values.types.iter().map(|&value_type| u32::from(value_type != NOTHING));
            let mut kept_before = vec![0];
            kept_before.extend(kept.scan(0u32, |sum, kept| {
                *sum += kept;
                Some(*sum)
            }));
            starts.iter_mut().for_each(|start| *start = kept_before[*start as usize]);
            retain_typed(&mut keys, &values.types);
            retain_typed(&mut values.payloads, &values.types);
            values.types.retain(|&value_type| value_type != NOTHING);
        } else {
            for value_type in values.types.iter_mut().filter(|found| **found == NOTHING) {
                *value_type = ValueType::Unset as u8;
            }
        }
    }
    Ok(Generic { starts, keys, values })
}

fn retain_typed<T>(items: &mut Vec<T>, types: &[u8]) {
    let mut types = types.iter();
    items.retain(|_| types.next() != Some(&NOTHING));
}

/// The attribute lists if only one column is wanted.
fn of_one(column: FixedValues, owners: usize) -> AttributeList {
    let FixedValues { key, owners: with_value, values } = column;
    let starts: Buffer<u32> = match with_value.len() == owners {
        true => (0..=owners as u32).collect(),
        false => {
            let mut starts = vec![0u32; owners + 1];
            for &owner in &with_value {
                starts[owner as usize + 1] = 1;
            }
            let mut end = 0;
            for start in &mut starts {
                end += *start;
                *start = end;
            }
            starts.into()
        }
    };
    AttributeList {
        starts,
        keys: vec![key; with_value.len()].into(),
        types: values.types.into(),
        payloads: values.payloads.into(),
    }
}

/// Merges all attributes, owner by owner.
pub(super) fn assemble(generic: Generic, fixed: Vec<FixedValues>) -> AttributeList {
    let Generic { starts: generic_starts, keys: generic_keys, values: generic_values } = generic;
    if fixed.is_empty() {
        return AttributeList {
            starts: generic_starts.into(),
            keys: generic_keys.into(),
            types: generic_values.types.into(),
            payloads: generic_values.payloads.into(),
        };
    }
    let owners = generic_starts.len() - 1;
    if generic_keys.is_empty() && fixed.len() == 1 {
        return fixed.into_iter().next().map(|column| of_one(column, owners)).unwrap_or_default();
    }
    // While entries are written, number `owner + 1` is where the next entry of an owner goes. At the end, it is where
    // the entries of the next owner start.
    let mut starts = vec![0u32; owners + 2];
    if !generic_keys.is_empty() {
        for (count, pair) in starts[2..].iter_mut().zip(generic_starts.windows(2)) {
            *count = pair[1] - pair[0];
        }
    }
    for &owner in fixed.iter().flat_map(|column| &column.owners) {
        starts[owner as usize + 2] += 1;
    }
    let mut end = 0u32;
    for start in &mut starts {
        end += *start;
        *start = end;
    }

    let total = end as usize;
    let (mut keys, mut types, mut payloads) = (vec![0; total], vec![0; total], vec![0; total]);
    let next = &mut starts[1..];
    if !generic_keys.is_empty() {
        for (owner, pair) in generic_starts.windows(2).enumerate() {
            let from = pair[0] as usize..pair[1] as usize;
            let to = next[owner] as usize..next[owner] as usize + from.len();
            keys[to.clone()].copy_from_slice(&generic_keys[from.clone()]);
            types[to.clone()].copy_from_slice(&generic_values.types[from.clone()]);
            payloads[to].copy_from_slice(&generic_values.payloads[from.clone()]);
            next[owner] += from.len() as u32;
        }
    }
    for column in fixed {
        let values = column.values.types.iter().zip(&column.values.payloads);
        for (&owner, (&value_type, &payload)) in column.owners.iter().zip(values) {
            let at = next[owner as usize] as usize;
            next[owner as usize] += 1;
            (keys[at], types[at], payloads[at]) = (column.key, value_type, payload);
        }
    }
    starts.truncate(owners + 1);
    AttributeList {
        starts: starts.into(),
        keys: keys.into(),
        types: types.into(),
        payloads: payloads.into(),
    }
}
