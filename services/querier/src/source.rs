//! The bytes of a block for the block reader, from a local file or from object storage.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use tactus_block::Error;
use tactus_block::read::ByteSource;
use tactus_storage::BlockReader;
use tactus_storage::bucket::LocalFile;
use tactus_storage::layout::DATA;
use tokio::runtime::Handle;

use crate::pool::read_for_job;

/// A block in a local store, read by position: it may be deleted or even cut while it is read.
pub(crate) struct LocalSource {
    file: Arc<LocalFile>,
}

impl LocalSource {
    pub(crate) fn new(file: Arc<LocalFile>) -> Self {
        Self { file }
    }
}

impl ByteSource for LocalSource {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        read_for_job(false, || read_local(&self.file, range), Bytes::len)
    }

    /// A read of a local file costs less than copying what lies between two ranges.
    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
}

/// Reads without clearing the memory first, which takes as long as copying the bytes.
fn read_local(file: &LocalFile, range: Range<u64>) -> tactus_block::Result<Bytes> {
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
    // Says what is wrong.
    file.read_range(range).map_err(from_storage)
}

/// A block in object storage. The calling thread waits.
pub(crate) struct RemoteSource {
    reader: Arc<BlockReader>,
    size: u64,
    runtime: Handle,
}

impl RemoteSource {
    pub(crate) fn new(reader: Arc<BlockReader>, size: u64, runtime: Handle) -> Self {
        Self { reader, size, runtime }
    }
}

impl ByteSource for RemoteSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        let read = self.reader.read_range(DATA, range);
        read_for_job(true, || self.runtime.block_on(read).map_err(from_storage), Bytes::len)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        let read = self.reader.read_ranges(DATA, ranges);
        let read = || self.runtime.block_on(read).map_err(from_storage);
        read_for_job(true, read, |all| all.iter().map(Bytes::len).sum())
    }
}

/// Keeps the storage error inside: the caller tells a missing object from a damaged one.
fn from_storage(error: tactus_storage::Error) -> Error {
    Error::Io(io::Error::other(error))
}
