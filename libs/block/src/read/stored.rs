//! Reads a block's data from its bucket: a local file, or object storage.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use tactus_storage::bucket::LocalFile;
use tactus_storage::layout::{DATA, SUMMARY, block_key};
use tactus_storage::{BlockMeta, BlockReader as StoredBlock, Bucket};
use tokio::runtime::Handle;

use super::{BlockFacts, BlockReader, ByteSource};
use crate::summary::{Tail, TailSource, readable_parts};
use crate::{Error, Result};

/// The data of a block in its bucket. The calling thread waits for remote reads, so it must be one that may block.
#[derive(Debug)]
pub struct StoredSource {
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Read by position, because the file may be deleted or even truncated while it is read.
    Local(Arc<LocalFile>),
    Remote {
        block: StoredBlock,
        size: u64,
        runtime: Handle,
    },
}

impl StoredSource {
    /// The data of the block that `meta` describes. Remote reads run on `runtime`.
    ///
    /// Errors: a local file cannot be opened; this is a [`tactus_storage::Error`] inside `Error::Io`.
    pub fn new(bucket: &Bucket, meta: &BlockMeta, runtime: &Handle) -> Result<Self> {
        let block = StoredBlock::new(bucket.clone(), meta);
        let place = match block.local_data() {
            Some(file) => Place::Local(file.map_err(from_storage)?),
            None => Place::Remote { block, size: meta.size, runtime: runtime.clone() },
        };
        Ok(Self { place })
    }
}

impl ByteSource for StoredSource {
    fn is_remote(&self) -> bool {
        matches!(self.place, Place::Remote { .. })
    }

    fn size(&self) -> u64 {
        match &self.place {
            Place::Local(file) => file.size(),
            Place::Remote { size, .. } => *size,
        }
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        match &self.place {
            Place::Local(file) => read_local(file, range),
            Place::Remote { block, runtime, .. } => {
                runtime.block_on(block.read_range(DATA, range)).map_err(from_storage)
            }
        }
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match &self.place {
            // Reading a local file twice costs less than copying the bytes between two ranges.
            Place::Local(file) => {
                ranges.iter().map(|range| read_local(file, range.clone())).collect()
            }
            Place::Remote { block, runtime, .. } => {
                runtime.block_on(block.read_ranges(DATA, ranges)).map_err(from_storage)
            }
        }
    }
}

/// What the meta of a block says about its data.
///
/// Errors: an unknown block version.
pub fn facts_of(meta: &BlockMeta) -> Result<BlockFacts, tactus_storage::Error> {
    Ok(BlockFacts {
        size: meta.size,
        footer_size: meta.footer_size,
        version: meta.version()?,
        dedicated_columns: meta.dedicated_columns.to_vec(),
    })
}

/// Opens a block of a bucket, if possible with the copy of its footer in the summary: the footer itself has no checksum, and
/// what is read here may be written to another block. May block.
///
/// Errors: as [`BlockReader::open`]; errors of the bucket are inside `Error::Io`.
pub fn open_stored(bucket: &Bucket, meta: &BlockMeta, runtime: &Handle) -> Result<BlockReader> {
    let facts = facts_of(meta).map_err(from_storage)?;
    let source: Arc<dyn ByteSource> = Arc::new(StoredSource::new(bucket, meta, runtime)?);
    if let Some(tail) = stored_tail(bucket, meta, runtime)
        && let Ok(with_tail) = TailSource::new(Arc::clone(&source), &tail)
        && let Ok(reader) = BlockReader::open(Arc::new(with_tail), &facts)
    {
        return Ok(reader);
    }
    BlockReader::open(source, &facts)
}

/// The end of a block's data from its summary; `None` if that cannot be read, or if there is none. May block.
pub fn stored_tail(bucket: &Bucket, meta: &BlockMeta, runtime: &Handle) -> Option<Tail> {
    let parts = readable_parts(meta.summary()?, meta.size)?;
    let (key, range) = (block_key(&meta.tenant_id, meta.block_id, SUMMARY), parts.tail_range());
    let part = match bucket.open_local_file(&key) {
        Some(file) => file.and_then(|file| file.read_range(range)),
        None => runtime.block_on(bucket.get_range(&key, range)),
    };
    Tail::decode(&part.ok()?, meta.size).ok()
}

/// Reads into memory that is not cleared first, because clearing would take as long as copying the bytes.
fn read_local(file: &LocalFile, range: Range<u64>) -> Result<Bytes> {
    let mut bytes = Vec::new();
    if range.start <= range.end && range.end <= file.size() {
        let length = (range.end - range.start) as usize;
        bytes.reserve_exact(length);
        while bytes.len() < length {
            let offset = range.start + bytes.len() as u64;
            match pread(file.file(), spare_capacity(&mut bytes), offset) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        bytes.truncate(length);
        if bytes.len() == length {
            return Ok(bytes.into());
        }
    }
    // This call reports what is wrong.
    file.read_range(range).map_err(from_storage)
}

/// Keeps the storage error inside, so that the caller can distinguish a missing object from a damaged one.
fn from_storage(error: tactus_storage::Error) -> Error {
    Error::Io(io::Error::other(error))
}
