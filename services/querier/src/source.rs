//! The bytes of a block for the block reader, from a local file or from object storage.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tactus_block::Error;
use tactus_block::read::ByteSource;
use tactus_storage::BlockReader;
use tactus_storage::bucket::LocalFile;
use tactus_storage::layout::DATA;
use tokio::runtime::Handle;

thread_local! {
    /// A job runs on one thread, and open blocks are shared: so the bytes are counted by thread.
    static BYTES_READ: Cell<u64> = const { Cell::new(0) };
}

/// Bytes read from blocks by the current thread since it started.
pub(crate) fn bytes_read_by_this_thread() -> u64 {
    BYTES_READ.get()
}

fn count(bytes: &Bytes) {
    BYTES_READ.set(BYTES_READ.get() + bytes.len() as u64);
}

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
        let bytes = self.file.read_range(range).map_err(from_storage)?;
        count(&bytes);
        Ok(bytes)
    }

    /// A read of a local file costs less than copying what lies between two ranges.
    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
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
        let bytes = self.runtime.block_on(read).map_err(from_storage)?;
        count(&bytes);
        Ok(bytes)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        let read = self.reader.read_ranges(DATA, ranges);
        let all = self.runtime.block_on(read).map_err(from_storage)?;
        all.iter().for_each(count);
        Ok(all)
    }
}

/// Keeps the storage error inside: the caller tells a missing object from a damaged one.
fn from_storage(error: tactus_storage::Error) -> Error {
    Error::Io(io::Error::other(error))
}
