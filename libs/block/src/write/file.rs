//! The file around the column chunks: it decides where chunks go, and writes the footer.
//!
//! The chunks of a row group need not be next to each other. Neighbouring row groups form a stripe. In a stripe, the
//! chunks of the same column are next to each other, and the columns that many queries read are together at one end of
//! it. Every other stripe has the reverse order, so that the often-read columns of two stripes are next to each other,
//! while a whole stripe is still one range that can be read at once.
//!
//! A trap: parquet-mr (Spark, Hive, Flink) reads a row group in the split of the file that has the position of its first
//! column plus half its size. If that is behind the end of the file, nobody reads the row group. So a stripe that ends
//! with the first column is only written if enough follows.

use std::io::{self, Write};

use bytes::Bytes;
use parquet::file::metadata::page_index::PageIndexBuilder;
use parquet::file::metadata::{
    FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::SchemaDescPtr;

use super::chunk::{FinishedChunk, PlacedChunk};
use crate::error::{Error, Result};
use crate::read::MAX_FOOTER_BYTES;
use crate::schema::Schema;

/// The [`super::WriterSettings::stripe_bytes`] of written blocks. Reading a trace reads this much at once.
pub const STRIPE_BYTES: u64 = 8 << 20;

/// `PAR1`, at both ends of a file.
const MAGIC: [u8; 4] = *b"PAR1";

/// Footer length and magic, after the footer.
const END_BYTES: usize = 8;

/// Version 2 of the format.
const FORMAT_VERSION: i32 = 2;

/// Writes a file, a stripe at a time.
pub(super) struct DataFile<W> {
    sink: W,
    written: u64,
    schema: SchemaDescPtr,
    /// Leaves, those of most queries first.
    by_use: Vec<usize>,
    /// Row groups that are not written yet.
    stripe: Vec<Vec<FinishedChunk>>,
    held_bytes: u64,
    /// Most bytes of a stripe, unless it is a single row group.
    stripe_bytes: u64,
    /// True if the next stripe begins with the columns that most queries read.
    is_turned: bool,
    row_groups: Vec<Vec<PlacedChunk>>,
    rows: Vec<u64>,
}

/// A file that is written.
pub(super) struct FileEnd<W> {
    /// The sink, flushed.
    pub(super) sink: W,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Bytes of its thrift footer.
    pub(super) footer_size: u32,
    /// The bytes after the last column chunk.
    pub(super) end: Vec<u8>,
}

impl<W: Write> DataFile<W> {
    /// Starts a file with stripes of at most this many bytes. Errors: those of the sink.
    pub(super) fn start(mut sink: W, schema: &Schema, stripe_bytes: u64) -> Result<Self> {
        sink.write_all(&MAGIC)?;
        Ok(Self {
            sink,
            written: MAGIC.len() as u64,
            schema: schema.descriptor().clone(),
            by_use: schema.by_use(),
            stripe: Vec::new(),
            held_bytes: 0,
            stripe_bytes,
            is_turned: false,
            row_groups: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Adds the chunks of all leaves of a row group, in schema order. Errors: those of the sink.
    pub(super) fn add_row_group(&mut self, chunks: Vec<FinishedChunk>) -> Result<()> {
        let bytes = bytes_of(&chunks);
        if self.held_bytes + bytes > self.stripe_bytes {
            self.write_stripe(bytes)?;
        }
        self.rows.push(chunks.first().map_or(0, |chunk| chunk.rows));
        self.stripe.push(chunks);
        self.held_bytes += bytes;
        Ok(())
    }

    /// Writes the row groups that are held. `following`: bytes of chunks that certainly come behind them.
    fn write_stripe(&mut self, following: u64) -> Result<()> {
        if self.stripe.is_empty() {
            return Ok(());
        }
        let largest = self.stripe.iter().map(|chunks| bytes_of(chunks)).max().unwrap_or(0);
        self.is_turned |= following < largest / 2;
        let mut groups: Vec<Vec<Option<FinishedChunk>>> = std::mem::take(&mut self.stripe)
            .into_iter()
            .map(|chunks| chunks.into_iter().map(Some).collect())
            .collect();
        let mut placed: Vec<Vec<Option<PlacedChunk>>> =
            groups.iter().map(|chunks| chunks.iter().map(|_| None).collect()).collect();
        for at in 0..self.by_use.len() {
            let at = if self.is_turned { at } else { self.by_use.len() - 1 - at };
            let leaf = self.by_use[at];
            for (chunks, placed) in groups.iter_mut().zip(&mut placed) {
                if let Some(chunk) = chunks[leaf].take() {
                    let (bytes, chunk) = chunk.place(self.written)?;
                    self.write(&bytes)?;
                    placed[leaf] = Some(chunk);
                }
            }
        }
        self.row_groups
            .extend(placed.into_iter().map(|chunks| chunks.into_iter().flatten().collect()));
        self.held_bytes = 0;
        self.is_turned = !self.is_turned;
        Ok(())
    }

    fn write(&mut self, bytes: &Bytes) -> Result<()> {
        self.sink.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Writes the last stripe, the page indexes and the footer. Errors: those of the sink; a footer that readers would
    /// refuse.
    pub(super) fn finish(mut self) -> Result<FileEnd<W>> {
        self.write_stripe(0)?;
        let leaves = self.schema.num_columns();
        let mut indexes = PageIndexBuilder::new(self.row_groups.len(), leaves);
        let mut row_groups = Vec::with_capacity(self.row_groups.len());
        for (number, (chunks, rows)) in self.row_groups.into_iter().zip(&self.rows).enumerate() {
            let mut columns = Vec::with_capacity(leaves);
            for (leaf, chunk) in chunks.into_iter().enumerate() {
                if let Some(index) = chunk.column_index {
                    indexes.put_column_index(index, number, leaf);
                }
                indexes.put_offset_index(chunk.offset_index, number, leaf);
                columns.push(chunk.metadata);
            }
            let uncompressed = columns.iter().map(|chunk| chunk.uncompressed_size()).sum();
            let start = columns.iter().map(|chunk| chunk.byte_range().0).min().unwrap_or(0);
            let row_group = RowGroupMetaData::builder(self.schema.clone())
                .set_column_metadata(columns)
                .set_total_byte_size(uncompressed)
                .set_num_rows(*rows as i64)
                .set_ordinal(number as i32)
                .set_file_offset(start as i64);
            row_groups.push(row_group.build()?);
        }
        let rows = self.rows.iter().sum::<u64>() as i64;
        let by = Some(concat!("tactus ", env!("CARGO_PKG_VERSION")).to_owned());
        let file = FileMetaData::new(FORMAT_VERSION, rows, by, None, self.schema, None);
        let metadata = ParquetMetaDataBuilder::new(file)
            .set_row_groups(row_groups)
            .set_page_index(Some(std::sync::Arc::new(indexes.build())))
            .build();
        let mut end = Vec::new();
        let mut out = TrackedWrite::new(After { skip: self.written, out: &mut end });
        pass_over(&mut out, self.written)?;
        ParquetMetaDataWriter::new_with_tracked(out, &metadata).finish()?;
        let footer_size = end.last_chunk::<END_BYTES>().and_then(|tail| tail.first_chunk());
        let footer_size = footer_size.map_or(0, |length| u32::from_le_bytes(*length));
        if u64::from(footer_size) > MAX_FOOTER_BYTES {
            return Err(Error::FooterTooLarge(footer_size.into()));
        }
        self.sink.write_all(&end)?;
        self.sink.flush()?;
        Ok(FileEnd { sink: self.sink, size: self.written + end.len() as u64, footer_size, end })
    }
}

fn bytes_of(chunks: &[FinishedChunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
}

/// Passes on what is written after the first `skip` bytes.
///
/// The library computes positions in the file by counting the bytes it has written, so the bytes written before must
/// count as well.
struct After<'a> {
    skip: u64,
    out: &'a mut Vec<u8>,
}

impl Write for After<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        self.out.extend_from_slice(&bytes[skipped..]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the library count this many bytes, without writing them one by one.
fn pass_over(out: &mut impl Write, mut bytes: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 1 << 16];
    while bytes > 0 {
        let part = usize::try_from(bytes).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(&ZEROS[..part])?;
        bytes -= part as u64;
    }
    Ok(())
}
