//! What is kept of a footer while a block is open: a few bytes a column chunk, where the library's form has some hundreds.
//!
//! A block of 100 MB has some 3 000 chunks, and a querier keeps as many blocks open as it has memory for. To read and decode
//! the footer again takes longer than most queries take on a block.

use parquet::basic::{Compression, EncodingMask};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::SchemaDescPtr;

use super::footer;

/// Memory of the schema, about, for each leaf: names, types, and the columns that were found in it.
const SCHEMA_LEAF_BYTES: usize = 768;

/// The footer of a file.
#[derive(Debug)]
pub(crate) struct KeptFooter {
    schema: SchemaDescPtr,
    row_groups: Box<[KeptGroup]>,
}

/// What the footer says about a row group.
#[derive(Debug)]
pub(crate) struct KeptGroup {
    columns: Box<[KeptChunk]>,
}

/// What the footer says about a column chunk, as it says it: nothing is checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptChunk {
    pub(crate) data_page_offset: i64,
    /// `i64::MIN` for none.
    dictionary_page_offset: i64,
    pub(crate) compressed_size: i64,
    pub(crate) uncompressed_size: i64,
    pub(crate) num_values: i64,
    /// `i64::MIN` for none, as its length.
    offset_index_offset: i64,
    /// Bounds of a column of integers.
    bounds: Option<[i64; 2]>,
    pub(crate) compression: Compression,
    encodings: EncodingMask,
    offset_index_length: i32,
    pub(crate) is_all_null: bool,
    pub(crate) has_values: bool,
    pub(crate) is_all_false: bool,
    pub(crate) is_all_empty: bool,
    pub(crate) is_dictionary_only: bool,
    /// It lies in another file.
    pub(crate) is_elsewhere: bool,
}

impl KeptFooter {
    pub(crate) fn of(metadata: &ParquetMetaData) -> Self {
        let columns = |columns: &[ColumnChunkMetaData]| columns.iter().map(KeptChunk::of).collect();
        let groups = metadata.row_groups().iter();
        let row_groups = groups.map(|group| KeptGroup { columns: columns(group.columns()) });
        let schema = metadata.file_metadata().schema_descr_ptr();
        Self { schema, row_groups: row_groups.collect() }
    }

    /// The columns of the file.
    pub(crate) fn schema(&self) -> &SchemaDescPtr {
        &self.schema
    }

    pub(crate) fn row_groups(&self) -> &[KeptGroup] {
        &self.row_groups
    }

    /// The name of a leaf column; empty if there is none.
    pub(crate) fn path(&self, leaf: usize) -> String {
        let column = self.schema.columns().get(leaf);
        column.map(|column| column.path().string()).unwrap_or_default()
    }

    /// Estimated bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let groups = self.row_groups.iter().map(|group| size_of_val(&*group.columns));
        let of_groups = groups.sum::<usize>() + size_of_val(&*self.row_groups);
        of_groups + self.schema.num_columns() * SCHEMA_LEAF_BYTES
    }
}

impl KeptGroup {
    /// By leaf.
    pub(crate) fn columns(&self) -> &[KeptChunk] {
        &self.columns
    }
}

impl KeptChunk {
    fn of(chunk: &ColumnChunkMetaData) -> Self {
        let statistics = chunk.statistics().filter(|bounds| !bounds.is_min_max_deprecated());
        let bounds = statistics.and_then(|statistics| match statistics {
            Statistics::Int32(bounds) => {
                Some([i64::from(*bounds.min_opt()?), i64::from(*bounds.max_opt()?)])
            }
            Statistics::Int64(bounds) => Some([*bounds.min_opt()?, *bounds.max_opt()?]),
            _ => None,
        });
        Self {
            data_page_offset: chunk.data_page_offset(),
            dictionary_page_offset: chunk.dictionary_page_offset().unwrap_or(i64::MIN),
            compressed_size: chunk.compressed_size(),
            uncompressed_size: chunk.uncompressed_size(),
            num_values: chunk.num_values(),
            offset_index_offset: chunk.offset_index_offset().unwrap_or(i64::MIN),
            offset_index_length: chunk.offset_index_length().unwrap_or(0),
            bounds,
            compression: chunk.compression(),
            encodings: *chunk.encodings_mask(),
            is_all_null: footer::is_all_null(chunk),
            has_values: footer::has_values(chunk),
            is_all_false: footer::is_all_false(chunk),
            is_all_empty: footer::is_all_empty(chunk),
            is_dictionary_only: footer::is_dictionary_only(chunk),
            is_elsewhere: chunk.file_path().is_some(),
        }
    }

    /// Where its dictionary page starts; some writers store 0 for none.
    pub(crate) fn dictionary_page_offset(&self) -> Option<i64> {
        Some(self.dictionary_page_offset).filter(|&offset| offset != i64::MIN)
    }

    /// Where its offset index is, and how long.
    pub(crate) fn offset_index(&self) -> Option<(i64, i32)> {
        (self.offset_index_offset != i64::MIN)
            .then_some((self.offset_index_offset, self.offset_index_length))
    }

    /// The encodings of its pages and levels.
    pub(crate) fn encodings(&self) -> EncodingMask {
        self.encodings
    }

    /// The least and the greatest integer, by the order of signed numbers.
    pub(crate) fn integer_bounds(&self) -> Option<(i64, i64)> {
        self.bounds.map(|[least, most]| (least, most))
    }

    /// The value of an integer column of which the statistics say that it has no other. Nulls may lie between.
    pub(crate) fn constant_integer(&self) -> Option<i64> {
        self.integer_bounds().filter(|(least, most)| least == most).map(|(least, _)| least)
    }

    /// Where it starts, and its bytes.
    pub(crate) fn byte_range(&self) -> (u64, u64) {
        let start = self.dictionary_page_offset().unwrap_or(self.data_page_offset);
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        (number(start), number(self.compressed_size))
    }
}
