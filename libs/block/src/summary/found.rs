//! Finds the attributes of a row group, and their values.

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use tactus_model::{AttributeList, StringCode, ValueType};

use super::filter::{DistinctValues, FilteredValues};
use super::values::ValueOwner;

/// An attribute with more values than this is not listed, because a user could not choose among them.
pub(super) const MAX_VALUES: usize = 1_000;

/// An attribute in a row group.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: StringCode,
    /// The mark of this attribute in `Finder::seen_by`.
    mark: u32,
    /// The last owner that had the attribute, to notice an owner that has it twice.
    last_owner: usize,
    last: (u8, u64),
    pub(super) values: HashSet<(u8, u64), RandomState>,
    pub(super) is_listed: bool,
    /// If there are too many values to list: all strings.
    strings: Bounded<StringCode>,
    /// And the bits of all numbers.
    numbers: Bounded<u64>,
    /// True if some values are not scalars: strings and numbers may be within them.
    is_odd: bool,
}

/// Values for a filter, some more than once; `None` if no filter could hold them.
#[derive(Debug)]
struct Bounded<T>(Option<Vec<T>>);

impl Found {
    fn add(&mut self, value: (u8, u64), max_filtered: Option<usize>) {
        if value == self.last {
            return;
        }
        self.last = value;
        if self.values.len() <= MAX_VALUES {
            self.values.insert(value);
            self.is_listed &= self.values.len() <= MAX_VALUES;
        } else if let Some(max) = max_filtered {
            self.add_filtered(value, max);
        }
    }

    fn add_filtered(&mut self, (value_type, payload): (u8, u64), max: usize) {
        if value_type == ValueType::String as u8 {
            self.strings.push(payload as StringCode, max);
        } else if let Some(number) = number(value_type, payload) {
            self.numbers.push(number.to_bits(), max);
        }
    }

    /// All strings, and all numbers, as far as they are all known.
    pub(super) fn into_filtered(
        mut self,
        owner: ValueOwner,
        name: &[u8],
    ) -> impl Iterator<Item = FilteredValues> {
        for value in std::mem::take(&mut self.values) {
            self.add_filtered(value, usize::MAX);
        }
        let is_known = !self.is_odd;
        let strings = self.strings.into_distinct().map(DistinctValues::Strings);
        let numbers = self.numbers.into_distinct().map(DistinctValues::Numbers);
        let known = strings.into_iter().chain(numbers).filter(move |_| is_known);
        known.map(move |values| FilteredValues::new(owner, name, values))
    }
}

impl<T: Copy + Ord> Bounded<T> {
    fn push(&mut self, value: T, max: usize) {
        let Some(values) = &mut self.0 else { return };
        values.push(value);
        if values.len() >= max.saturating_mul(2) {
            values.sort_unstable();
            values.dedup();
            if values.len() > max {
                self.0 = None;
            }
        }
    }

    fn into_distinct(self) -> Option<Vec<T>> {
        let mut values = self.0?;
        values.sort_unstable();
        values.dedup();
        Some(values)
    }
}

/// Finds the attributes of a list.
pub(super) struct Finder {
    /// For each key, its index in the found attributes plus 1; 0 for none.
    by_key: Vec<u32>,
    found: Vec<Found>,
    /// For each string code, the mark of the attribute that last had it. The same attribute meets most strings again
    /// and again.
    seen_by: Vec<u32>,
    marks: u32,
    /// The most strings, or numbers, of an attribute for the filter; `None` if there is no filter.
    max_filtered: Option<usize>,
}

impl Finder {
    pub(super) fn new(strings: usize, max_filtered: Option<usize>) -> Self {
        Self {
            by_key: vec![0; strings],
            found: Vec::new(),
            seen_by: vec![0; strings],
            marks: 0,
            max_filtered,
        }
    }

    fn nothing_found(&mut self, key: StringCode) -> Found {
        self.marks += 1;
        Found {
            key,
            mark: self.marks,
            last_owner: usize::MAX,
            last: (u8::MAX, 0),
            values: HashSet::default(),
            is_listed: true,
            strings: Bounded(self.max_filtered.map(|_| Vec::new())),
            numbers: Bounded(self.max_filtered.map(|_| Vec::new())),
            is_odd: false,
        }
    }

    /// False if there are more attributes than `max`: of those beyond, nothing is known.
    pub(super) fn find(
        &mut self,
        list: &AttributeList,
        in_use: Option<&[bool]>,
        max: usize,
    ) -> bool {
        let mut is_complete = true;
        let (keys, types) = (list.keys.as_slice(), list.types.as_slice());
        let payloads = list.payloads.as_slice();
        for owner in 0..list.owners() {
            if in_use.is_some_and(|in_use| !in_use[owner]) {
                continue;
            }
            for entry in list.range(owner) {
                let key = keys[entry];
                if self.by_key[key as usize] == 0 {
                    if self.found.len() >= max {
                        is_complete = false;
                        continue;
                    }
                    let found = self.nothing_found(key);
                    self.found.push(found);
                    self.by_key[key as usize] = self.found.len() as u32;
                }
                let found = &mut self.found[self.by_key[key as usize] as usize - 1];
                found.is_odd |= !is_scalar(types[entry]);
                // If an owner has an attribute twice, readers disagree about which value counts, so it is not listed.
                found.is_listed &= !found.is_odd && found.last_owner != owner;
                found.last_owner = owner;
                let value = (types[entry], payloads[entry]);
                let is_string = value.0 == ValueType::String as u8;
                if !is_string || is_new(&mut self.seen_by, value.1 as StringCode, found.mark) {
                    found.add(value, self.max_filtered);
                }
            }
        }
        is_complete
    }

    pub(super) fn find_codes(&mut self, codes: &[StringCode]) -> Found {
        let mut found = self.nothing_found(0);
        for &code in codes {
            if is_new(&mut self.seen_by, code, found.mark) {
                found.add((ValueType::String as u8, code.into()), self.max_filtered);
            }
        }
        found
    }

    /// What was found; the next list starts anew.
    pub(super) fn take(&mut self) -> Vec<Found> {
        let found = std::mem::take(&mut self.found);
        found.iter().for_each(|found| self.by_key[found.key as usize] = 0);
        found
    }
}

/// False if the attribute with this mark was the last one that had the string.
fn is_new(seen_by: &mut [u32], code: StringCode, mark: u32) -> bool {
    seen_by.get_mut(code as usize).is_none_or(|last| std::mem::replace(last, mark) != mark)
}

/// True for values that can be listed, and for a missing value.
fn is_scalar(value_type: u8) -> bool {
    use ValueType::{Bool, Double, Int, String, Unset};
    ValueType::from_u8(value_type)
        .is_some_and(|value_type| matches!(value_type, Unset | String | Int | Double | Bool))
}

/// The number that comparisons see, if it is one.
fn number(value_type: u8, payload: u64) -> Option<f64> {
    match ValueType::from_u8(value_type)? {
        ValueType::Int => Some(payload as i64 as f64),
        ValueType::Double => Some(f64::from_bits(payload)),
        _ => None,
    }
}
