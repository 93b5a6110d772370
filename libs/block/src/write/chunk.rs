//! One column chunk: pages in, metadata out.

use bytes::Bytes;
use parquet::basic::{Encoding, EncodingMask, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
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
    offsets: OffsetIndexBuilder,
    dictionary_offset: Option<u64>,
    data_offset: Option<u64>,
    uncompressed: u64,
    values: u64,
    rows: u64,
    data_pages: i32,
}

/// What one data page holds.
pub(super) struct PageContent<'a> {
    /// First bytes of the uncompressed page.
    pub(super) start: &'a SharedBytes,
    /// The bytes that follow: levels of its own, then values.
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
    /// Starts the chunk of a leaf in `buffer`, which is empty.
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
            offsets: OffsetIndexBuilder::new(),
            dictionary_offset: None,
            data_offset: None,
            uncompressed: 0,
            values: 0,
            rows: 0,
            data_pages: 0,
        }
    }

    pub(super) fn order(&self) -> Order {
        self.statistics.order()
    }

    /// The page of this column if all its values are null.
    pub(super) fn null_page_start(&self) -> PageStart {
        match self.encoding {
            Encoding::RLE_DICTIONARY => PageStart::NullDictionary,
            Encoding::DELTA_LENGTH_BYTE_ARRAY => PageStart::NullDelta,
            _ => PageStart::BothLevels,
        }
    }

    /// Writes the dictionary page, which is sorted; before all data pages of a column that is dictionary coded.
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

    /// Writes a data page (v1: Tempo's v2 pages would leave the levels uncompressed).
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
        self.offsets.append_row_count(content.rows as i64);
        let size = i32::try_from(self.out.len() - offset).map_err(|_| Error::TooLarge("a page"))?;
        self.offsets.append_offset_and_size(offset as i64, size);
        self.statistics.page(content.bounds, content.nulls as u64, content.nans);
        self.values += content.entries as u64;
        self.rows += content.rows as u64;
        self.data_pages += 1;
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

    /// The chunk's bytes, and its metadata with offsets from their start.
    pub(super) fn finish(self, compressor: &Compressor) -> Result<(Bytes, ColumnCloseResult)> {
        let (statistics, column_index) = self.statistics.finish()?;
        let mut encodings = vec![self.encoding, Encoding::RLE];
        let mut page_statistics = vec![PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: self.encoding,
            count: self.data_pages,
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
        let bytes = Bytes::from(self.out);
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
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offsets.build()),
        };
        Ok((bytes, close))
    }
}
