//! A column of fixed-width values, in memory or read from a file on demand.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use bytemuck::Pod;

/// A column: a growing vector, a stored column that is read when somebody looks at it, or part of values that others
/// share.
///
/// Readers see `&[T]` either way; only an owned buffer grows. Take the slice once before a hot loop.
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
    /// Fills `bytes`, which are zero, with all of a column.
    ///
    /// What cannot be read stays zero, which is a sound column of other values: the source remembers it, and whoever read
    /// asks the source before anything that was made of its columns is used.
    fn read(&self, column: u32, bytes: &mut [u8]);
}

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

    /// The vector to grow. A column that is not its own is copied into memory first.
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

    /// Drops the values from `len` on, and memory of which most would stay unused.
    pub(crate) fn truncate(&mut self, len: usize) {
        truncate_vec(self.make_mut(), len);
    }

    /// The values.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        self
    }

    /// Bytes of memory held; a stored or shared column holds none of its own.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Owned(vector) => vector.capacity() * size_of::<T>(),
            Self::Stored(_) | Self::Shared { .. } => 0,
        }
    }
}

/// Spare capacity that is always kept, in values.
const KEPT_SPARE: usize = 1 << 14;

/// True if less than a quarter of a capacity is used and it is worth giving back.
pub(crate) fn mostly_unused(capacity: usize, len: usize) -> bool {
    capacity > 4 * len + KEPT_SPARE
}

/// Drops the values from `len` on, and memory of which most would stay unused.
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

/// Shows the values; where they lie makes no difference.
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
