//! A column of fixed-width values, in memory or read from a file on demand.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytemuck::Pod;

/// A column: a growing vector, a column of a file that is read on first use, or the beginning of a vector that several
/// buffers share.
///
/// Readers see `&[T]` in every case; only an owned buffer grows. Take the slice once before a hot loop.
#[derive(Clone)]
pub enum Buffer<T: Pod> {
    /// Values in memory.
    Owned(Vec<T>),
    /// Values of a file. Its length is known without reading it.
    Stored(Arc<StoredColumn<T>>),
    /// The first `len` of values that many buffers share, such as zeros.
    Shared {
        /// The values.
        values: Arc<Vec<T>>,
        /// How many of them are this buffer's.
        len: usize,
    },
}

/// Reads the columns of a file.
pub trait ColumnSource: fmt::Debug + Send + Sync {
    /// Fills `bytes`, which are zero, with a whole column.
    ///
    /// This cannot return an error. What cannot be read stays zero, which is a valid column with wrong values. The
    /// source remembers the failure, and the reader must ask it before using anything that was computed from its
    /// columns.
    fn read(&self, column: u32, bytes: &mut [u8]);

    /// As [`Self::read`], but only some rows, in ascending order. Returns false, and fills nothing, if reading the
    /// whole column would be as fast.
    fn read_rows(&self, _column: u32, _rows: &[u32], _bytes: &mut [u8]) -> bool {
        false
    }
}

/// Rows are read one by one only if the column has at least this many times as many.
const ROWS_PER_PICKED: usize = 16;

/// A column that is read when somebody first looks at it, and then stays in memory.
#[derive(Debug)]
pub struct StoredColumn<T> {
    source: Arc<dyn ColumnSource>,
    column: u32,
    len: usize,
    values: OnceLock<Vec<T>>,
}

impl<T: Pod> StoredColumn<T> {
    fn values(&self) -> &[T] {
        self.values.get_or_init(|| {
            let mut values = vec![T::zeroed(); self.len];
            self.source.read(self.column, bytemuck::cast_slice_mut(&mut values));
            values
        })
    }
}

impl<T: Pod> Buffer<T> {
    /// An empty owned column.
    pub const fn new() -> Self {
        Self::Owned(Vec::new())
    }

    /// The `len` values of a stored column.
    pub fn stored(source: Arc<dyn ColumnSource>, column: u32, len: usize) -> Self {
        Self::Stored(Arc::new(StoredColumn { source, column, len, values: OnceLock::new() }))
    }

    /// Number of values; reads none.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(vector) => vector.len(),
            Self::Stored(column) => column.len,
            Self::Shared { len, .. } => *len,
        }
    }

    /// True if there is no value; reads none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A view of the first `len` of these values; `None` if there are fewer.
    pub fn shared(values: Arc<Vec<T>>, len: usize) -> Option<Self> {
        (len <= values.len()).then_some(Self::Shared { values, len })
    }

    /// The vector, to append to. A stored or shared column is copied into a vector of its own first.
    pub fn make_mut(&mut self) -> &mut Vec<T> {
        if !matches!(self, Self::Owned(_)) {
            *self = Self::Owned(self.to_vec());
        }
        match self {
            Self::Owned(vector) => vector,
            _ => unreachable!("the column was just copied"),
        }
    }

    /// Appends one value.
    #[inline]
    pub fn push(&mut self, value: T) {
        match self {
            Self::Owned(vector) => vector.push(value),
            _ => self.make_mut().push(value),
        }
    }

    /// Drops the values from `len` on, and gives back memory if most of it would stay unused.
    pub(crate) fn truncate(&mut self, len: usize) {
        truncate_vec(self.make_mut(), len);
    }

    /// The values.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        self
    }

    /// The values of some rows, in ascending order. If they are few and the stored column was not read yet, only they
    /// are read.
    pub fn pick(&self, rows: &[u32]) -> Vec<T> {
        if let Self::Stored(column) = self
            && column.values.get().is_none()
            && rows.len() * ROWS_PER_PICKED <= column.len
        {
            let mut values = vec![T::zeroed(); rows.len()];
            let bytes = bytemuck::cast_slice_mut(&mut values);
            if column.source.read_rows(column.column, rows, bytes) {
                return values;
            }
        }
        let values = self.as_slice();
        rows.iter().map(|&row| values[row as usize]).collect()
    }

    /// Bytes of memory held; a stored or shared column holds none of its own.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Owned(vector) => vector.capacity() * size_of::<T>(),
            Self::Stored(_) | Self::Shared { .. } => 0,
        }
    }
}

/// Unused capacity below this many values is never given back.
const KEPT_SPARE: usize = 1 << 14;

/// True if less than a quarter of the capacity is used, and giving back the rest is worth it.
pub(crate) fn mostly_unused(capacity: usize, len: usize) -> bool {
    capacity > 4 * len + KEPT_SPARE
}

/// Drops the values from `len` on, and gives back memory if most of it would stay unused.
pub(crate) fn truncate_vec<T>(values: &mut Vec<T>, len: usize) {
    values.truncate(len);
    if mostly_unused(values.capacity(), values.len()) {
        values.shrink_to(2 * values.len());
    }
}

impl<T: Pod> Default for Buffer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(vector) => vector,
            Self::Stored(column) => column.values(),
            Self::Shared { values, len } => &values[..*len],
        }
    }
}

/// Prints the values, the same for all three kinds.
impl<T: Pod + std::fmt::Debug> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl<T: Pod> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

impl<T: Pod> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::Owned(values.into_iter().collect())
    }
}

impl<T: Pod + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source whose values are the row numbers; whole columns can be read only while it says so.
    #[derive(Debug)]
    struct Numbers {
        reads_rows: bool,
        reads_all: bool,
    }

    impl ColumnSource for Numbers {
        fn read(&self, _: u32, bytes: &mut [u8]) {
            assert!(self.reads_all, "all of the column is read");
            for (number, out) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *out = (number as u32).to_ne_bytes();
            }
        }

        fn read_rows(&self, _: u32, rows: &[u32], bytes: &mut [u8]) -> bool {
            if self.reads_rows {
                bytes.copy_from_slice(bytemuck::cast_slice(rows));
            }
            self.reads_rows
        }
    }

    fn numbers(reads_rows: bool, reads_all: bool) -> Buffer<u32> {
        Buffer::stored(Arc::new(Numbers { reads_rows, reads_all }), 0, 1000)
    }

    #[test]
    fn few_rows_of_a_stored_column_are_read_by_themselves_if_they_can_be() {
        let rows = [3, 3, 500, 999];
        assert_eq!(numbers(true, false).pick(&rows), rows);
        assert_eq!(numbers(false, true).pick(&rows), rows);
        let many: Vec<u32> = (0..500).map(|row| row * 2).collect();
        assert_eq!(numbers(true, true).pick(&many), many);
        let known = numbers(true, true);
        assert_eq!(known.as_slice().len(), 1000);
        assert_eq!(known.pick(&rows), rows);
        assert_eq!(Buffer::from(vec![7u32, 8]).pick(&[1]), [8]);
    }
}
