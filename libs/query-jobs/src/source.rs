//! Reads the bytes of a block for a job: counts them, uses a shared cache if there is one, and stops when the job is
//! cancelled.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::join_all;
use tactus_block::read::{ByteSource, StoredSource};
use tactus_cache::{Cache, Caches, Key, Role};
use tactus_storage::BlockMeta;
use tactus_storage::layout::DATA;
use tokio::runtime::Handle;

use crate::pool::{bypasses_caches, read_for_job, shared_cache_bytes};

/// Bytes of the ranges that are asked for in one call.
const CALL_BYTES: u64 = 4 << 20;

/// Reads on behalf of the job of the calling thread.
pub(crate) struct JobSource {
    stored: StoredSource,
    caches: Caches,
    block: CachedBlock,
    runtime: Handle,
}

/// The name of a block in cache keys. Blocks are never overwritten; the size guards against one that was.
struct CachedBlock {
    tenant: String,
    id: String,
    size: u64,
}

impl JobSource {
    pub(crate) fn new(
        stored: StoredSource,
        meta: &BlockMeta,
        caches: &Caches,
        runtime: &Handle,
    ) -> Self {
        let block = CachedBlock {
            tenant: meta.tenant_id.clone(),
            id: meta.block_id.to_string(),
            size: meta.size,
        };
        Self { stored, caches: caches.clone(), block, runtime: runtime.clone() }
    }

    fn read_as(&self, role: Role, range: Range<u64>) -> tactus_block::Result<Bytes> {
        match self.caches.of(role) {
            None => self.read_stored(|| self.stored.read(range), Bytes::len),
            Some(cache) => {
                let ranges = std::slice::from_ref(&range);
                let found = self.read_cached(cache, role, ranges)?.pop();
                found.map_or_else(|| self.stored.read(range), Ok)
            }
        }
    }

    fn read_many_as(&self, role: Role, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        let Some(cache) = self.caches.of(role) else {
            return self.read_stored(|| self.stored.read_many(ranges), total_bytes);
        };
        self.read_cached(cache, role, ranges)
    }

    fn read_stored<T>(
        &self,
        read: impl FnOnce() -> tactus_block::Result<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> tactus_block::Result<T> {
        read_for_job(self.stored.is_remote(), read, bytes)
    }

    /// Reads what the cache does not have from storage, and gives it to the cache.
    fn read_cached(
        &self,
        cache: &Cache,
        role: Role,
        ranges: &[Range<u64>],
    ) -> tactus_block::Result<Vec<Bytes>> {
        let read = || {
            let keys: Vec<_> = ranges.iter().map(|range| self.block.key(role, range)).collect();
            let mut parts = if bypasses_caches() {
                vec![None; ranges.len()]
            } else {
                self.runtime.block_on(ask(cache, &keys, ranges))
            };
            let mut missing = Vec::new();
            for (place, (range, part)) in ranges.iter().zip(&mut parts).enumerate() {
                let length = range.end.saturating_sub(range.start);
                match part {
                    _ if length == 0 => *part = Some(Bytes::new()),
                    Some(bytes) if bytes.len() as u64 == length => {
                        shared_cache_bytes(length);
                    }
                    _ => missing.push(place),
                }
            }
            if !missing.is_empty() {
                let wanted: Vec<_> = missing.iter().map(|&place| ranges[place].clone()).collect();
                let stored = self.stored.read_many(&wanted)?;
                for (place, bytes) in missing.into_iter().zip(stored) {
                    cache.put(&keys[place], &bytes);
                    parts[place] = Some(bytes);
                }
            }
            Ok(parts.into_iter().flatten().collect::<Vec<_>>())
        };
        read_for_job(true, read, total_bytes)
    }
}

impl CachedBlock {
    fn key(&self, role: Role, range: &Range<u64>) -> Key {
        let length = range.end.saturating_sub(range.start);
        Key::new(&[&role, &self.tenant, &self.id, &self.size, &DATA, &range.start, &length])
    }
}

/// The ranges that the cache has, in order. Calls are neither too large nor too many.
async fn ask(cache: &Cache, keys: &[Key], ranges: &[Range<u64>]) -> Vec<Option<Bytes>> {
    let mut calls = Vec::new();
    let (mut first, mut bytes) = (0, 0u64);
    for (place, range) in ranges.iter().enumerate() {
        bytes = bytes.saturating_add(range.end.saturating_sub(range.start));
        if bytes >= CALL_BYTES || place + 1 == ranges.len() {
            calls.push(cache.get_many(&keys[first..=place]));
            (first, bytes) = (place + 1, 0);
        }
    }
    join_all(calls).await.concat()
}

#[expect(clippy::ptr_arg, reason = "the type that is read")]
fn total_bytes(all: &Vec<Bytes>) -> usize {
    all.iter().map(Bytes::len).sum()
}

impl ByteSource for JobSource {
    fn size(&self) -> u64 {
        self.stored.size()
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        self.read_as(Role::ParquetPage, range)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        self.read_many_as(Role::ParquetPage, ranges)
    }

    fn is_remote(&self) -> bool {
        self.stored.is_remote()
    }

    fn read_footer(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        self.read_as(Role::ParquetFooter, range)
    }

    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        self.read_many_as(Role::ParquetOffsetIndex, ranges)
    }
}
