//! A column of fixed-width values, owned or mapped from a file.

use std::{ops::Deref, sync::Arc};

use bytemuck::Pod;

/// A column: a growing vector, a slice of a memory-mapped file, or part of values that others share.
///
/// Readers see `&[T]` either way; only an owned buffer grows. Take the slice once before a hot loop.
#[derive(Clone)]
pub enum Buffer<T: Pod> {
    /// Values in memory.
    Owned(Vec<T>),
    /// `len` values that start `offset` bytes into the map.
    Mapped {
        /// The file; it stays mapped as long as a buffer refers to it.
        map: Arc<memmap2::Mmap>,
        /// Byte offset of the first value, aligned for `T`.
        offset: usize,
        /// Number of values.
        len: usize,
        /// Nothing is stored; the type of the values.
        values: std::marker::PhantomData<T>,
    },
    /// The first `len` of values that many buffers share, such as zeros.
    Shared {
        /// The values.
        values: Arc<Vec<T>>,
        /// How many of them are this buffer's.
        len: usize,
    },
}

impl<T: Pod> Buffer<T> {
    /// An empty owned column.
    pub const fn new() -> Self {
        Self::Owned(Vec::new())
    }

    /// A view of `len` values at `offset` bytes of `map`; `None` if they lie outside or unaligned.
    pub fn mapped(map: Arc<memmap2::Mmap>, offset: usize, len: usize) -> Option<Self> {
        let bytes = map.get(offset..offset.checked_add(len.checked_mul(size_of::<T>())?)?)?;
        bytemuck::try_cast_slice::<u8, T>(bytes).ok()?;
        Some(Self::Mapped { map, offset, len, values: std::marker::PhantomData })
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

    /// Bytes of memory held; a mapped or shared column holds none of its own.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Owned(vector) => vector.capacity() * size_of::<T>(),
            Self::Mapped { .. } | Self::Shared { .. } => 0,
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
            Self::Mapped { map, offset, len, .. } => {
                bytemuck::cast_slice(&map[*offset..*offset + *len * size_of::<T>()])
            }
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
