//! Merges equal owners of attributes.
//!
//! A block stores a resource again for every trace. Most of them are equal, so that a condition on resources, or a count
//! by their attributes, has a few dozen resources of a row group to look at instead of thousands.

use std::hash::{BuildHasher, Hasher};

use crate::{AttributeList, ValueType};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// The distinct owners of a list, in order of first appearance, and which of them each owner equals. `strings`: the
/// number of strings in the list's dictionary.
pub fn distinct_owners(list: &AttributeList, strings: usize) -> (AttributeList, Vec<u32>) {
    let (starts, payloads) = (list.starts.as_slice(), list.payloads.as_slice());
    let (keys, types) = (list.keys.as_slice(), list.types.as_slice());
    let mut distinct = AttributeList::default();
    let mut table: HashTable<u32> = HashTable::new();
    let first_key = keys.first().copied().unwrap_or_default();
    // Nearly all owners have nothing but a string under the first key. These are found by the code of the string; each
    // number is stored plus 1.
    let mut by_string = vec![0u32; strings];
    // Others have nothing at all, which is not worth a look-up.
    let mut empty = None;
    let mut of_owner = Vec::with_capacity(list.owners());
    for (owner, bounds) in starts.windows(2).enumerate() {
        if bounds[0] == bounds[1] {
            of_owner.push(*empty.get_or_insert_with(|| add(list, owner, &mut distinct)));
            continue;
        }
        let entry = bounds[0] as usize;
        let is_single = bounds[1] == bounds[0] + 1
            && (keys[entry], types[entry]) == (first_key, ValueType::String as u8);
        let known = match by_string.get_mut(payloads.get(entry).map_or(0, |&code| code as usize)) {
            Some(known) if is_single => known,
            _ => {
                of_owner.push(find_or_add(list, owner, &mut distinct, &mut table));
                continue;
            }
        };
        if *known == 0 {
            *known = add(list, owner, &mut distinct) + 1;
        }
        of_owner.push(*known - 1);
    }
    (distinct, of_owner)
}

/// Adds what this owner has; returns its number.
fn add(list: &AttributeList, owner: usize, distinct: &mut AttributeList) -> u32 {
    let number = distinct.owners() as u32;
    list.of(owner).for_each(|attribute| distinct.push(attribute));
    distinct.end_owner();
    number
}

fn find_or_add(
    list: &AttributeList,
    owner: usize,
    distinct: &mut AttributeList,
    table: &mut HashTable<u32>,
) -> u32 {
    let hash = hash_of(list, owner);
    let is_equal = |&known: &u32| are_equal(distinct, known as usize, list, owner);
    if let Some(&known) = table.find(hash, is_equal) {
        return known;
    }
    let known = add(list, owner, distinct);
    table.insert_unique(hash, known, |&known| hash_of(distinct, known as usize));
    known
}

fn hash_of(list: &AttributeList, owner: usize) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for entry in list.range(owner) {
        hasher.write_u64(u64::from(list.keys[entry]) << 8 | u64::from(list.types[entry]));
        hasher.write_u64(list.payloads[entry]);
    }
    hasher.finish()
}

fn are_equal(one: &AttributeList, of_one: usize, other: &AttributeList, of_other: usize) -> bool {
    let (one_range, other_range) = (one.range(of_one), other.range(of_other));
    one.keys[one_range.clone()] == other.keys[other_range.clone()]
        && one.types[one_range.clone()] == other.types[other_range.clone()]
        && one.payloads[one_range] == other.payloads[other_range]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attribute;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn distinct_owners_have_the_attributes_of_theirs(
            owners in proptest::collection::vec(
                proptest::collection::vec((0u32..3, 1u8..4, 0u64..3), 0..4), 0..60),
        ) {
            let mut list = AttributeList::default();
            for owner in &owners {
                for &(key, value_type, payload) in owner {
                    let value_type = ValueType::from_u8(value_type).unwrap();
                    list.push(Attribute { key, value_type, payload });
                }
                list.end_owner();
            }
            let (distinct, of_owner) = distinct_owners(&list, 3);
            let attributes = |list: &AttributeList, owner| list.of(owner).collect::<Vec<_>>();
            for (owner, &known) in of_owner.iter().enumerate() {
                prop_assert_eq!(attributes(&list, owner), attributes(&distinct, known as usize));
            }
            for one in 0..distinct.owners() {
                for other in 0..one {
                    prop_assert_ne!(attributes(&distinct, one), attributes(&distinct, other));
                }
            }
        }
    }
}
