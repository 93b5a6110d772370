//! One read of one row group: what has been fetched, and the batch's strings.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::ColumnChunkMetaData;
use tactus_model::{Buffer, Dictionary, TraceId};
use tactus_storage::meta::BlockVersion;

use crate::decoding::{DecodeError, DecodeResult};
use crate::{Error, Result};

use super::File;
use super::cache::{Codes, Column, ColumnCache, Slot};
use super::chunk::{Chunk, Needs, PageDecoder, PageLevels, Scratch, Window, read_pages};
use super::columns::Leaf;
use super::footer;
use super::page_index::page_ranges;
use super::prune;
use super::strings::{Recode, StringPool};
use super::values::{Ints, Strings, Words};

/// Reads columns of one row group, or of some of its rows.
pub(crate) struct Task<'f> {
    file: &'f File,
    row_group: usize,
    rows: Option<Range<u64>>,
    chunks: HashMap<usize, Chunk>,
    scratch: Option<Box<Scratch>>,
    /// What was found in the cache, or decoded before its turn.
    held: HashMap<Slot, Held>,
    pub(crate) pool: StringPool,
}

type Held = Arc<dyn Any + Send + Sync>;

impl<'f> Task<'f> {
    /// A task that has fetched nothing yet. `rows`: only these; `None` for all.
    pub(crate) fn new(file: &'f File, row_group: usize, rows: Option<Range<u64>>) -> Self {
        let (chunks, held, pool) = Default::default();
        Self { file, row_group, rows, chunks, scratch: None, held, pool }
    }

    /// The version of the block.
    pub(crate) fn version(&self) -> BlockVersion {
        self.file.version
    }

    /// What the footer says about a column.
    pub(crate) fn metadata(&self, leaf: Leaf) -> Option<&'f ColumnChunkMetaData> {
        self.file.metadata.row_groups().get(self.row_group)?.columns().get(leaf.index)
    }

    /// True if no entry of the column has a value.
    pub(crate) fn is_all_null(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(footer::is_all_null)
    }

    /// The value of an integer column that has no other.
    pub(crate) fn constant(&self, leaf: Leaf) -> Option<i64> {
        self.metadata(leaf).and_then(footer::constant_integer)
    }

    /// True if all strings of a column are empty.
    pub(crate) fn is_all_empty(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(footer::is_all_empty)
    }

    /// True if the footer tells all values of a column with one value an owner, so that no page is read.
    pub(crate) fn is_told_by_footer(&self, leaf: Leaf) -> bool {
        self.is_all_null(leaf) || self.constant(leaf).is_some() || self.is_all_empty(leaf)
    }

    /// True if no value of a boolean column is true.
    pub(crate) fn is_all_false(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(footer::is_all_false)
    }

    /// Entries of a fetched column in the whole row group, nulls included.
    pub(crate) fn entries(&self, leaf: Leaf) -> usize {
        self.chunks.get(&leaf.index).map_or(0, |chunk| chunk.entries)
    }

    /// About as many entries of a fetched column as will be read.
    pub(crate) fn entries_to_read(&self, leaf: Leaf) -> usize {
        if self.rows.is_some() { 0 } else { self.entries(leaf) }
    }

    /// False if the column's dictionary shows that no value meets the predicate.
    pub(crate) fn dictionary_may_have(
        &self,
        leaf: Leaf,
        predicate: &dyn Fn(&[u8]) -> bool,
    ) -> Result<bool> {
        let Some(metadata) = self.metadata(leaf) else { return Ok(true) };
        match self.chunks.get(&leaf.index).and_then(|chunk| chunk.pieces.first()) {
            Some(piece) if footer::is_dictionary_only(metadata) => {
                let codec = self.chunks[&leaf.index].codec;
                prune::dictionary_has(codec, piece, predicate)
                    .map_err(|error| self.corrupt(leaf, error))
            }
            _ => Ok(true),
        }
    }

    /// Reads the pages of these columns, as few reads as the source can make of it.
    pub(crate) fn fetch(&mut self, leaves: &[Leaf]) -> Result<()> {
        let group = self.file.metadata.row_groups().get(self.row_group);
        let group = group.ok_or(Error::Corrupt { what: "no such row group".to_owned() })?;
        let mut wanted = Vec::new();
        for &leaf in leaves {
            if self.chunks.contains_key(&leaf.index) {
                continue;
            }
            let facts = footer::chunk_facts(group, leaf, self.file.size);
            let facts = facts.map_err(|error| self.corrupt(leaf, error))?;
            let chunk = Chunk {
                leaf,
                codec: facts.codec,
                verify: self.file.verify,
                entries: facts.entries,
                pieces: Vec::new(),
                window: None,
            };
            self.chunks.insert(leaf.index, chunk);
            wanted.push((leaf, facts.range));
        }
        match self.rows.clone() {
            None => {
                let ranges: Vec<_> = wanted.iter().map(|(_, range)| range.clone()).collect();
                let parts = self.file.source.read_many(&ranges)?;
                for ((leaf, _), part) in wanted.iter().zip(parts) {
                    self.add_pieces(*leaf, vec![part], None);
                }
            }
            Some(rows) => self.fetch_rows(&wanted, &rows)?,
        }
        Ok(())
    }

    fn add_pieces(&mut self, leaf: Leaf, pieces: Vec<Bytes>, window: Option<Window>) {
        if let Some(chunk) = self.chunks.get_mut(&leaf.index) {
            chunk.pieces = pieces;
            chunk.window = window;
        }
    }

    /// Reads only the pages that hold the rows, and the dictionaries. Whole chunks where there is no
    /// offset index.
    fn fetch_rows(&mut self, wanted: &[(Leaf, Range<u64>)], rows: &Range<u64>) -> Result<()> {
        let indexes = self.file.page_indexes(self.row_group)?;
        let mut ranges = Vec::new();
        let mut plans = Vec::new();
        for (leaf, chunk) in wanted {
            let index = indexes.pages(leaf.index);
            let (pages, first_row) = page_ranges(index, chunk, rows)
                .ok_or(DecodeError("the offset index does not fit the chunk"))
                .map_err(|error| self.corrupt(*leaf, error))?;
            plans.push((*leaf, ranges.len()..ranges.len() + pages.len(), first_row));
            ranges.extend(pages);
        }
        let parts = self.file.source.read_many(&ranges)?;
        for (leaf, pieces, first_row) in plans {
            let window = Window { rows: rows.clone(), first_row };
            self.add_pieces(leaf, parts[pieces].to_vec(), Some(window));
        }
        Ok(())
    }

    /// Decodes a fetched column; see [`read_pages`].
    pub(crate) fn pages<D: PageDecoder>(
        &mut self,
        leaf: Leaf,
        needs: Needs,
        decoder: &mut D,
        mut on_page: impl FnMut(PageLevels<'_>, &mut D, &mut StringPool) -> DecodeResult<()>,
    ) -> Result<()> {
        let Self { chunks, scratch, pool, .. } = self;
        let Some(chunk) = chunks.get(&leaf.index) else {
            // Nothing was fetched because there is nothing.
            if self.is_all_null(leaf) {
                return Ok(());
            }
            return Err(self.corrupt(leaf, DecodeError("the column was not fetched")));
        };
        let scratch = scratch.get_or_insert_with(Scratch::reuse);
        read_pages(chunk, needs, scratch, decoder, |page, decoder| on_page(page, decoder, pool))
            .map_err(|error| self.corrupt(leaf, error))
    }

    /// The cache, if what is read may be kept: columns of a whole row group.
    fn cache(&self) -> Option<&'f ColumnCache> {
        self.file.cache.as_deref().filter(|_| self.rows.is_none())
    }

    /// True if a column is in memory already; then it need not be fetched.
    pub(crate) fn has(&mut self, slot: &Slot) -> bool {
        if self.held.contains_key(slot) {
            return true;
        }
        let found = self.cache().and_then(|cache| cache.get(self.file.id, self.row_group, slot));
        let is_found = found.is_some();
        self.held.extend(found.map(|column| (slot.clone(), column)));
        is_found
    }

    /// Keeps a column in memory until it is taken.
    pub(crate) fn hold<T: Column>(&mut self, slot: Slot, column: T) {
        self.held.insert(slot, Arc::new(column));
    }

    /// A column that [`Self::has`] found or [`Self::hold`] kept.
    pub(crate) fn take<T: Column>(&mut self, slot: &Slot) -> Option<T> {
        let column = self.held.remove(slot)?.downcast::<T>().ok()?;
        Some(Arc::try_unwrap(column).unwrap_or_else(|shared| T::clone(&shared)))
    }

    /// Offers a decoded column to the cache; returns it in the form to go on with.
    pub(crate) fn keep<T: Column>(&self, slot: Slot, column: T) -> T {
        match self.cache() {
            Some(cache) => cache.insert(self.file.id, self.row_group, slot, column),
            None => column,
        }
    }

    /// A column that is in memory, or else what `decode` makes of the fetched pages.
    pub(crate) fn column<T: Column>(
        &mut self,
        slot: Slot,
        decode: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(column) = self.take(&slot) {
            return Ok(column);
        }
        let column = decode(self)?;
        Ok(self.keep(slot, column))
    }

    /// Like [`Self::column`] for a leaf column with one value for each of `expected` owners.
    fn buffer<T: bytemuck::Pod + Send + Sync>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        decode: impl FnOnce(&mut Self) -> Result<Vec<T>>,
    ) -> Result<Buffer<T>> {
        let decode = |task: &mut Self| Ok(Buffer::from(decode(task)?));
        let column = self.column(Slot::Column(leaf.index), decode)?;
        self.expect(leaf, column.len(), expected)?;
        Ok(column)
    }

    /// All values of a 64-bit column; fails unless there are `expected`.
    pub(crate) fn words(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u64>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as u64; expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let mut words = Words::collecting(expected);
            task.pages(leaf, Needs::default(), &mut words, |_, _, _| Ok(()))?;
            Ok(words.values)
        })
    }

    /// All values of a 64-bit column that are small by nature; others become 0.
    pub(crate) fn small_words(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u8>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![u8::try_from(value).unwrap_or(0); expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let mut out = Vec::with_capacity(expected);
            task.pages(leaf, Needs::default(), &mut Words::default(), |_, words, _| {
                out.extend(words.values.iter().map(|&word| u8::try_from(word).unwrap_or(0)));
                Ok(())
            })?;
            Ok(out)
        })
    }

    /// All values of a 32-bit column.
    pub(crate) fn ints(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<i32>> {
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as i32; expected].into());
        }
        self.buffer(leaf, expected, |task| task.decode_ints(leaf, expected))
    }

    fn decode_ints(&mut self, leaf: Leaf, expected: usize) -> Result<Vec<i32>> {
        let mut ints = Ints::collecting(expected);
        self.pages(leaf, Needs::default(), &mut ints, |_, _, _| Ok(()))?;
        Ok(ints.values)
    }

    /// All values of a column of unsigned 32-bit counts; zeros if the file does not have it.
    pub(crate) fn counts(&mut self, leaf: Option<Leaf>, expected: usize) -> Result<Buffer<u32>> {
        let Some(leaf) = leaf else { return Ok(vec![0; expected].into()) };
        if let Some(value) = self.constant(leaf) {
            return Ok(vec![value as u32; expected].into());
        }
        self.buffer(leaf, expected, |task| {
            let counts = task.decode_ints(leaf, expected)?;
            Ok(counts.into_iter().map(|count| count as u32).collect())
        })
    }

    /// The batch codes of all values of a string column.
    pub(crate) fn codes(&mut self, leaf: Leaf, expected: usize) -> Result<Buffer<u32>> {
        let Codes { codes, strings } = self.own_codes(leaf, expected)?;
        let recode = self.absorb(leaf, strings)?;
        Ok(recode.codes(codes))
    }

    /// The values of a string column, as codes of a dictionary of its own.
    pub(crate) fn own_codes(&mut self, leaf: Leaf, expected: usize) -> Result<Codes> {
        if self.is_all_empty(leaf) {
            let codes = vec![0; expected].into();
            return Ok(Codes { codes, strings: Dictionary::default() });
        }
        let column = self.column(Slot::Column(leaf.index), |task| {
            let mut pool = StringPool::default();
            let mut codes = Vec::with_capacity(expected);
            task.with_pool(&mut pool, |task| {
                let decoder = &mut Strings::default();
                task.pages(leaf, Needs::default(), decoder, |_, strings, pool| {
                    strings.resolve_all(pool, &mut codes)
                })
            })?;
            Ok(Codes { codes: codes.into(), strings: pool.finish_shared() })
        })?;
        self.expect(leaf, column.codes.len(), expected)?;
        Ok(column)
    }

    /// Runs `work` with another pool than the batch's.
    pub(crate) fn with_pool<T>(
        &mut self,
        pool: &mut StringPool,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        std::mem::swap(&mut self.pool, pool);
        let done = work(self);
        std::mem::swap(&mut self.pool, pool);
        done
    }

    /// Adds a column's strings to those of the batch.
    pub(crate) fn absorb(&mut self, leaf: Leaf, strings: Dictionary) -> Result<Recode> {
        self.pool.absorb(strings).map_err(|error| self.corrupt(leaf, error))
    }

    /// All values of a column of ids.
    pub(crate) fn ids<const WIDTH: usize, T: bytemuck::Pod + Send + Sync>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        wrap: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Buffer<T>> {
        if self.is_all_empty(leaf) {
            return Ok(vec![wrap([0; WIDTH]); expected].into());
        }
        self.buffer(leaf, expected, |task| task.decode_ids(leaf, expected, wrap))
    }

    fn decode_ids<const WIDTH: usize, T>(
        &mut self,
        leaf: Leaf,
        expected: usize,
        wrap: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<Vec<T>> {
        let mut out = Vec::with_capacity(expected);
        self.pages(leaf, Needs::default(), &mut Strings::default(), |_, strings, _| {
            strings.ids(&wrap, &mut out);
            Ok(())
        })?;
        Ok(out)
    }

    /// The trace ids, however many there are.
    pub(crate) fn trace_ids(&mut self, leaf: Leaf) -> Result<Buffer<TraceId>> {
        let decode = |task: &mut Self| Ok(Buffer::from(task.decode_ids(leaf, 0, TraceId)?));
        self.column(Slot::Column(leaf.index), decode)
    }

    /// The code of a string that comes with a column.
    pub(crate) fn intern(&mut self, leaf: Leaf, string: &[u8]) -> Result<u32> {
        self.pool.intern(string).map_err(|error| self.corrupt(leaf, error))
    }

    /// Fails if a column has another number of values than its owners ask for.
    pub(crate) fn expect(&self, leaf: Leaf, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(self
            .corrupt(leaf, DecodeError("a column has another number of values than its owners")))
    }

    /// An error with its place.
    pub(crate) fn corrupt(&self, leaf: Leaf, DecodeError(what): DecodeError) -> Error {
        let path = self.metadata(leaf).map(|chunk| chunk.column_path().string());
        let path = path.unwrap_or_default();
        Error::Corrupt { what: format!("{what} (column {path}, row group {})", self.row_group) }
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            scratch.spare();
        }
    }
}
