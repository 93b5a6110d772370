//! Reads blocks: footer, row groups with a projection, single traces, and pruning.
//!
//! [`BlockReader::open`] reads the footer once. After that, every call reads the pages it needs from the
//! [`ByteSource`], and decodes them into the codes of one dictionary for the batch, touching a string only once for
//! each dictionary entry. Blocks come from outside: whatever the bytes are, the result is a batch or an error, and
//! memory stays in proportion to the size of the row group. A reader keeps nothing but the footer, except in the
//! [`ColumnCache`] that it is given. It knows no queries, and no other file of a block.

use std::ops::Range;
use std::sync::Arc;

use parquet::file::statistics::Statistics;
use tactus_model::{Projection, SpanBatch, SpanId, TraceId};
use tactus_storage::meta::{BlockVersion, DedicatedColumn};

use crate::Result;

use page_index::PageIndexes;

mod attributes;
mod batch;
mod cache;
mod chunk;
mod columns;
pub(crate) mod footer;
mod info;
mod json_value;
mod kept_footer;
mod level_words;
mod levels;
mod page_index;
mod plan;
mod prune;
mod reach;
mod source;
mod spine;
mod stored;
mod strings;
mod task;
#[cfg(test)]
mod tests;
mod values;

pub use crate::attribute_owner::AttributeOwner;
use cache::CachedBlock;
pub use cache::ColumnCache;
pub use footer::MAX_FOOTER_BYTES;
pub use info::ColumnInfo;
use kept_footer::KeptFooter;
pub use prune::{NumberColumn, StringColumn, StringPredicate};
pub use source::{ByteSource, BytesSource};
pub use stored::{StoredSource, facts_of, open_stored, stored_tail};

/// What a block's meta says about its `data.parquet`.
#[derive(Debug, Clone)]
pub struct BlockFacts {
    /// Exact length in bytes.
    pub size: u64,
    /// Exact length of the footer, 0 if unknown.
    pub footer_size: u32,
    /// Version of the block.
    pub version: BlockVersion,
    /// The meta's dedicated columns, in order.
    pub dedicated_columns: Vec<DedicatedColumn>,
}

/// A row group, as the footer describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroup {
    /// Traces.
    pub traces: u64,
    /// Compressed bytes of all its columns.
    pub bytes: u64,
    /// Bytes of all its pages before compression, including dictionaries and page headers.
    pub uncompressed_bytes: u64,
    /// Entries of all its columns that have values. Each takes some bytes of memory when it is read, however few it
    /// takes in the file.
    pub values: u64,
    /// Smallest trace id, if the statistics have it.
    pub min_id: Option<TraceId>,
    /// Largest trace id, if the statistics have it.
    pub max_id: Option<TraceId>,
}

/// Reads one block. Cheap to clone: clones share the footer.
#[derive(Clone)]
pub struct BlockReader {
    file: Arc<File>,
}

/// An open file.
#[derive(Clone)]
pub(crate) struct File {
    source: Arc<dyn ByteSource>,
    size: u64,
    footer_bytes: usize,
    version: BlockVersion,
    /// Verify checksums. Off only in tests that damage the data inside.
    verify: bool,
    footer: Arc<KeptFooter>,
    columns: Arc<columns::Columns>,
    row_groups: Arc<[RowGroup]>,
    cache: Option<Arc<CachedBlock>>,
    /// The page indexes of a row group that is read more than once.
    page_indexes: Option<(usize, Arc<PageIndexes>)>,
}

impl std::fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = &self.file;
        f.debug_struct("BlockReader")
            .field("version", &file.version)
            .field("size", &file.size)
            .field("row_groups", &file.row_groups.len())
            .finish()
    }
}

impl BlockReader {
    /// Reads the footer and finds the columns.
    ///
    /// Errors: `Error::Corrupt` or `Error::Parquet` if the file is not a block of this version, or if the dedicated
    /// columns of a vParquet5 file differ from those in `facts`; and errors of the source.
    pub fn open(source: Arc<dyn ByteSource>, facts: &BlockFacts) -> Result<Self> {
        Self::open_with_cache(source, facts, None)
    }

    /// As [`Self::open`], and keeps decoded columns of whole row groups in `cache`.
    ///
    /// Only this reader and its clones can find these columns, so keep the reader as long as they are needed. They
    /// leave the cache with the last clone.
    pub fn open_with_cache(
        source: Arc<dyn ByteSource>,
        facts: &BlockFacts,
        cache: Option<Arc<ColumnCache>>,
    ) -> Result<Self> {
        let (metadata, footer_bytes) =
            footer::read_footer(&*source, facts.size, facts.footer_size)?;
        let columns = columns::Columns::resolve(
            metadata.file_metadata().schema_descr(),
            facts.version,
            &facts.dedicated_columns,
        )?;
        let row_groups = metadata
            .row_groups()
            .iter()
            .map(|group| {
                let ids = group.columns().get(columns.trace_id.index);
                let ids = ids.and_then(|chunk| chunk.statistics());
                let ids = ids.filter(|bounds| !bounds.is_min_max_deprecated());
                // Ids have 16 bytes, so bounds of this length are not truncated.
                let id = |bytes: Option<&[u8]>| Some(TraceId(bytes?.try_into().ok()?));
                RowGroup {
                    traces: u64::try_from(group.num_rows()).unwrap_or(0),
                    bytes: u64::try_from(group.compressed_size()).unwrap_or(0),
                    uncompressed_bytes: info::uncompressed_bytes(group),
                    values: info::values(group),
                    min_id: id(ids.and_then(Statistics::min_bytes_opt)),
                    max_id: id(ids.and_then(Statistics::max_bytes_opt)),
                }
            })
            .collect();
        let (size, version) = (facts.size, facts.version);
        let verify = true;
        let file = File {
            source,
            size,
            footer_bytes,
            version,
            verify,
            footer: Arc::new(KeptFooter::of(&metadata)),
            columns: Arc::new(columns),
            row_groups,
            cache: cache.map(|cache| Arc::new(CachedBlock::new(cache))),
            page_indexes: None,
        };
        Ok(Self { file: Arc::new(file) })
    }

    /// The same block, without verifying the checksums of pages; for tests of damage.
    #[doc(hidden)]
    #[must_use]
    pub fn without_checksums(mut self) -> Self {
        if let Some(file) = Arc::get_mut(&mut self.file) {
            file.verify = false;
        }
        self
    }

    /// Where the pages of each column of a row group are in the file; for tests that damage them.
    #[doc(hidden)]
    pub fn column_ranges(&self, row_group: usize) -> Vec<Range<u64>> {
        let group = self.file.footer.row_groups().get(row_group);
        let columns = group.into_iter().flat_map(|group| group.columns());
        let range = |(start, length): (u64, u64)| start..start.saturating_add(length);
        columns.map(|chunk| range(chunk.byte_range())).collect()
    }

    /// The same block with a different source of the same bytes. Both readers share the cached columns.
    #[must_use]
    pub fn with_source(&self, source: Arc<dyn ByteSource>) -> Self {
        Self { file: Arc::new(File { source, ..(*self.file).clone() }) }
    }

    /// The same block, which remembers where the pages of a row group are, for callers that read rows of it more than
    /// once. Errors: as [`Self::read_row_group`].
    pub fn with_page_indexes(&self, row_group: usize) -> Result<Self> {
        let page_indexes = Some((row_group, self.file.page_indexes(row_group)?));
        Ok(Self { file: Arc::new(File { page_indexes, ..(*self.file).clone() }) })
    }

    /// The source of the bytes.
    pub fn source(&self) -> &Arc<dyn ByteSource> {
        &self.file.source
    }

    /// The smallest range of the file that contains all pages of some row groups; empty for none.
    pub fn bytes_of(&self, row_groups: Range<usize>) -> Range<u64> {
        let groups = self.file.footer.row_groups().get(row_groups).unwrap_or_default();
        let chunks = groups.iter().flat_map(|group| group.columns());
        let (start, end) = chunks.fold((u64::MAX, 0), |(first, last), chunk| {
            let (start, length) = chunk.byte_range();
            let end = start.saturating_add(length).min(self.file.size);
            (first.min(start), end.max(last))
        });
        if start < end { start..end } else { 0..0 }
    }

    /// The block's row groups, in file order.
    pub fn row_groups(&self) -> &[RowGroup] {
        &self.file.row_groups
    }

    /// Approximate memory of this reader, which is its weight in a cache.
    pub fn heap_bytes(&self) -> usize {
        let row_groups = size_of_val(&*self.file.row_groups);
        self.file.footer.heap_bytes() + row_groups + self.file.source.held_bytes()
    }

    /// Length of the footer in bytes, for the `footerSize` of a meta.
    pub fn footer_bytes(&self) -> usize {
        self.file.footer_bytes
    }

    /// The only row group that can hold a trace; `None` if the id is outside of every row group.
    ///
    /// Uses the footer's statistics, or else reads the first ids. Errors: corrupt pages, and errors of the source.
    pub fn find_row_group(&self, id: TraceId) -> Result<Option<usize>> {
        let groups = &self.file.row_groups;
        // Finds the last row group whose smallest id is at most the wanted one.
        let (mut low, mut high) = (0, groups.len());
        while low < high {
            let middle = low + (high - low) / 2;
            // A row group without rows has no ids: the next one after it that has some is compared.
            let occupied = (middle..high).find(|&group| groups[group].traces > 0);
            match occupied {
                Some(group) if self.first_id(group)?.is_some_and(|first| first <= id) => {
                    low = group + 1;
                }
                _ => high = middle,
            }
        }
        let found = low.checked_sub(1);
        Ok(found.filter(|&found| groups[found].max_id.is_none_or(|max| id <= max)))
    }

    fn first_id(&self, row_group: usize) -> Result<Option<TraceId>> {
        if let Some(min_id) = self.file.row_groups[row_group].min_id {
            return Ok(Some(min_id));
        }
        let mut task = task::Task::new(&self.file, row_group, Some(0..1));
        task.fetch(&[self.file.columns.trace_id])?;
        Ok(task.trace_ids(self.file.columns.trace_id)?.first().copied())
    }

    /// Reads the projected columns of a row group. The other columns of the batch stay empty.
    ///
    /// The batch has a resource and a scope for each entry of the file; equal ones are not merged. If names or
    /// attributes of events or links are wanted, this also reads which span owns them. Errors: corrupt pages, errors of
    /// the source, a row group that does not exist.
    pub fn read_row_group(&self, row_group: usize, projection: &Projection) -> Result<SpanBatch> {
        batch::read_batch(&self.file, row_group, None, projection)
    }

    /// As [`Self::read_row_group`], for callers that do not use the rows of trace, resource and scope of spans. These
    /// columns then have the right length, but may have wrong values, because they are not decoded.
    ///
    /// They are right unless only columns of spans, including their start times, are wanted.
    pub fn read_spans(&self, row_group: usize, projection: &Projection) -> Result<SpanBatch> {
        batch::read_spans_alone(&self.file, row_group, projection)
    }

    /// Reads all columns of one trace; `None` if the block does not have it.
    ///
    /// Reads the ids of one row group, then only the pages that hold the trace. Errors: as [`Self::read_row_group`].
    pub fn read_trace(&self, id: TraceId) -> Result<Option<SpanBatch>> {
        let Some(row_group) = self.find_row_group(id)? else { return Ok(None) };
        let Some(row) = self.find_row(row_group, id)? else { return Ok(None) };
        self.read_rows(row_group, row..row + 1, &Projection::all()).map(Some)
    }

    /// The row of a trace in a row group; `None` if it is not there. Errors: as [`Self::read_row_group`].
    pub fn find_row(&self, row_group: usize, id: TraceId) -> Result<Option<u64>> {
        let mut task = task::Task::new(&self.file, row_group, None);
        let leaf = self.file.columns.trace_id;
        if !task.has(&cache::Slot::Column(leaf.index)) {
            task.fetch(&[leaf])?;
        }
        let ids = task.trace_ids(leaf)?;
        if let Ok(row) = ids.binary_search(&id) {
            return Ok(Some(row as u64));
        }
        // Other writers need not keep the order inside a row group.
        Ok(ids.iter().position(|found| *found == id).map(|row| row as u64))
    }

    /// True if the block has one of these traces. Errors: as [`Self::read_row_group`].
    pub fn has_any_trace(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<bool> {
        for id in ids {
            if let Some(row_group) = self.find_row_group(id)?
                && self.find_row(row_group, id)?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the projected columns of some rows (traces) of a row group, from the pages that hold them. Rows beyond the
    /// end are ignored. Errors: as [`Self::read_row_group`].
    pub fn read_rows(
        &self,
        row_group: usize,
        rows: Range<u64>,
        projection: &Projection,
    ) -> Result<SpanBatch> {
        batch::read_batch(&self.file, row_group, Some(rows), projection)
    }

    /// As [`Self::read_rows`], for spans with chosen ids. Memory is in proportion to these spans, and to the largest
    /// column of the rows. Service statistics may count only these spans. Errors: as [`Self::read_row_group`].
    pub fn read_chosen_spans(
        &self,
        row_group: usize,
        rows: Range<u64>,
        projection: &Projection,
        is_chosen: &dyn Fn(SpanId) -> bool,
    ) -> Result<SpanBatch> {
        batch::read_chosen(&self.file, row_group, rows, projection, is_chosen)
    }

    /// False if no string of a column in the row group satisfies the predicate.
    ///
    /// Checks each string of the column's dictionary once; also returns true if no dictionary has all values. For an
    /// attribute, this checks its own column; or else whether its key is among the keys, and any string among the
    /// values of all attributes of that owner. Errors: as [`Self::read_row_group`].
    pub fn row_group_may_contain_string(
        &self,
        row_group: usize,
        column: &StringColumn,
        predicate: &dyn StringPredicate,
    ) -> Result<bool> {
        self.file.may_contain_string(row_group, column, predicate)
    }

    /// False if no owner in the row group has an attribute with this key, as dictionaries and statistics show. Errors: as
    /// [`Self::read_row_group`].
    pub fn row_group_may_have_key(
        &self,
        row_group: usize,
        owner: AttributeOwner,
        key: &[u8],
    ) -> Result<bool> {
        self.file.may_have_key(row_group, owner, key)
    }

    /// Calls `visit` with the keys of attributes in the row group, from dictionaries. A key may come twice.
    ///
    /// Returns false if no dictionary has all keys, so that they must be read. Errors: as [`Self::read_row_group`].
    pub fn visit_attribute_keys(
        &self,
        row_group: usize,
        owner: AttributeOwner,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        self.file.visit_attribute_keys(row_group, owner, visit)
    }

    /// Calls `visit` with the distinct strings of a column in the row group, from its dictionary.
    ///
    /// Returns false if that does not cover all of them, because the column has no dictionary or the attribute also
    /// occurs among the generic ones, whose values share one dictionary. Then the column must be read. Errors: as
    /// [`Self::read_row_group`].
    pub fn visit_strings(
        &self,
        row_group: usize,
        column: &StringColumn,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        self.file.visit_strings(row_group, column, visit)
    }

    /// The smallest and largest value of a column in the row group, if the statistics have them. Signed values are
    /// returned as their bits.
    pub fn row_group_bounds(&self, row_group: usize, column: NumberColumn) -> Option<(u64, u64)> {
        self.file.bounds(row_group, column)
    }
}
