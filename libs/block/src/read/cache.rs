//! A cache of decoded columns.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;
use tactus_model::{AttributeList, Buffer, Dictionary};

use super::BlockReader;
use crate::attribute_owner::AttributeOwner;

/// Memory of an entry besides its column.
const ENTRY_BYTES: usize = 256;

thread_local! {
    /// Counted for each thread, because a read runs on one thread while caches are shared.
    static HIT_BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Keeps decoded columns of row groups of any number of blocks, up to a limit of bytes.
///
/// Columns that are read again and again stay, and a single large scan does not replace them (TinyLFU). A cache never
/// changes the result of a read: what it does not have is read from the block. It is cheap to share, and can be used
/// from any number of threads.
pub struct ColumnCache {
    columns: Cache<Key, Entry, foldhash::fast::RandomState>,
    hit_bytes: AtomicU64,
}

/// The number of an open block in a cache. After it is dropped, nobody uses the number again: what the cache has of it makes
/// room for other columns. A destructor must not take it out: the cache of readers may drop one in the middle of a call of any
/// cache, which would wait for itself if it began another call.
#[derive(Debug)]
pub(crate) struct CachedBlock {
    number: u64,
    cache: Arc<ColumnCache>,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl CachedBlock {
    pub(crate) fn new(cache: Arc<ColumnCache>) -> Self {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { number, cache }
    }

    pub(crate) fn get(&self, row_group: usize, slot: &Slot) -> Option<Arc<dyn Any + Send + Sync>> {
        let key = Key { block: self.number, row_group, slot: slot.clone() };
        let entry = self.cache.columns.get(&key)?;
        self.cache.hit_bytes.fetch_add(u64::from(entry.bytes), Ordering::Relaxed);
        HIT_BYTES.set(HIT_BYTES.get() + u64::from(entry.bytes));
        Some(entry.column)
    }

    /// Offers a column to the cache. Returns it in a form whose clones share memory.
    pub(crate) fn insert<T: Column>(&self, row_group: usize, slot: Slot, column: T) -> T {
        let column = column.into_shared();
        let bytes = u32::try_from(column.total_bytes() + ENTRY_BYTES).unwrap_or(u32::MAX);
        let entry = Entry { column: Arc::new(column.clone()), bytes };
        self.cache.columns.insert(Key { block: self.number, row_group, slot }, entry);
        column
    }
}

/// A column of a row group of an open block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    block: u64,
    row_group: usize,
    slot: Slot,
}

/// A decoded form of some of a row group's columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    /// The rows of trace, resource and scope of each span.
    Spine,
    /// The values of a leaf column.
    Column(usize),
    /// Where the items of each owner start, computed from the levels of a leaf column.
    Starts(usize),
    /// Where the pages of all columns are.
    PageIndexes,
    /// The dictionary page of a leaf column.
    Dictionary(usize),
    /// The attributes with some keys, as combined by [`Slot::attributes`].
    Attributes(AttributeOwner, Arc<[u8]>),
}

impl Slot {
    /// The slot of the attributes with some keys.
    pub(crate) fn attributes<'k>(
        owner: AttributeOwner,
        keys: impl Iterator<Item = &'k Vec<u8>>,
    ) -> Self {
        let mut joined = Vec::new();
        for key in keys {
            joined.extend_from_slice(&key.len().to_le_bytes());
            joined.extend_from_slice(key);
        }
        Self::Attributes(owner, joined.into())
    }
}

#[derive(Clone)]
struct Entry {
    column: Arc<dyn Any + Send + Sync>,
    bytes: u32,
}

/// A column that can be cached. It is cheap to clone once it is shared.
pub(crate) trait Column: Clone + Send + Sync + 'static {
    /// The column in a form whose clones share its memory.
    fn into_shared(self) -> Self;

    /// Bytes of memory that it holds, shared or not.
    fn total_bytes(&self) -> usize;
}

impl<T: bytemuck::Pod + Send + Sync> Column for Buffer<T> {
    fn into_shared(self) -> Self {
        match self {
            Self::Owned(mut values) => {
                values.shrink_to_fit();
                let len = values.len();
                Self::Shared { values: Arc::new(values), len }
            }
            other => other,
        }
    }

    fn total_bytes(&self) -> usize {
        self.len() * size_of::<T>()
    }
}

/// Codes of strings, with their dictionary, which is shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codes {
    pub(crate) codes: Buffer<u32>,
    pub(crate) strings: Dictionary,
}

impl Column for Codes {
    fn into_shared(self) -> Self {
        Self { codes: self.codes.into_shared(), strings: self.strings }
    }

    fn total_bytes(&self) -> usize {
        self.codes.total_bytes() + string_bytes(&self.strings)
    }
}

/// Attributes, with the dictionary of their codes, which is shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) list: AttributeList,
    pub(crate) strings: Dictionary,
    /// The owner of each span, if equal owners were merged.
    pub(crate) of_span: Option<Buffer<u32>>,
}

impl Column for Attributes {
    fn into_shared(self) -> Self {
        let AttributeList { starts, keys, types, payloads } = self.list;
        let list = AttributeList {
            starts: starts.into_shared(),
            keys: keys.into_shared(),
            types: types.into_shared(),
            payloads: payloads.into_shared(),
        };
        let of_span = self.of_span.map(Buffer::into_shared);
        Self { list, strings: self.strings, of_span }
    }

    fn total_bytes(&self) -> usize {
        self.of_span.as_ref().map_or(0, Buffer::total_bytes)
            + self.list.starts.total_bytes()
            + self.list.keys.total_bytes()
            + self.list.types.total_bytes()
            + self.list.payloads.total_bytes()
            + string_bytes(&self.strings)
    }
}

impl<T: Send + Sync + 'static> Column for Arc<T>
where
    T: HeldBytes,
{
    fn into_shared(self) -> Self {
        self
    }

    fn total_bytes(&self) -> usize {
        T::held_bytes(self)
    }
}

/// A value that is cached as it is.
pub(crate) trait HeldBytes {
    /// Bytes of memory held.
    fn held_bytes(&self) -> usize;
}

fn string_bytes(strings: &Dictionary) -> usize {
    let (bytes, offsets) = strings.parts();
    bytes.len() + size_of_val(offsets)
}

impl ColumnCache {
    /// A cache that holds at most about `max_bytes` bytes.
    pub fn new(max_bytes: u64) -> Self {
        let columns = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Entry| entry.bytes)
            .support_invalidation_closures()
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { columns, hit_bytes: AtomicU64::new(0) }
    }

    /// Bytes of all columns that were found in the cache instead of being decoded, since the cache was created.
    pub fn hit_bytes(&self) -> u64 {
        self.hit_bytes.load(Ordering::Relaxed)
    }

    /// As [`Self::hit_bytes`], but for all caches, and only for reads of the current thread.
    pub fn hit_bytes_of_this_thread() -> u64 {
        HIT_BYTES.get()
    }

    /// Estimated bytes held.
    pub fn held_bytes(&self) -> u64 {
        self.columns.weighted_size()
    }

    /// Drops the columns of blocks that nobody asks for again. Not for a destructor: see [`CachedBlock`].
    pub fn forget<'r>(&self, blocks: impl Iterator<Item = &'r BlockReader>) {
        let numbers: HashSet<u64> =
            blocks.filter_map(|block| Some(block.file.cache.as_ref()?.number)).collect();
        if !numbers.is_empty() {
            let is_gone = move |key: &Key, _: &Entry| numbers.contains(&key.block);
            self.columns.invalidate_entries_if(is_gone).expect("the cache supports closures");
        }
    }

    /// Drops all columns.
    pub fn clear(&self) {
        self.columns.invalidate_all();
    }
}

impl std::fmt::Debug for ColumnCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnCache").field("held_bytes", &self.held_bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_blocks_that_nobody_reads_make_room() {
        let cache = Arc::new(ColumnCache::new(16 << 10));
        let open = || CachedBlock::new(Arc::clone(&cache));
        let read = |block: &CachedBlock| {
            let is_kept = (0..4).filter(|&row_group| {
                let is_kept = block.get(row_group, &Slot::Spine).is_some();
                if !is_kept {
                    block.insert(row_group, Slot::Spine, Buffer::from(vec![7_u64; 100]));
                }
                cache.columns.run_pending_tasks();
                assert!(cache.held_bytes() <= 16 << 10);
                is_kept
            });
            is_kept.count()
        };
        for _ in 0..20 {
            read(&open());
        }
        let block = open();
        let kept: Vec<_> = (0..20).map(|_| read(&block)).collect();
        assert_eq!((kept[0], kept[19]), (0, 4));
    }
}
