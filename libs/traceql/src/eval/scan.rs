//! Tight loops over columns.

use tactus_model::{AttributeList, Dictionary, StringCode};
use tactus_work::tick;

use super::bitmap::{pack, word_of};

/// If an owner has more attributes, the search through them checks whether the query has ended.
const MANY_KEYS: usize = 256;

/// Calls `visit(owner, entry)` for every owner with this key, with its first attribute of that key, in ascending order.
#[inline]
pub(crate) fn for_each_first(
    list: &AttributeList,
    key: StringCode,
    mut visit: impl FnMut(usize, usize),
) {
    let mut owners = Owners::of(list);
    for (index, chunk) in list.keys.chunks(64).enumerate() {
        let mut rest = word_of(chunk, |candidate| candidate == key);
        while rest != 0 {
            let entry = index * 64 + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(owner) = owners.of_first(entry, key) {
                visit(owner, entry);
            }
        }
    }
}

/// Finds the owners of entries, which must be asked for in ascending order.
pub(crate) struct Owners<'a> {
    starts: &'a [u32],
    keys: &'a [StringCode],
    owner: usize,
}

impl<'a> Owners<'a> {
    pub(crate) fn of(list: &'a AttributeList) -> Self {
        Self { starts: &list.starts, keys: &list.keys, owner: 0 }
    }

    /// The owner of an entry with this key, if it is the owner's first one.
    #[inline]
    pub(crate) fn of_first(&mut self, entry: usize, key: StringCode) -> Option<usize> {
        self.owner = last_start(self.starts, self.owner, entry);
        let first = *self.starts.get(self.owner)? as usize;
        let exists = self.owner + 1 < self.starts.len();
        let earlier = self.keys.get(first..entry)?;
        if earlier.len() > MANY_KEYS && tick(earlier.len() as u32 / 8) {
            return None;
        }
        (exists && !earlier.contains(&key)).then_some(self.owner)
    }
}

/// The last index whose start is at most `position`. `from` is such an index, and the result is mostly near it, so the
/// search begins with steps of one, which grow.
#[inline]
fn last_start(starts: &[u32], from: usize, position: usize) -> usize {
    let is_behind = |place: usize| starts.get(place).is_none_or(|&start| start as usize > position);
    if is_behind(from + 1) {
        return from;
    }
    let mut step = 1;
    while !is_behind(from + 2 * step) {
        step *= 2;
    }
    // The start at `from + step` is at most `position`, that at `from + 2 * step` is not.
    let end = (from + 2 * step).min(starts.len());
    from + step + starts[from + step..end].partition_point(|&start| start as usize <= position) - 1
}

/// The code of a string.
pub(crate) fn find_string(strings: &Dictionary, wanted: &[u8]) -> Option<StringCode> {
    if wanted.is_empty() {
        return Some(0);
    }
    let (bytes, offsets) = strings.parts();
    let length = u32::try_from(wanted.len()).ok()?;
    // Their lengths distinguish most strings, many at a time.
    for (index, starts) in offsets[..strings.len()].chunks(64).enumerate() {
        let ends = &offsets[index * 64 + 1..][..starts.len()];
        let mut lanes = [0; 64];
        for ((lane, start), end) in lanes.iter_mut().zip(starts).zip(ends) {
            *lane = u8::from(end.wrapping_sub(*start) == length);
        }
        let mut rest = pack(&lanes);
        while rest != 0 {
            let place = index * 64 + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let string = offsets[place] as usize..offsets[place + 1] as usize;
            if bytes.get(string) == Some(wanted) {
                return Some(place as StringCode);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_model::{Attribute, DictionaryBuilder, ValueType};

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

        #[test]
        fn last_start_agrees_with_a_search_from_the_beginning(
            gaps in proptest::collection::vec(0u32..4, 0..100),
            positions in proptest::collection::vec(0usize..200, 0..20),
        ) {
            let mut starts = vec![0u32];
            for gap in gaps {
                starts.push(starts[starts.len() - 1] + gap);
            }
            let mut positions = positions;
            positions.sort_unstable();
            let mut place = 0;
            for position in positions {
                place = last_start(&starts, place, position);
                let expected = starts.partition_point(|&start| start as usize <= position) - 1;
                prop_assert_eq!(place, expected);
            }
        }

        #[test]
        fn found_string_is_the_one_with_its_code(
            texts in proptest::collection::vec("[ab]{0,3}", 0..200),
            wanted in "[ab]{0,3}",
        ) {
            let mut builder = DictionaryBuilder::default();
            texts.iter().for_each(|text| { builder.intern(text.as_bytes()); });
            let strings = builder.finish();
            prop_assert_eq!(find_string(&strings, wanted.as_bytes()), strings.find(wanted.as_bytes()));
        }
    }
}
