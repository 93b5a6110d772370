//! Reads the dictionary pages of columns, which tell what strings there are without reading values.

use std::sync::Arc;

use parquet::basic::Type as PhysicalType;
use parquet::schema::types::ColumnDescPtr;

use crate::decoding::byte_arrays::ByteArrays;
use crate::decoding::codec::{Codec, Decompressor};
use crate::decoding::page::{Encoding, PageKind, read_page_header};
use crate::decoding::{DecodeError, DecodeResult, split};
use crate::read::cache::{HeldBytes, Slot};
use crate::read::chunk::{Scratch, page_limit};
use crate::read::columns::Leaf;
use crate::read::kept_footer::KeptGroup;
use crate::read::{File, footer};
use crate::{Error, Result};

/// What a dictionary says about the strings of a column.
pub(super) enum AllStrings {
    /// There are none.
    None,
    /// There may be others.
    Unknown,
    These(Arc<ByteArrays>),
}

impl File {
    /// What the dictionary of a column says about its strings.
    pub(super) fn dictionary(&self, row_group: usize, leaf: Leaf) -> Result<AllStrings> {
        let group = self.footer.row_groups().get(row_group);
        let chunk = self.chunk(row_group, leaf);
        let (Some(group), Some(chunk)) = (group, chunk) else {
            return Err(Error::Corrupt { what: format!("row group {row_group} is missing") });
        };
        if chunk.is_all_null {
            return Ok(AllStrings::None);
        }
        if !chunk.is_dictionary_only {
            return Ok(AllStrings::Unknown);
        }
        Ok(AllStrings::These(match self.cached_dictionary(row_group, leaf) {
            Some(strings) => strings,
            None => {
                let strings = self.read_dictionary(group, leaf, row_group)?;
                self.cache_dictionary(row_group, leaf, strings)
            }
        }))
    }

    /// The strings of a column's dictionary page, if they are in the cache.
    pub(crate) fn cached_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
    ) -> Option<Arc<ByteArrays>> {
        let found = self.cache.as_ref()?.get(row_group, &Slot::Dictionary(leaf.index))?;
        let found = found.downcast::<Arc<ByteArrays>>().ok()?;
        Some(Arc::clone(&found))
    }

    /// Decodes the dictionary page of a string column for the cache; `None` without a cache, or if the column has no
    /// strings.
    pub(crate) fn keep_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
        page: &[u8],
    ) -> Result<Option<Arc<ByteArrays>>> {
        let Some(group) = self.footer.row_groups().get(row_group) else { return Ok(None) };
        let column = self.footer.schema().columns().get(leaf.index);
        let is_text = |column: &ColumnDescPtr| column.physical_type() == PhysicalType::BYTE_ARRAY;
        if self.cache.is_none() || !column.is_some_and(is_text) {
            return Ok(None);
        }
        let corrupt = |error| self.corrupt(leaf, row_group, error);
        let facts = footer::chunk_facts(group, leaf, self.size).map_err(corrupt)?;
        let strings =
            read_dictionary_page(facts.codec, facts.uncompressed, page).map_err(corrupt)?;
        Ok(Some(self.cache_dictionary(row_group, leaf, strings)))
    }

    fn cache_dictionary(
        &self,
        row_group: usize,
        leaf: Leaf,
        strings: ByteArrays,
    ) -> Arc<ByteArrays> {
        let (slot, strings) = (Slot::Dictionary(leaf.index), Arc::new(strings));
        match &self.cache {
            Some(cache) => cache.insert(row_group, slot, strings),
            None => strings,
        }
    }

    fn corrupt(&self, leaf: Leaf, row_group: usize, DecodeError(what): DecodeError) -> Error {
        let path = self.footer.path(leaf.index);
        Error::Corrupt { what: format!("{what} (column {path}, row group {row_group})") }
    }

    /// The dictionary of a column that has one.
    fn read_dictionary(
        &self,
        group: &KeptGroup,
        leaf: Leaf,
        row_group: usize,
    ) -> Result<ByteArrays> {
        let corrupt = |error| self.corrupt(leaf, row_group, error);
        let facts = footer::chunk_facts(group, leaf, self.size).map_err(corrupt)?;
        // The dictionary ends where the first data page starts.
        let data = group.columns().get(leaf.index).map_or(0, |chunk| chunk.data_page_offset);
        let end = u64::try_from(data).unwrap_or(0).min(facts.range.end);
        let bytes = self.source.read(facts.range.start..end.max(facts.range.start))?;
        read_dictionary_page(facts.codec, facts.uncompressed, &bytes).map_err(corrupt)
    }
}

/// True if the dictionary page at the start of `bytes` has a string that satisfies the predicate.
pub(crate) fn dictionary_has(
    codec: Codec,
    chunk_bytes: usize,
    bytes: &[u8],
    decompressor: &mut Decompressor,
    predicate: &dyn Fn(&[u8]) -> bool,
) -> DecodeResult<bool> {
    Ok(any_string(&decode_dictionary_page(codec, chunk_bytes, bytes, decompressor)?, predicate))
}

/// True if a string meets the predicate.
pub(crate) fn any_string(strings: &ByteArrays, predicate: &dyn Fn(&[u8]) -> bool) -> bool {
    (0..strings.len()).any(|i| predicate(strings.get(i)))
}

/// The dictionary page at the start of `bytes`, in a chunk that has `chunk_bytes` before compression.
fn read_dictionary_page(
    codec: Codec,
    chunk_bytes: usize,
    bytes: &[u8],
) -> DecodeResult<ByteArrays> {
    let mut scratch = Scratch::reuse();
    let strings = decode_dictionary_page(codec, chunk_bytes, bytes, scratch.decompressor());
    scratch.spare();
    strings
}

/// As above, with the buffers of `decompressor`.
fn decode_dictionary_page(
    codec: Codec,
    chunk_bytes: usize,
    bytes: &[u8],
    decompressor: &mut Decompressor,
) -> DecodeResult<ByteArrays> {
    let (header, rest) = read_page_header(bytes)?;
    let PageKind::Dictionary { entries, encoding: Encoding::Plain } = header.kind else {
        return Err(DecodeError("a chunk does not start with its dictionary"));
    };
    let (stored, _) = split(rest, header.compressed, "a dictionary is cut off")?;
    if header.crc != 0 && crc32fast::hash(stored) != header.crc {
        return Err(DecodeError("a page does not match its checksum"));
    }
    if header.uncompressed > page_limit(chunk_bytes, header.compressed) {
        return Err(DecodeError("a page is larger than its chunk declares"));
    }
    let body = match codec {
        Codec::Uncompressed => stored,
        codec => decompressor.decompress(codec, stored, header.uncompressed)?,
    };
    let mut strings = ByteArrays::default();
    strings.decode_plain(body, 0, entries)?;
    Ok(strings)
}

pub(super) fn visit_all(strings: &ByteArrays, visit: &mut dyn FnMut(&[u8]) -> bool) {
    for i in 0..strings.len() {
        if !visit(strings.get(i)) {
            break;
        }
    }
}

impl HeldBytes for ByteArrays {
    fn held_bytes(&self) -> usize {
        self.heap_bytes()
    }
}
