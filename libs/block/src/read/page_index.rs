//! The positions of the pages of a row group's columns.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::decoding::thrift::{Value, read_struct, struct_list};
use crate::decoding::{DecodeError, DecodeResult};
use crate::{Error, Result};

use super::File;
use super::cache::{HeldBytes, Slot};
use super::kept_footer::KeptChunk;

/// The indexes of a row group's columns are usually next to each other and read at once. If they span more than this,
/// each is read on its own.
const MAX_COMMON_READ_BYTES: u64 = 1 << 20;

/// A page as its column's offset index describes it, unchecked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    offset: i64,
    length: i32,
    first_row: i64,
}

/// The offset indexes of all columns of a row group.
#[derive(Debug, Default)]
pub(crate) struct PageIndexes {
    pages: Vec<Page>,
    /// First page of each column, and the end.
    starts: Vec<usize>,
}

impl PageIndexes {
    /// The pages of a column; none if it has no offset index.
    pub(crate) fn pages(&self, leaf: usize) -> &[Page] {
        match self.starts.get(leaf..leaf + 2) {
            Some(bounds) => &self.pages[bounds[0]..bounds[1]],
            None => &[],
        }
    }
}

impl HeldBytes for PageIndexes {
    fn held_bytes(&self) -> usize {
        self.pages.capacity() * size_of::<Page>() + self.starts.capacity() * size_of::<usize>()
    }
}

impl File {
    /// The offset indexes of a row group, from the cache if there is one.
    pub(crate) fn page_indexes(&self, row_group: usize) -> Result<Arc<PageIndexes>> {
        if let Some((of, indexes)) = &self.page_indexes
            && *of == row_group
        {
            return Ok(Arc::clone(indexes));
        }
        let Some(cache) = &self.cache else {
            return Ok(Arc::new(self.read_page_indexes(row_group)?));
        };
        let found = cache.get(row_group, &Slot::PageIndexes);
        if let Some(found) = found.and_then(|found| found.downcast::<Arc<PageIndexes>>().ok()) {
            return Ok((*found).clone());
        }
        let indexes = Arc::new(self.read_page_indexes(row_group)?);
        Ok(cache.insert(row_group, Slot::PageIndexes, indexes))
    }

    fn read_page_indexes(&self, row_group: usize) -> Result<PageIndexes> {
        let group = self.footer.row_groups().get(row_group);
        let group = group.ok_or(Error::Corrupt { what: "no such row group".to_owned() })?;
        let ranges: Vec<Range<u64>> =
            group.columns().iter().map(|chunk| index_range(chunk, self.size)).collect();
        let parts = self.read_ranges(&ranges)?;
        let mut indexes = PageIndexes { pages: Vec::new(), starts: vec![0] };
        for (leaf, bytes) in parts.into_iter().enumerate() {
            if !bytes.is_empty() {
                add_pages(&bytes, &mut indexes.pages).map_err(|_| Error::Corrupt {
                    what: format!(
                        "an offset index is malformed (column {}, row group {row_group})",
                        self.footer.path(leaf)
                    ),
                })?;
            }
            indexes.starts.push(indexes.pages.len());
        }
        Ok(indexes)
    }

    /// The bytes of ranges that should lie together.
    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let filled = || ranges.iter().filter(|range| !range.is_empty());
        let start = filled().map(|range| range.start).min().unwrap_or(0);
        let end = filled().map(|range| range.end).max().unwrap_or(0);
        if end - start > MAX_COMMON_READ_BYTES {
            return self.source.read_offset_indexes(ranges);
        }
        let all = self.source.read_offset_indexes(std::slice::from_ref(&(start..end)))?.pop();
        let all = all.unwrap_or_default();
        let part = |range: &Range<u64>| match range.is_empty() {
            true => Bytes::new(),
            false => all.slice((range.start - start) as usize..(range.end - start) as usize),
        };
        if all.len() as u64 != end - start {
            return Err(Error::Corrupt { what: "a source returned too few bytes".to_owned() });
        }
        Ok(ranges.iter().map(part).collect())
    }
}

/// Appends the pages of an offset index.
fn add_pages(index: &[u8], pages: &mut Vec<Page>) -> DecodeResult<()> {
    let mut found = false;
    read_struct(index, 0, |field, value| {
        let (1, Value::List(list)) = (field, value) else { return Ok(None) };
        found = true;
        let (count, mut rest) = struct_list(list)?;
        for _ in 0..count {
            let (mut offset, mut length, mut first_row) = (None, None, None);
            rest = read_struct(rest, 1, |field, value| {
                match (field, value) {
                    (1, Value::Number(number)) => offset = Some(number),
                    (2, Value::Number(number)) => length = i32::try_from(number).ok(),
                    (3, Value::Number(number)) => first_row = Some(number),
                    _ => {}
                }
                Ok(None)
            })?;
            let (Some(offset), Some(length), Some(first_row)) = (offset, length, first_row) else {
                return Err(DecodeError("a page of an offset index lacks a field"));
            };
            pages.push(Page { offset, length, first_row });
        }
        Ok(Some(rest))
    })?;
    if found { Ok(()) } else { Err(DecodeError("an offset index has no pages")) }
}

/// Where the offset index of a column is; empty if it has none.
fn index_range(chunk: &KeptChunk, size: u64) -> Range<u64> {
    let Some((start, length)) = chunk.offset_index() else { return 0..0 };
    let (Ok(start), Ok(length)) = (u64::try_from(start), u64::try_from(length)) else {
        return 0..0;
    };
    let end = start.saturating_add(length);
    if end <= size { start..end } else { 0..0 }
}

/// Where pages with some rows lie.
#[derive(Debug)]
pub(crate) struct PageRanges {
    pub(crate) dictionary: Option<Range<u64>>,
    pub(crate) data: Vec<Range<u64>>,
    /// The row in which the first data page starts.
    pub(crate) first_row: u64,
    /// For each data page, the row after its last one; empty for a chunk without an index.
    pub(crate) end_rows: Vec<u64>,
}

/// Where the pages with these rows of a chunk are, out of `all_rows`. The whole chunk if it has no index; `None` if
/// they are outside of the chunk.
pub(crate) fn page_ranges(
    pages: &[Page],
    chunk: &Range<u64>,
    rows: &Range<u64>,
    all_rows: u64,
) -> Option<PageRanges> {
    let mut found =
        PageRanges { dictionary: None, data: Vec::new(), first_row: 0, end_rows: Vec::new() };
    let Some(first) = pages.first() else {
        found.data.push(chunk.clone());
        return Some(found);
    };
    let data_start = u64::try_from(first.offset).ok()?;
    found.dictionary = (data_start > chunk.start).then_some(chunk.start..data_start);
    for (i, page) in pages.iter().enumerate() {
        let start_row = u64::try_from(page.first_row).ok()?;
        let end_row = match pages.get(i + 1) {
            Some(next) => u64::try_from(next.first_row).ok()?,
            None => all_rows,
        };
        if start_row >= rows.end || end_row <= rows.start {
            continue;
        }
        if found.data.is_empty() {
            found.first_row = start_row;
        }
        let start = u64::try_from(page.offset).ok()?;
        let length = u64::try_from(page.length).ok()?;
        found.data.push(start..start.saturating_add(length));
        found.end_rows.push(end_row);
    }
    let inside = |range: &Range<u64>| range.start >= chunk.start && range.end <= chunk.end;
    let all_inside = found.dictionary.iter().chain(&found.data).all(inside);
    all_inside.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(index: &[u8]) -> DecodeResult<Vec<(i64, i32, i64)>> {
        let mut pages = Vec::new();
        add_pages(index, &mut pages)?;
        Ok(pages.iter().map(|page| (page.offset, page.length, page.first_row)).collect())
    }

    /// Two pages, with the additional lists that other writers store.
    const INDEX: [u8; 20] = [
        0x19, 0x2c, 0x16, 8, 0x15, 20, 0x16, 0, 0, 0x16, 28, 0x15, 40, 0x16, 6, 0, 0x19, 0x16, 2, 0,
    ];

    #[test]
    fn offset_index_tells_where_pages_are() {
        assert_eq!(pages(&INDEX), Ok(vec![(4, 10, 0), (14, 20, 3)]));
        for end in 0..INDEX.len() {
            assert!(pages(&INDEX[..end]).is_err(), "{end}");
        }
        assert!(pages(&[0]).is_err(), "no pages");
        assert!(pages(&[0x19, 0x1c, 0x16, 8, 0x15, 20, 0, 0]).is_err(), "no row");
        assert!(pages(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7]).is_err(), "more than there are");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = pages(&bytes);
            let _ = pages(&[&INDEX[..2], &bytes].concat());
        }
    }
}
