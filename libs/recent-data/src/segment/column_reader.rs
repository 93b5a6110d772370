//! Reads the columns of a segment from its file, and checks them.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytemuck::Pod;
use tactus_model::ColumnSource;

use super::{
    SegmentError,
    cache::SlotState,
    file::{OpenPlace, Place},
    image::{Column, MAX_TABLE_BYTES, Table},
};

/// Segments up to this size are read as a whole.
const SMALL: u64 = 32 << 10;
/// A column is read in pieces of this size to be checked.
const CHECKED_AT_A_TIME: usize = 256 << 10;

/// Reads the columns of one segment.
#[derive(Debug)]
pub(super) struct ColumnReader {
    path: PathBuf,
    place: Place,
    table: Table,
    /// All bytes of a small segment.
    whole: Option<Vec<u8>>,
    keeper: Arc<SlotState>,
    column_bytes: AtomicU64,
    /// The first error of a column that is zeros because of it.
    unread: OnceLock<SegmentError>,
}

impl ColumnReader {
    /// Reads the table of the segment's columns.
    pub(super) fn open(
        path: PathBuf,
        place: Place,
        keeper: Arc<SlotState>,
    ) -> Result<Self, SegmentError> {
        let is_small = place.bytes <= SMALL;
        let bytes = if is_small { place.bytes } else { MAX_TABLE_BYTES as u64 };
        let mut head = vec![0; bytes as usize];
        let read = place.open().and_then(|file| file.read_at(0, &mut head));
        read.map_err(|source| SegmentError::read(&path, source))?;
        let table = Table::parse(&head, place.bytes)
            .map_err(|what| SegmentError::Corrupt { path: path.clone(), what })?;
        let whole = is_small.then_some(head);
        let kept = whole.as_ref().map_or(0, Vec::len) as u64;
        keeper.add_bytes(kept);
        let column_bytes = AtomicU64::new(kept);
        Ok(Self { path, place, table, whole, keeper, column_bytes, unread: OnceLock::new() })
    }

    /// Bytes of this segment's columns in memory.
    pub(super) fn column_bytes(&self) -> u64 {
        self.column_bytes.load(Ordering::Relaxed)
    }

    /// What does not fit, which is no damage if some column could not be read.
    pub(super) fn corrupt(&self, what: &'static str) -> SegmentError {
        let corrupt = || SegmentError::Corrupt { path: self.path.clone(), what };
        self.unread.get().cloned().unwrap_or_else(corrupt)
    }

    pub(super) fn find(&self, number: u32) -> Option<&Column> {
        self.table.find(number)
    }

    /// All values of a column; none if the column was left out.
    pub(super) fn values<T: Pod>(&self, number: u32) -> Result<Vec<T>, SegmentError> {
        let Some(column) = self.find(number) else { return Ok(Vec::new()) };
        let mut values = vec![T::zeroed(); column.bytes / size_of::<T>()];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        if bytes.len() != column.bytes {
            return Err(self.corrupt("a column has a broken length"));
        }
        self.read_checked(column, bytes)?;
        Ok(values)
    }

    /// Some values of a column, without verifying its checksum.
    pub(super) fn some_values<T: Pod>(
        &self,
        file: Option<&OpenPlace>,
        number: u32,
        range: Range<usize>,
    ) -> Result<Vec<T>, SegmentError> {
        let count = range.end.checked_sub(range.start).ok_or_else(|| self.corrupt("an offset"))?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let column = self.find(number).ok_or_else(|| self.corrupt("a column is missing"))?;
        if range.end > column.bytes / size_of::<T>() {
            return Err(self.corrupt("an offset"));
        }
        let mut values = vec![T::zeroed(); count];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        let at = column.offset + (range.start * size_of::<T>()) as u64;
        self.read_at(file, at, bytes)?;
        Ok(values)
    }

    /// Opens the file for several reads. `None` if the whole segment is in memory.
    pub(super) fn open_file(&self) -> Result<Option<OpenPlace>, SegmentError> {
        let file = self.whole.is_none().then(|| self.place.open()).transpose();
        file.map_err(|source| SegmentError::read(&self.path, source))
    }

    /// Reads all columns and verifies their checksums, without keeping them in memory.
    pub(super) fn check(&self) -> Result<(), SegmentError> {
        let file = self.open_file()?;
        let longest = self.table.columns.iter().map(|column| column.bytes).max().unwrap_or(0);
        let mut buffer = vec![0; longest.min(CHECKED_AT_A_TIME)];
        for column in &self.table.columns {
            let (mut crc, mut done) = (0, 0);
            while done < column.bytes {
                let bytes = (column.bytes - done).min(CHECKED_AT_A_TIME);
                self.read_at(file.as_ref(), column.offset + done as u64, &mut buffer[..bytes])?;
                crc = crc32c::crc32c_append(crc, &buffer[..bytes]);
                done += bytes;
            }
            if crc != column.crc {
                return Err(self.corrupt("checksum of a column"));
            }
        }
        Ok(())
    }

    fn read_checked(&self, column: &Column, bytes: &mut [u8]) -> Result<(), SegmentError> {
        self.read_at(self.open_file()?.as_ref(), column.offset, bytes)?;
        match crc32c::crc32c(bytes) == column.crc {
            true => Ok(()),
            false => Err(self.corrupt("checksum of a column")),
        }
    }

    fn read_at(
        &self,
        file: Option<&OpenPlace>,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), SegmentError> {
        match file {
            None => self.read_whole(at, bytes),
            Some(file) => {
                file.read_at(at, bytes).map_err(|source| SegmentError::read(&self.path, source))
            }
        }
    }

    fn read_whole(&self, at: u64, bytes: &mut [u8]) -> Result<(), SegmentError> {
        let whole = self.whole.as_deref().unwrap_or_default();
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let part = from.checked_add(bytes.len()).and_then(|end| whole.get(from..end));
        bytes.copy_from_slice(part.ok_or_else(|| self.corrupt("column is cut off"))?);
        Ok(())
    }
}

impl ColumnSource for ColumnReader {
    fn read(&self, column: u32, bytes: &mut [u8]) {
        let kept = bytes.len() as u64;
        self.column_bytes.fetch_add(kept, Ordering::Relaxed);
        let read = self
            .find(column)
            .ok_or_else(|| self.corrupt("a column is missing"))
            .and_then(|column| self.read_checked(column, bytes));
        if let Err(error) = read {
            bytes.fill(0);
            let _ = self.unread.set(error.clone());
            self.keeper.fail(error);
        }
        self.keeper.add_bytes(kept);
    }
}

impl Drop for ColumnReader {
    fn drop(&mut self) {
        self.keeper.remove_bytes(*self.column_bytes.get_mut());
    }
}
