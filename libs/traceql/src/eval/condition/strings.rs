//! Evaluates a condition on strings once for each string of a batch.

use std::cell::RefCell;

use tactus_model::{Dictionary, StringCode};
use tactus_work::tick;

use super::Test;
use crate::eval::bitmap::Bitmap;
use crate::eval::scan::find_string;
use crate::eval::value::{ArrayValue, Value};
use crate::{ComparisonOperator, Static};

/// A test's results by dictionary code.
pub(super) enum Verdicts<'v> {
    /// It holds for no string.
    Never,
    /// It holds for one string.
    Only(StringCode),
    /// It holds for all strings but at most one.
    AllBut(Option<StringCode>),
    /// 1 for the strings for which it holds.
    Table(Vec<u8>),
    /// Strings are tested when they are met.
    Memo(Memo<'v>),
}

impl<'v> Verdicts<'v> {
    /// Prepares a test that will be used about `uses` times. If there are fewer strings than that, all of them are
    /// tested now.
    pub(super) fn new(test: &'v Test, strings: &'v Dictionary, uses: usize) -> Self {
        match test {
            Test::Compare(operator, Static::String(text)) => {
                let code = find_string(strings, text);
                match (operator, code) {
                    (ComparisonOperator::Equal, None) => return Self::Never,
                    (ComparisonOperator::Equal, Some(code)) => return Self::Only(code),
                    (ComparisonOperator::NotEqual, code) => return Self::AllBut(code),
                    _ => {}
                }
            }
            Test::Compare(..) | Test::IsBool(_) | Test::Regex { regex: None, .. } => {
                return Self::Never;
            }
            Test::Exists => return Self::AllBut(None),
            Test::CompareId(..) | Test::Regex { .. } | Test::Contains(_) => {}
        }
        if strings.len() > uses {
            return Self::Memo(Memo::of_strings(test, strings));
        }
        let verdict = |code| {
            let text = strings.get(code);
            u8::from(!tick(units(text)) && test.holds(Value::String(text)))
        };
        let table: Vec<u8> = (0..strings.len() as StringCode).map(verdict).collect();
        if table.contains(&1) { Self::Table(table) } else { Self::Never }
    }

    /// The rows whose string satisfies the test.
    pub(super) fn rows(&self, codes: &[StringCode]) -> Bitmap {
        match self {
            Self::Never => Bitmap::none(codes.len()),
            Self::Only(wanted) => Bitmap::from_values(codes, |code| code == *wanted),
            Self::AllBut(None) => Bitmap::all(codes.len()),
            Self::AllBut(Some(other)) => Bitmap::from_values(codes, |code| code != *other),
            Self::Table(table) => {
                Bitmap::from_values(codes, |code| table.get(code as usize) == Some(&1))
            }
            Self::Memo(memo) => Bitmap::from_values(codes, |code| memo.holds(code)),
        }
    }
}

/// Units of work for testing a text. A regular expression counts its own work.
fn units(text: &[u8]) -> u32 {
    1 + (text.len() >> 5) as u32
}

/// A test that remembers its results by dictionary code.
pub(super) struct Memo<'v> {
    test: &'v Test,
    strings: &'v Dictionary,
    value: fn(&'v [u8]) -> Value<'v>,
    results: RefCell<Vec<u8>>,
}

const UNKNOWN: u8 = 0;
const FAILS: u8 = 1;
const HOLDS: u8 = 2;

impl<'v> Memo<'v> {
    fn of_strings(test: &'v Test, strings: &'v Dictionary) -> Self {
        Self { test, strings, value: Value::String, results: RefCell::default() }
    }

    /// For codes of encoded arrays.
    pub(super) fn of_arrays(test: &'v Test, strings: &'v Dictionary) -> Self {
        let value = |encoded| Value::Array(ArrayValue { encoded });
        Self { test, strings, value, results: RefCell::default() }
    }

    /// True if the string with this code satisfies the test.
    #[inline]
    pub(super) fn holds(&self, code: StringCode) -> bool {
        let mut results = self.results.borrow_mut();
        if results.is_empty() {
            results.resize(self.strings.len(), UNKNOWN);
        }
        let test = || {
            let text = self.strings.get(code);
            !tick(units(text)) && self.test.holds((self.value)(text))
        };
        match results.get_mut(code as usize) {
            None => test(),
            Some(result) => {
                if *result == UNKNOWN {
                    *result = if test() { HOLDS } else { FAILS };
                }
                *result == HOLDS
            }
        }
    }
}
