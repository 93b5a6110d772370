//! Tight loops over columns.

use tactus_model::{AttributeList, StringCode};

/// Entries compared at once before looking at which of them hit; wide enough to fill vector registers.
const LANES: usize = 32;

/// Calls `visit(owner, entry)` for the first attribute with this key of every owner that has one, ascending.
#[inline]
pub(crate) fn for_each_first(
    list: &AttributeList,
    key: StringCode,
    mut visit: impl FnMut(usize, usize),
) {
    let (starts, keys) = (list.starts.as_slice(), list.keys.as_slice());
    let mut owner = 0;
    let mut last = usize::MAX;
    let mut hit = |entry: usize| {
        // Entries come in ascending order, so the owner is found by walking on; far away by halving.
        if starts.get(owner + 8).is_some_and(|&start| start as usize <= entry) {
            owner += 8;
            owner += starts[owner..].partition_point(|&start| start as usize <= entry) - 1;
        }
        while starts.get(owner + 1).is_some_and(|&end| end as usize <= entry) {
            owner += 1;
        }
        if owner + 1 < starts.len() && owner != last {
            last = owner;
            visit(owner, entry);
        }
    };
    let mut base = 0;
    for chunk in keys.chunks(LANES) {
        let found = chunk.iter().fold(false, |found, &candidate| found | (candidate == key));
        if found {
            for (place, &candidate) in chunk.iter().enumerate() {
                if candidate == key {
                    hit(base + place);
                }
            }
        }
        base += chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_model::{Attribute, ValueType};

    proptest! {
        #[test]
        fn first_entries_agree_with_a_search_in_each_owner(
            owners in proptest::collection::vec(proptest::collection::vec(0u32..6, 0..5), 0..80),
        ) {
            let mut list = AttributeList::default();
            for owner in &owners {
                for &key in owner {
                    list.push(Attribute { key, value_type: ValueType::Int, payload: 0 });
                }
                list.end_owner();
            }
            let mut found = Vec::new();
            for_each_first(&list, 3, |owner, entry| found.push((owner, entry)));
            let mut expected = Vec::new();
            for owner in 0..owners.len() {
                expected.extend(
                    list.range(owner).find(|&entry| list.keys[entry] == 3).map(|entry| (owner, entry)),
                );
            }
            prop_assert_eq!(found, expected);
        }
    }
}
