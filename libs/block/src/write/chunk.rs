//! Writes one column chunk: takes pages, and returns the chunk with its metadata.

use bytes::Bytes;
use parquet::basic::{Encoding, EncodingMask, PageType};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::schema::types::ColumnDescPtr;

use super::compress::{Compressor, SharedBytes};
use super::levels::PageStart;
use super::page_header::{PageKind, put_page_header};
use super::statistics::{Bounds, ChunkStatistics, Order};
use crate::error::{Error, Result};
use crate::schema::{LeafCompression, LeafEncoding, Schema};

/// Writes the pages of one column chunk to memory.
pub(super) struct ChunkWriter {
    column: ColumnDescPtr,
    encoding: Encoding,
    compression: LeafCompression,
    out: Vec<u8>,
    statistics: ChunkStatistics,
    pages: Vec<DataPage>,
    dictionary_offset: Option<u64>,
    data_offset: Option<u64>,
    uncompressed: u64,
    values: u64,
}

/// Where a data page is in its chunk.
#[derive(Debug, Clone, Copy)]
struct DataPage {
    offset: u64,
    size: i32,
    rows: u64,
}

/// A column chunk whose position in the file is not decided yet.
#[derive(Debug)]
pub(super) struct FinishedChunk {
    /// Its pages.
    pub(super) bytes: Bytes,
    /// Rows.
    pub(super) rows: u64,
    /// Offsets count from its start.
    metadata: ColumnChunkMetaData,
    column_index: Option<ColumnIndexMetaData>,
    pages: Vec<DataPage>,
}

/// What the footer says about a column chunk.
#[derive(Debug)]
pub(super) struct PlacedChunk {
    pub(super) metadata: ColumnChunkMetaData,
    pub(super) column_index: Option<ColumnIndexMetaData>,
    pub(super) offset_index: OffsetIndexMetaData,
}

impl FinishedChunk {
    /// The bytes of the chunk, and its metadata if it starts at this byte of the file.
    pub(super) fn place(self, start: u64) -> Result<(Bytes, PlacedChunk)> {
        let mut offsets = OffsetIndexBuilder::new();
        for page in &self.pages {
            offsets.append_row_count(page.rows as i64);
            offsets.append_offset_and_size((start + page.offset) as i64, page.size);
        }
        let data = self.metadata.data_page_offset() + start as i64;
        let dictionary = self.metadata.dictionary_page_offset().map(|at| at + start as i64);
        let metadata = self.metadata.into_builder().set_data_page_offset(data);
        let metadata = metadata.set_dictionary_page_offset(dictionary).build()?;
        let (column_index, offset_index) = (self.column_index, offsets.build());
        Ok((self.bytes, PlacedChunk { metadata, column_index, offset_index }))
    }
}

/// What one data page holds.
pub(super) struct PageContent<'a> {
    /// First bytes of the uncompressed page.
    pub(super) start: &'a SharedBytes,
    /// The bytes that follow: the page's own levels, then values.
    pub(super) own: &'a [u8],
    /// Entries, nulls included.
    pub(super) entries: usize,
    /// Entries without a value.
    pub(super) nulls: usize,
    /// Rows.
    pub(super) rows: usize,
    /// Bounds of its values; `None` if all are null.
    pub(super) bounds: Bounds,
    /// Values that are NaN.
    pub(super) nans: u64,
}

impl ChunkWriter {
    /// Starts the chunk of a leaf in `buffer`, which must be empty.
    pub(super) fn new(schema: &Schema, leaf: usize, buffer: Vec<u8>) -> Self {
        let column = schema.descriptor().column(leaf);
        let storage = schema.storage(leaf);
        let encoding = match storage.encoding {
            LeafEncoding::Dictionary => Encoding::RLE_DICTIONARY,
            LeafEncoding::DeltaLength => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            LeafEncoding::DeltaBinary => Encoding::DELTA_BINARY_PACKED,
            LeafEncoding::Plain => Encoding::PLAIN,
        };
        Self {
            statistics: ChunkStatistics::new(&column, storage.compression != LeafCompression::Blob),
            column,
            encoding,
            compression: storage.compression,
            out: buffer,
            pages: Vec::new(),
            dictionary_offset: None,
            data_offset: None,
            uncompressed: 0,
            values: 0,
        }
    }

    pub(super) fn order(&self) -> Order {
        self.statistics.order()
    }

    /// The highest repetition level of this column.
    pub(super) fn max_rep(&self) -> u8 {
        self.column.max_rep_level() as u8
    }

    /// The page of this column if all its values are null.
    pub(super) fn null_page_start(&self) -> PageStart {
        match self.encoding {
            Encoding::RLE_DICTIONARY => PageStart::NullDictionary,
            Encoding::DELTA_LENGTH_BYTE_ARRAY => PageStart::NullDelta,
            _ => PageStart::BothLevels,
        }
    }

    /// Writes the dictionary page, which is sorted. Call it before all data pages of a dictionary-coded column.
    pub(super) fn dictionary(
        &mut self,
        compressor: &mut Compressor,
        plain: &[u8],
        entries: usize,
    ) -> Result<()> {
        let compression = LeafCompression::AsSet;
        let (page, uncompressed) = compressor.page(compression, &SharedBytes::default(), plain)?;
        let entries = u32::try_from(entries).map_err(|_| Error::TooLarge("a dictionary"))?;
        self.dictionary_offset = Some(self.out.len() as u64);
        self.put(&PageKind::Dictionary(entries), &page, uncompressed)
    }

    /// Writes a data page. It is a v1 page, because v2 pages, which Tempo writes, leave levels uncompressed.
    pub(super) fn page(
        &mut self,
        compressor: &mut Compressor,
        content: PageContent<'_>,
    ) -> Result<()> {
        let (page, uncompressed) = compressor.page(self.compression, content.start, content.own)?;
        // Statistics are in the column index.
        let entries = u32::try_from(content.entries).map_err(|_| Error::TooLarge("a page"))?;
        let offset = self.out.len();
        self.put(&PageKind::Data(entries, self.encoding), &page, uncompressed)?;
        self.data_offset.get_or_insert(offset as u64);
        let size = i32::try_from(self.out.len() - offset).map_err(|_| Error::TooLarge("a page"))?;
        self.pages.push(DataPage { offset: offset as u64, size, rows: content.rows as u64 });
        self.statistics.page(content.bounds, content.nulls as u64, content.nans);
        self.values += content.entries as u64;
        Ok(())
    }

    /// Appends a page with its header.
    fn put(&mut self, kind: &PageKind, page: &[u8], uncompressed: usize) -> Result<()> {
        let start = self.out.len();
        if !put_page_header(&mut self.out, kind, page, uncompressed) {
            return Err(Error::TooLarge("a page"));
        }
        self.uncompressed += (self.out.len() - start + uncompressed) as u64;
        self.out.extend_from_slice(page);
        Ok(())
    }

    /// The chunk; and the buffer, empty again.
    pub(super) fn finish(mut self, compressor: &Compressor) -> Result<(FinishedChunk, Vec<u8>)> {
        let (statistics, column_index) = self.statistics.finish()?;
        let mut encodings = vec![self.encoding, Encoding::RLE];
        let mut page_statistics = vec![PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: self.encoding,
            count: i32::try_from(self.pages.len()).map_err(|_| Error::TooLarge("a column"))?,
        }];
        if self.dictionary_offset.is_some() {
            encodings.push(Encoding::PLAIN);
            page_statistics.insert(
                0,
                PageEncodingStats {
                    page_type: PageType::DICTIONARY_PAGE,
                    encoding: Encoding::PLAIN,
                    count: 1,
                },
            );
        }
        // Copied, so that no spare capacity stays in memory.
        let bytes = Bytes::copy_from_slice(&self.out);
        self.out.clear();
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression_codec(compressor.codec(self.compression))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(page_statistics)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.values as i64)
            .set_data_page_offset(self.data_offset.unwrap_or(0) as i64)
            .set_dictionary_page_offset(self.dictionary_offset.map(|offset| offset as i64))
            .set_statistics(statistics)
            .build()?;
        let rows = self.pages.iter().map(|page| page.rows).sum();
        let pages = self.pages;
        Ok((FinishedChunk { bytes, rows, metadata, column_index, pages }, self.out))
    }
}
