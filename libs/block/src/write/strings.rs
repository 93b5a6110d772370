//! Maps the batch's string codes to a column's own dictionary.

use tactus_model::{Dictionary, DictionaryBuilder, StringCode};

use super::statistics::prefix;
use crate::encoding::plain::put_byte_array;

const UNMAPPED: u32 = u32::MAX;

/// The strings of a batch, and those that exist only inside its arrays.
///
/// The latter have codes from the batch's length on. Such a string may equal one of the batch's.
pub(super) struct Strings<'a> {
    dictionary: &'a Dictionary,
    extra: DictionaryBuilder,
}

impl<'a> Strings<'a> {
    pub(super) fn new(dictionary: &'a Dictionary) -> Self {
        Self { dictionary, extra: DictionaryBuilder::default() }
    }

    pub(super) fn get(&self, code: StringCode) -> &[u8] {
        match code.checked_sub(self.dictionary.len() as u32) {
            None => self.dictionary.get(code),
            Some(extra) => self.extra.dictionary().get(extra),
        }
    }

    /// Number of codes in use.
    fn len(&self) -> usize {
        self.dictionary.len() + self.extra.dictionary().len()
    }

    /// The code of an array element.
    pub(super) fn intern(&mut self, string: &[u8]) -> StringCode {
        self.dictionary.len() as u32 + self.extra.intern(string)
    }
}

/// Builds the dictionary of one column after another, reusing its memory.
#[derive(Debug, Default)]
pub(super) struct ColumnDictionary {
    /// From string code to dictionary entry, for codes that occur in this column.
    entry_of: Vec<u32>,
    /// String code of each entry: in order of first appearance while building, then sorted.
    codes: Vec<StringCode>,
    /// First eight bytes and number of each entry, for sorting.
    sorting: Vec<(u64, u32)>,
    /// Position of each entry in the sorted dictionary.
    ranks: Vec<u32>,
    /// The PLAIN dictionary page.
    pub(super) page: Vec<u8>,
    /// Entries of the dictionary page.
    pub(super) entries: usize,
    /// For each value, its index in the dictionary page, which is sorted.
    pub(super) indices: Vec<u32>,
}

impl ColumnDictionary {
    /// Makes the dictionary of a column with these values.
    pub(super) fn build(
        &mut self,
        values: impl Iterator<Item = StringCode>,
        strings: &Strings<'_>,
    ) {
        self.entry_of.resize(self.entry_of.len().max(strings.len()), UNMAPPED);
        self.codes.clear();
        self.indices.clear();
        self.indices.extend(values.map(|code| {
            let entry = &mut self.entry_of[code as usize];
            if *entry == UNMAPPED {
                *entry = self.codes.len() as u32;
                self.codes.push(code);
            }
            *entry
        }));
        for &code in &self.codes {
            self.entry_of[code as usize] = UNMAPPED;
        }
        self.sort(strings);
        if self.ranks.len() > 1 {
            for index in &mut self.indices {
                *index = self.ranks[*index as usize];
            }
        }
    }

    /// Sorts the entries and removes duplicates. Bounds of pages are then known without comparing strings, and pages
    /// compress better.
    fn sort(&mut self, strings: &Strings<'_>) {
        let string_of = |entry: u32| strings.get(self.codes[entry as usize]);
        self.sorting.clear();
        self.sorting
            .extend((0..self.codes.len() as u32).map(|entry| (prefix(string_of(entry)), entry)));
        self.sorting.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| string_of(a.1).cmp(string_of(b.1)))
        });
        self.ranks.clear();
        self.ranks.resize(self.codes.len(), 0);
        self.page.clear();
        self.entries = 0;
        let mut previous: Option<&[u8]> = None;
        for &(_, entry) in &self.sorting {
            let string = string_of(entry);
            if previous != Some(string) {
                put_byte_array(&mut self.page, string);
                self.entries += 1;
            }
            previous = Some(string);
            self.ranks[entry as usize] = self.entries as u32 - 1;
        }
        let mut by_rank = vec![0; self.entries];
        for (&rank, &code) in self.ranks.iter().zip(&self.codes) {
            by_rank[rank as usize] = code;
        }
        self.codes = by_rank;
    }

    /// The string code behind an index.
    pub(super) fn code_of(&self, index: u32) -> StringCode {
        self.codes[index as usize]
    }
}
