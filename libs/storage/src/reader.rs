//! Reads the files of one block.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use uuid::Uuid;

use crate::bloom::{self, BloomShard, shard_of};
use crate::bucket::{Bucket, LocalFile, blocking};
use crate::error::Result;
use crate::layout::{self, DATA};
use crate::meta::BlockMeta;

/// Reads the files of one block by name, and counts what it read.
///
/// Cheap to make: nothing is opened or asked for before the first read. A local store's
/// `data.parquet` stays open once read, so that the block can be cleared meanwhile.
#[derive(Debug)]
pub struct BlockReader {
    bucket: Bucket,
    tenant: String,
    block_id: Uuid,
    local_data: OnceLock<Arc<LocalFile>>,
    bytes_read: AtomicU64,
    reads: AtomicU64,
}

impl BlockReader {
    /// A reader of the block that `meta` describes.
    pub fn new(bucket: Bucket, meta: &BlockMeta) -> Self {
        Self {
            bucket,
            tenant: meta.tenant_id.clone(),
            block_id: meta.block_id,
            local_data: OnceLock::new(),
            bytes_read: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    /// Key of a file of this block.
    pub fn key(&self, file: &str) -> String {
        layout::block_key(&self.tenant, self.block_id, file)
    }

    /// Bytes returned so far, over all files.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Ranges and whole files returned so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// `data.parquet` as an open file of a local store; `None` in any other store. For threads
    /// that may block: no async, no copy besides the one out of the page cache. What is read
    /// through it is not counted here; see [`BlockReader::count`].
    pub fn local_data(&self) -> Option<Result<Arc<LocalFile>>> {
        if let Some(file) = self.local_data.get() {
            return Some(Ok(Arc::clone(file)));
        }
        let opened = self.bucket.open_local_file(&self.key(DATA))?;
        Some(opened.map(|file| Arc::clone(self.local_data.get_or_init(|| Arc::new(file)))))
    }

    /// Adds a read of `bytes` that went past this reader.
    pub fn count(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// A bloom filter as it is stored; `Error::Corrupt` when it is larger than any that is written.
    pub async fn read_bloom(&self, file: &str) -> Result<Bytes> {
        let bytes = self.bucket.get_at_most(&self.key(file), bloom::MAX_FILE_BYTES).await?;
        self.count(bytes.len() as u64);
        Ok(bytes)
    }

    /// Exactly `range` of a file; `Error::Corrupt` when the file ends before it does.
    pub async fn read_range(&self, file: &str, range: Range<u64>) -> Result<Bytes> {
        let bytes = match self.local_file(file)? {
            Some(local) => blocking(&self.key(file), move || local.read_range(range)).await?,
            None => self.bucket.get_range(&self.key(file), range).await?,
        };
        self.count(bytes.len() as u64);
        Ok(bytes)
    }

    /// Several ranges of a file in the order given; close ones are fetched together.
    pub async fn read_ranges(&self, file: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let all = match self.local_file(file)? {
            Some(local) => {
                let ranges = ranges.to_vec();
                let read =
                    move || ranges.into_iter().map(|range| local.read_range(range)).collect();
                blocking(&self.key(file), read).await?
            }
            None => self.bucket.get_ranges(&self.key(file), ranges).await?,
        };
        all.iter().for_each(|bytes| self.count(bytes.len() as u64));
        Ok(all)
    }

    /// The file of a local store that stays open.
    fn local_file(&self, file: &str) -> Result<Option<Arc<LocalFile>>> {
        if file == DATA { self.local_data().transpose() } else { Ok(None) }
    }

    /// The bloom filter that knows about `id`; `shards` as in the meta.
    pub async fn bloom_of(&self, id: &[u8; 16], shards: u32) -> Result<BloomShard> {
        let file = layout::bloom_name(shard_of(id, shards));
        let bytes = self.read_bloom(&file).await?;
        BloomShard::decode(bytes).map_err(|error| error.with_key(&self.key(&file)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::BucketSettings;

    const META_KEY: &str = "single-tenant/11111111-1111-4111-8111-111111111111/meta.json";

    async fn sample() -> (BlockReader, BlockMeta) {
        let path = crate::test_data::blocks().join("vParquet4");
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let meta = BlockMeta::from_json(&bucket.get(META_KEY).await.unwrap()).unwrap();
        (BlockReader::new(bucket, &meta), meta)
    }

    #[tokio::test]
    async fn sample_footer_is_found_by_the_meta() {
        let (reader, meta) = sample().await;
        let tail = meta.size - 8..meta.size;
        let expected = [&meta.footer_size.to_le_bytes()[..], b"PAR1"].concat();
        assert_eq!(reader.read_range(DATA, tail.clone()).await.unwrap(), expected);
        let both = reader.read_ranges(DATA, &[tail.clone(), 0..4]).await.unwrap();
        assert_eq!(both[1], "PAR1");
        assert_eq!((reader.bytes_read(), reader.reads()), (20, 3));
        let local = reader.local_data().unwrap().unwrap();
        assert_eq!(local.size(), meta.size);
        assert_eq!(local.read_range(tail).unwrap(), expected);
    }

    #[tokio::test]
    async fn sample_bloom_knows_its_ids() {
        let (reader, meta) = sample().await;
        let known = 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes();
        let bloom = reader.bloom_of(&known, meta.bloom_shard_count()).await.unwrap();
        assert!(bloom.may_contain(&known));
        assert!(!bloom.may_contain(&[0x42; 16]));
    }

    #[tokio::test]
    async fn missing_bloom_is_an_error() {
        let (_, meta) = sample().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        let reader = BlockReader::new(bucket, &meta);
        assert!(reader.bloom_of(&[0; 16], 1).await.unwrap_err().is_not_found());
        assert!(reader.local_data().unwrap().unwrap_err().is_not_found());
    }
}
