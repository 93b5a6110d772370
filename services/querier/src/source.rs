//! The bytes of a block for a job: counted, and not read any more once it is cancelled.

use std::ops::Range;

use bytes::Bytes;
use tactus_block::read::{ByteSource, StoredSource};

use crate::pool::read_for_job;

/// Reads on behalf of the job of the calling thread.
pub(crate) struct JobSource {
    stored: StoredSource,
}

impl JobSource {
    pub(crate) fn new(stored: StoredSource) -> Self {
        Self { stored }
    }
}

impl ByteSource for JobSource {
    fn size(&self) -> u64 {
        self.stored.size()
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        read_for_job(self.stored.is_remote(), || self.stored.read(range), Bytes::len)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        let read = || self.stored.read_many(ranges);
        let bytes = |all: &Vec<Bytes>| all.iter().map(Bytes::len).sum();
        read_for_job(self.stored.is_remote(), read, bytes)
    }
}
