//! One read of one row group: the bytes fetched so far, and the strings of the batch.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tactus_model::Dictionary;
use tactus_storage::meta::BlockVersion;

use crate::decoding::byte_arrays::ByteArrays;
use crate::decoding::{DecodeError, DecodeResult};
use crate::{Error, Result};

use super::File;
use super::cache::{CachedBlock, Column, Slot};
use super::chunk::{Chunk, Needs, PageDecoder, PageLevels, Scratch, Window, read_pages};
use super::columns::Leaf;
use super::footer::{self, ChunkFacts};
use super::kept_footer::KeptChunk;
use super::page_index::page_ranges;
use super::prune;
use super::strings::{Recode, StringPool};

mod columns;

/// Reads columns of one row group, or of some of its rows.
pub(crate) struct Task<'f> {
    file: &'f File,
    row_group: usize,
    rows: Option<Range<u64>>,
    /// Which spans of the rows are wanted, if not all: a byte for each, 1 if wanted.
    chosen: Option<Arc<[u8]>>,
    chunks: HashMap<usize, Chunk, RandomState>,
    scratch: Option<Box<Scratch>>,
    /// Columns that were found in the cache, or were decoded early.
    held: HashMap<Slot, Held, RandomState>,
    pub(crate) pool: StringPool,
}

type Held = Arc<dyn Any + Send + Sync>;

impl<'f> Task<'f> {
    /// A task that has fetched nothing yet. `rows`: which rows to read; `None` for all.
    pub(crate) fn new(file: &'f File, row_group: usize, rows: Option<Range<u64>>) -> Self {
        let (chunks, held, pool) = Default::default();
        Self { file, row_group, rows, chosen: None, chunks, scratch: None, held, pool }
    }

    /// From now on, reads only these spans of the rows, in all columns of spans and their items. A byte for each span,
    /// 1 if wanted.
    pub(crate) fn choose(&mut self, chosen: Arc<[u8]>) {
        self.chosen = Some(chosen);
    }

    /// The version of the block.
    pub(crate) fn version(&self) -> BlockVersion {
        self.file.version
    }

    /// What the footer says about a column.
    pub(crate) fn metadata(&self, leaf: Leaf) -> Option<&'f KeptChunk> {
        self.file.footer.row_groups().get(self.row_group)?.columns().get(leaf.index)
    }

    /// True if no entry of the column has a value.
    pub(crate) fn is_all_null(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(|chunk| chunk.is_all_null)
    }

    /// The value of an integer column whose values are all equal.
    pub(crate) fn constant(&self, leaf: Leaf) -> Option<i64> {
        self.metadata(leaf).and_then(KeptChunk::constant_integer)
    }

    /// True if all strings of a column are empty.
    pub(crate) fn is_all_empty(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(|chunk| chunk.is_all_empty)
    }

    /// True if the footer determines all values of a column with one value for each owner, so that no page is read.
    pub(crate) fn is_told_by_footer(&self, leaf: Leaf) -> bool {
        self.is_all_null(leaf) || self.constant(leaf).is_some() || self.is_all_empty(leaf)
    }

    /// True if no value of a boolean column is true.
    pub(crate) fn is_all_false(&self, leaf: Leaf) -> bool {
        self.metadata(leaf).is_some_and(|chunk| chunk.is_all_false)
    }

    /// Entries of a fetched column in the whole row group, including nulls.
    pub(crate) fn entries(&self, leaf: Leaf) -> usize {
        self.chunks.get(&leaf.index).map_or(0, |chunk| chunk.entries)
    }

    /// The most links, and attributes of links, that the row group may have.
    pub(crate) fn link_limit(&self) -> usize {
        let group = self.file.footer.row_groups().get(self.row_group);
        let limit = |group| footer::entry_limit(group, self.file.size, footer::FREE_LINKS);
        group.map_or(0, |group| limit(group) as usize)
    }

    /// Roughly how many entries of a fetched column will be read.
    pub(crate) fn entries_to_read(&self, leaf: Leaf) -> usize {
        if self.rows.is_some() { 0 } else { self.entries(leaf) }
    }

    /// False if the column's dictionary shows that no value satisfies the predicate.
    pub(crate) fn dictionary_may_have(
        &mut self,
        leaf: Leaf,
        predicate: &dyn Fn(&[u8]) -> bool,
    ) -> Result<bool> {
        let Some(metadata) = self.metadata(leaf) else { return Ok(true) };
        let Some(chunk) = self.chunks.get(&leaf.index) else { return Ok(true) };
        if !metadata.is_dictionary_only {
            return Ok(true);
        }
        // A dictionary that was decoded before is not in the pieces.
        let found = match (&chunk.dictionary, chunk.pieces.first()) {
            (Some(strings), _) => Ok(prune::any_string(strings, predicate)),
            (None, Some(piece)) => {
                let scratch = self.scratch.get_or_insert_with(Scratch::reuse);
                let decompressor = scratch.decompressor();
                let (codec, bytes) = (chunk.codec, chunk.uncompressed);
                prune::dictionary_has(codec, bytes, piece, decompressor, predicate)
            }
            (None, None) => return Ok(true),
        };
        found.map_err(|error| self.corrupt(leaf, error))
    }

    /// Fetches a column of keys. From a local file, fetches only its dictionary if that has none of the wanted keys.
    pub(crate) fn fetch_keys(&mut self, leaf: Leaf, wants: &dyn Fn(&[u8]) -> bool) -> Result<()> {
        let group = self.file.footer.row_groups().get(self.row_group);
        let (Some(metadata), Some(group)) = (self.metadata(leaf), group) else {
            return self.fetch(&[leaf]);
        };
        let is_known = self.chunks.contains_key(&leaf.index);
        let is_whole = self.rows.is_some() || self.file.source.is_remote();
        if is_known || is_whole || !metadata.is_dictionary_only {
            return self.fetch(&[leaf]);
        }
        let facts = footer::chunk_facts(group, leaf, self.file.size);
        let facts = facts.map_err(|error| self.corrupt(leaf, error))?;
        let Range { start, end } = facts.range;
        let data = u64::try_from(metadata.data_page_offset).unwrap_or(0).clamp(start, end);
        let dictionary = self.file.source.read(start..data)?;
        self.chunks.insert(leaf.index, self.chunk(leaf, &facts));
        self.add_pieces(leaf, vec![dictionary], None, None);
        if self.dictionary_may_have(leaf, wants)? {
            let pages = self.file.source.read(data..end)?;
            self.chunks.entry(leaf.index).and_modify(|chunk| chunk.pieces.push(pages));
        }
        Ok(())
    }

    fn chunk(&self, leaf: Leaf, facts: &ChunkFacts) -> Chunk {
        Chunk {
            leaf,
            codec: facts.codec,
            verify: self.file.verify,
            entries: facts.entries,
            uncompressed: facts.uncompressed,
            pieces: Vec::new(),
            dictionary: None,
            window: None,
            chosen: None,
        }
    }

    /// Fetches the pages of these columns, with as few reads as the source can.
    pub(crate) fn fetch(&mut self, leaves: &[Leaf]) -> Result<()> {
        let group = self.file.footer.row_groups().get(self.row_group);
        let group = group.ok_or(Error::Corrupt { what: "no such row group".to_owned() })?;
        let mut wanted = Vec::new();
        for &leaf in leaves {
            if self.chunks.contains_key(&leaf.index) {
                continue;
            }
            let facts = footer::chunk_facts(group, leaf, self.file.size);
            let facts = facts.map_err(|error| self.corrupt(leaf, error))?;
            self.chunks.insert(leaf.index, self.chunk(leaf, &facts));
            wanted.push((leaf, facts.range));
        }
        match self.rows.clone() {
            None => {
                let ranges: Vec<_> = wanted.iter().map(|(_, range)| range.clone()).collect();
                let parts = self.file.source.read_many(&ranges)?;
                for ((leaf, _), part) in wanted.iter().zip(parts) {
                    self.add_pieces(*leaf, vec![part], None, None);
                }
            }
            Some(rows) => self.fetch_rows(&wanted, &rows)?,
        }
        Ok(())
    }

    fn add_pieces(
        &mut self,
        leaf: Leaf,
        pieces: Vec<Bytes>,
        dictionary: Option<Arc<ByteArrays>>,
        window: Option<Window>,
    ) {
        if let Some(chunk) = self.chunks.get_mut(&leaf.index) {
            chunk.pieces = pieces;
            chunk.dictionary = dictionary;
            chunk.window = window;
        }
    }

    /// Fetches only the pages that hold the rows, and the dictionaries. Fetches whole chunks if there is no offset
    /// index.
    fn fetch_rows(&mut self, wanted: &[(Leaf, Range<u64>)], rows: &Range<u64>) -> Result<()> {
        let indexes = self.file.page_indexes(self.row_group)?;
        let all_rows = self.file.row_groups.get(self.row_group).map_or(0, |group| group.traces);
        let mut ranges = Vec::new();
        let mut plans = Vec::new();
        for (leaf, chunk) in wanted {
            let index = indexes.pages(leaf.index);
            let mut found = page_ranges(index, chunk, rows, all_rows)
                .ok_or(DecodeError("the offset index does not fit the chunk"))
                .map_err(|error| self.corrupt(*leaf, error))?;
            let dictionary = match found.dictionary {
                Some(_) => self.file.cached_dictionary(self.row_group, *leaf),
                None => None,
            };
            if dictionary.is_some() {
                found.dictionary = None;
            }
            let has_page = found.dictionary.is_some();
            let start = ranges.len();
            ranges.extend(found.dictionary);
            ranges.extend(found.data);
            let window =
                Window { rows: rows.clone(), first_row: found.first_row, end_rows: found.end_rows };
            plans.push((*leaf, start..ranges.len(), dictionary, has_page, window));
        }
        let parts = self.file.source.read_many(&ranges)?;
        for (leaf, pieces, mut dictionary, has_page, window) in plans {
            let mut pieces = &parts[pieces];
            if has_page && let Some((page, data)) = pieces.split_first() {
                dictionary = self.file.keep_dictionary(self.row_group, leaf, page)?;
                pieces = if dictionary.is_some() { data } else { pieces };
            }
            self.add_pieces(leaf, pieces.to_vec(), dictionary, Some(window));
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
        let Self { file, chosen, chunks, scratch, pool, .. } = self;
        let Some(chunk) = chunks.get_mut(&leaf.index) else {
            // Nothing was fetched because the column has no values.
            if self.is_all_null(leaf) {
                return Ok(());
            }
            return Err(self.corrupt(leaf, DecodeError("the column was not fetched")));
        };
        if file.columns.below_spans.contains(&leaf.index) {
            chunk.chosen.clone_from(chosen);
        }
        let scratch = scratch.get_or_insert_with(Scratch::reuse);
        let on_page = |page: PageLevels<'_>, decoder: &mut D| on_page(page, decoder, pool);
        let read = read_pages(chunk, needs, scratch, decoder, on_page);
        // The same pages may be read once for their levels and once for their values, so they are verified only once.
        chunk.verify &= read.is_err();
        read.map_err(|error| self.corrupt(leaf, error))
    }

    /// The cache, if what is read may be kept, which requires whole columns of a row group.
    fn cache(&self) -> Option<&'f CachedBlock> {
        self.file.cache.as_deref().filter(|_| self.rows.is_none())
    }

    /// True if decoded columns may be kept for later reads.
    pub(crate) fn keeps_columns(&self) -> bool {
        self.cache().is_some()
    }

    /// True if a column is in memory already, so that it need not be fetched.
    pub(crate) fn has(&mut self, slot: &Slot) -> bool {
        if self.held.contains_key(slot) {
            return true;
        }
        let found = self.cache().and_then(|cache| cache.get(self.row_group, slot));
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

    /// Offers a decoded column to the cache. Returns it in the form to use from now on.
    pub(crate) fn keep<T: Column>(&self, slot: Slot, column: T) -> T {
        match self.cache() {
            Some(cache) => cache.insert(self.row_group, slot, column),
            None => column,
        }
    }

    /// A column from memory, or else the result of `decode` on the fetched pages.
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

    /// The code of a string that comes with a column.
    pub(crate) fn intern(&mut self, leaf: Leaf, string: &[u8]) -> Result<u32> {
        self.pool.intern(string).map_err(|error| self.corrupt(leaf, error))
    }

    /// Fails if a column does not have one value for each of its owners.
    pub(crate) fn expect(&self, leaf: Leaf, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(self
            .corrupt(leaf, DecodeError("a column has another number of values than its owners")))
    }

    /// An error with its place.
    pub(crate) fn corrupt(&self, leaf: Leaf, DecodeError(what): DecodeError) -> Error {
        let path = self.file.footer.path(leaf.index);
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
