//! Attributes with a column of their own.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::ValueType;
use tactus_storage::meta::ColumnType;

use crate::Result;
use crate::decoding::DecodeResult;
use crate::decoding::hybrid::Levels;
use crate::read::chunk::{Needs, PageLevels};
use crate::read::columns::FixedColumn;
use crate::read::task::Task;
use crate::read::values::{Strings, UNSEEN, Words};

use super::Values;
use super::arrays::{Arrays, array_of};
use super::walk::Walker;

/// The values of one column, and the owner of each.
#[derive(Debug)]
pub(super) struct FixedValues {
    /// Code of the attribute's key.
    pub(super) key: u32,
    /// Ascending.
    pub(super) owners: Vec<u32>,
    pub(super) values: Values,
}

/// The distinct values of an attribute that has one string for each owner, and which of them each owner has.
#[derive(Debug)]
pub(crate) struct DistinctStrings {
    /// Code of the attribute's key.
    pub(crate) key: u32,
    /// Codes of the distinct values. If the column uses an empty string for "no attribute", it has code 0.
    pub(crate) values: Vec<u32>,
    /// The number of each owner's value.
    pub(crate) of_owner: Vec<u32>,
}

/// Reads the column of one attribute of owners at `level`, each distinct value once. `None` if there is no dictionary,
/// or if an owner may have no value or several.
pub(crate) fn read_distinct(
    task: &mut Task<'_>,
    column: &FixedColumn,
    level: u8,
    owners: usize,
) -> Result<Option<DistinctStrings>> {
    let leaf = column.leaf;
    if column.column_type != ColumnType::String || leaf.max_rep > level || task.is_all_null(leaf) {
        return Ok(None);
    }
    let key = task.intern(leaf, &column.key)?;
    let mut out = DistinctStrings { key, values: Vec::new(), of_owner: Vec::with_capacity(owners) };
    // The number of each entry of the dictionary.
    let mut numbers: Vec<u32> = Vec::new();
    let mut by_code: HashMap<u32, u32, RandomState> = HashMap::default();
    let mut is_plain = false;
    let needs = Needs { rep: false, def: true };
    task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
        is_plain |= page.def != Levels::Constant(leaf.max_def) || !strings.has_codes();
        if is_plain {
            return Ok(());
        }
        if numbers.len() != strings.local_len() {
            numbers.clear();
            numbers.resize(strings.local_len(), UNSEEN);
        }
        for value in 0..strings.local.len() {
            let local = strings.local[value];
            if numbers[local as usize] == UNSEEN {
                let code = strings.resolve(local, pool)?;
                // A dictionary may have a string twice.
                numbers[local as usize] = *by_code.entry(code).or_insert_with(|| {
                    out.values.push(code);
                    out.values.len() as u32 - 1
                });
            }
        }
        out.of_owner.extend(strings.local.iter().map(|&local| numbers[local as usize]));
        Ok(())
    })?;
    Ok((!is_plain && out.of_owner.len() == owners).then_some(out))
}

/// Reads the column of one attribute of owners at `level`.
pub(super) fn read_fixed(
    task: &mut Task<'_>,
    column: &FixedColumn,
    level: u8,
    owners: usize,
) -> Result<FixedValues> {
    let leaf = column.leaf;
    let mut out = FixedValues { key: 0, owners: Vec::new(), values: Values::default() };
    if task.is_all_null(leaf) {
        return Ok(out);
    }
    out.key = task.intern(leaf, &column.key)?;
    let room = task.entries_to_read(leaf).min(owners);
    out.owners.reserve(room);
    out.values.payloads.reserve(room);
    let scalar = match column.column_type {
        ColumnType::String => ValueType::String,
        ColumnType::Int => ValueType::Int,
    };
    // A repeated column with one entry for each owner has no lists. Then repetition levels only show where owners
    // start, which every entry does.
    let lists = leaf.max_rep > level;
    let needs = Needs { rep: lists, def: true };
    let mut walker = Walker::new(level, leaf.max_def, owners, None);
    let mut filler = Filler {
        scalar,
        out: &mut out,
        arrays: Arrays::default(),
        omit_empty: column.omit_empty,
        lists,
        max_def: leaf.max_def,
    };
    let mut codes = Vec::new();
    match column.column_type {
        ColumnType::String => {
            task.pages(leaf, needs, &mut Strings::default(), |page, strings, pool| {
                codes.clear();
                strings.resolve_all(pool, &mut codes)?;
                filler.page(&mut walker, page, |value| u64::from(codes[value]))
            })?;
        }
        ColumnType::Int => {
            task.pages(leaf, needs, &mut Words::default(), |page, words, _| {
                filler.page(&mut walker, page, |value| words.values[value])
            })?;
        }
    }
    let arrays = filler.arrays;
    let settled = walker
        .finish()
        .and_then(|()| arrays.settle(scalar, &mut out.values.payloads, &mut task.pool));
    settled.map_err(|error| task.corrupt(leaf, error))?;
    Ok(out)
}

struct Filler<'v> {
    scalar: ValueType,
    out: &'v mut FixedValues,
    arrays: Arrays,
    omit_empty: bool,
    /// True if repetition levels say which values belong together.
    lists: bool,
    max_def: u8,
}

impl Filler<'_> {
    fn page(
        &mut self,
        walker: &mut Walker<'_>,
        page: PageLevels<'_>,
        payload: impl Fn(usize) -> u64,
    ) -> DecodeResult<()> {
        if !self.lists
            && page.def == Levels::Constant(self.max_def)
            && !(self.omit_empty && (0..page.entries).any(|value| payload(value) == 0))
        {
            let first = walker.pass_full(page.entries)? as u32;
            self.out.owners.extend(first..first + page.entries as u32);
            self.out.values.payloads.extend((0..page.entries).map(&payload));
            self.out.values.types.resize(self.out.owners.len(), self.scalar as u8);
            return Ok(());
        }
        if !self.lists && !self.omit_empty {
            let before = self.out.owners.len();
            walker.owners_of_values(page, &mut self.out.owners)?;
            let values = self.out.owners.len() - before;
            self.out.values.payloads.extend((0..values).map(payload));
            self.out.values.types.resize(self.out.owners.len(), self.scalar as u8);
            return Ok(());
        }
        walker.page(page, |owner, continues, value| {
            self.put(owner, continues, payload(value));
            Ok(())
        })?;
        self.out.values.types.resize(self.out.owners.len(), self.scalar as u8);
        Ok(())
    }

    #[inline]
    fn put(&mut self, owner: usize, continues: bool, payload: u64) {
        if continues {
            return self.put_more(owner, payload);
        }
        if !(self.omit_empty && payload == 0) {
            self.out.owners.push(owner as u32);
            self.out.values.payloads.push(payload);
        }
    }

    /// A second or later value of the same owner makes it an array.
    fn put_more(&mut self, owner: usize, payload: u64) {
        let FixedValues { owners, values, .. } = &mut *self.out;
        let Some(target) = owners.len().checked_sub(1) else { return };
        if owners[target] as usize != owner {
            return;
        }
        values.types.resize(owners.len(), self.scalar as u8);
        if self.arrays.last() != Some(target) {
            values.types[target] = array_of(self.scalar) as u8;
            self.arrays.start(target, values.payloads[target]);
        }
        self.arrays.push(payload);
    }
}
