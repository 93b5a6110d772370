//! Conditions on attribute lists.

use tactus_model::{AttributeList, Dictionary, StringCode, ValueType};
use tactus_work::tick;

use super::Test;
use super::strings::{Memo, Verdicts};
use crate::eval::bitmap::{Bitmap, word_of};
use crate::eval::scan::{Owners, for_each_first};
use crate::eval::value::Value;
use crate::{ComparisonOperator, Static};

/// If a chunk of 64 entries has at most this many candidates, they are tested one by one instead of all entries at
/// once.
const FEW: u32 = 12;
/// Units of work that testing a chunk counts as.
const UNITS_OF_CHUNK: u32 = 32;

/// The owners whose first attribute with a key satisfies a test.
pub(super) fn owners_that_satisfy(
    test: &Test,
    list: &AttributeList,
    owners: usize,
    key: Option<StringCode>,
    strings: &Dictionary,
) -> Bitmap {
    let mut rows = Bitmap::none(owners);
    let Some(key) = key else { return rows };
    if list.is_empty() {
        return rows;
    }
    let mut scan = Scan { list, key, test, strings, rows: &mut rows };
    if let Test::Compare(operator, Static::Int(number)) = test {
        scan.integers(*operator, *number);
        return rows;
    }
    match Verdicts::new(test, strings, list.len()) {
        Verdicts::Never => scan.strings(true, |_| false),
        Verdicts::Only(wanted) => scan.strings(true, |code| code == u64::from(wanted)),
        Verdicts::AllBut(None) => scan.strings(true, |_| true),
        Verdicts::AllBut(Some(other)) => scan.strings(true, |code| code != u64::from(other)),
        Verdicts::Table(table) => {
            scan.strings(true, |code| table.get(code as usize) == Some(&1));
        }
        Verdicts::Memo(memo) => scan.strings(false, |code| memo.holds(code as StringCode)),
    }
    rows
}

/// The owners that have an attribute with a key.
pub(super) fn owners_with(list: &AttributeList, owners: usize, key: Option<StringCode>) -> Bitmap {
    let mut rows = Bitmap::none(owners);
    if let Some(key) = key {
        for_each_first(list, key, |owner, _| rows.insert(owner));
    }
    rows
}

struct Scan<'a> {
    list: &'a AttributeList,
    key: StringCode,
    test: &'a Test,
    strings: &'a Dictionary,
    rows: &'a mut Bitmap,
}

impl Scan<'_> {
    /// Tests strings by their code, and other values one by one.
    fn strings(&mut self, at_once: bool, test: impl Fn(u64) -> bool + Copy) {
        self.run(ValueType::String, at_once, test);
    }

    /// Compares integers many at a time, and tests other values one by one.
    fn integers(&mut self, operator: ComparisonOperator, number: i64) {
        let int = ValueType::Int;
        match operator {
            ComparisonOperator::Equal => self.run(int, true, |it| it as i64 == number),
            ComparisonOperator::NotEqual => self.run(int, true, |it| it as i64 != number),
            ComparisonOperator::Less => self.run(int, true, |it| (it as i64) < number),
            ComparisonOperator::LessEqual => self.run(int, true, |it| it as i64 <= number),
            ComparisonOperator::Greater => self.run(int, true, |it| it as i64 > number),
            ComparisonOperator::GreaterEqual => self.run(int, true, |it| it as i64 >= number),
        }
    }

    /// Tests the payloads of one type with `test`. `at_once`: `test` may be called with payloads of any type.
    fn run(&mut self, main: ValueType, at_once: bool, test: impl Fn(u64) -> bool + Copy) {
        let list = self.list;
        let (types, payloads) = (list.types.as_slice(), list.payloads.as_slice());
        let arrays = Memo::of_arrays(self.test, self.strings);
        let mut owners = Owners::of(list);
        for (index, keys) in list.keys.chunks(64).enumerate() {
            let keyed = word_of(keys, |key| key == self.key);
            if keyed == 0 {
                continue;
            }
            if tick(UNITS_OF_CHUNK) {
                return;
            }
            let range = index * 64..index * 64 + keys.len();
            let typed = keyed & word_of(&types[range.clone()], |it| it == main as u8);
            let mut hits = if at_once && typed.count_ones() > FEW {
                typed & word_of(&payloads[range.clone()], test)
            } else {
                kept(typed, |bit| test(payloads[range.start + bit]))
            };
            hits |= kept(keyed & !typed, |bit| self.holds(range.start + bit, &arrays));
            while hits != 0 {
                let entry = range.start + hits.trailing_zeros() as usize;
                hits &= hits - 1;
                if let Some(owner) = owners.of_first(entry, self.key) {
                    self.rows.insert(owner);
                }
            }
        }
    }

    fn holds(&self, entry: usize, arrays: &Memo<'_>) -> bool {
        let attribute = self.list.at(entry);
        match attribute.value_type {
            ValueType::StringArray
            | ValueType::IntArray
            | ValueType::DoubleArray
            | ValueType::BoolArray
            | ValueType::EmptyArray => arrays.holds(attribute.payload as StringCode),
            _ => self.test.holds(Value::of_attribute(attribute, self.strings)),
        }
    }
}

/// The bits of a word for which a test holds.
#[inline]
fn kept(word: u64, test: impl Fn(usize) -> bool) -> u64 {
    let (mut rest, mut kept) = (word, 0);
    while rest != 0 {
        let bit = rest.trailing_zeros();
        rest &= rest - 1;
        kept |= u64::from(test(bit as usize)) << bit;
    }
    kept
}
