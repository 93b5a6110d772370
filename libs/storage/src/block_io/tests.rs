use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;
use crate::bucket::BucketSettings;
use crate::meta::BlockVersion;

const TENANT: &str = "t1";

fn local() -> (tempfile::TempDir, Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bucket");
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    (directory, bucket)
}

fn block() -> (BlockMeta, BlockFiles) {
    let mut meta = BlockMeta::new(BlockVersion::VParquet4, TENANT, Uuid::new_v4());
    (meta.size, meta.total_records) = (4, 1);
    meta.bloom_shards = 2;
    let bytes = |text: &'static str| ObjectSource::Bytes(Bytes::from_static(text.as_bytes()));
    let files = BlockFiles {
        data: bytes("data"),
        blooms: vec![bytes("b0"), bytes("b1")],
        index: Some(bytes("{}")),
        summary: Some(bytes("s")),
        no_compact: true,
    };
    (meta, files)
}

async fn names(bucket: &Bucket, meta: &BlockMeta) -> Vec<String> {
    let prefix = layout::block_prefix(TENANT, meta.block_id);
    let objects = bucket.list(&prefix).await.unwrap();
    let mut names: Vec<_> =
        objects.iter().map(|object| object.key[prefix.len()..].to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn block_is_written_with_all_its_files_and_again() {
    let (_directory, bucket) = local();
    let (meta, files) = block();
    for _ in 0..2 {
        write_block(&bucket, &meta, &files).await.unwrap();
    }
    let expected = [
        "bloom-0",
        "bloom-1",
        "data.parquet",
        "index",
        "meta.json",
        "nocompact.flg",
        "tactus-summary",
    ];
    assert_eq!(names(&bucket, &meta).await, expected);
    assert_eq!(read_meta(&bucket, TENANT, meta.block_id).await.unwrap(), meta);
    let listed = list_blocks(&bucket, TENANT, 3).await.unwrap();
    assert_eq!(listed.live, [meta.block_id]);
    assert!(listed.compacted.is_empty() && listed.no_compact.contains(&meta.block_id));
}

#[tokio::test]
async fn block_whose_files_contradict_its_meta_does_not_appear() {
    let (_directory, bucket) = local();
    let (meta, mut files) = block();
    let wrong_size = BlockMeta { size: 5, ..meta.clone() };
    let error = write_block(&bucket, &wrong_size, &files).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }));
    files.blooms.pop();
    assert!(write_block(&bucket, &meta, &files).await.is_err());
    assert!(list_blocks(&bucket, TENANT, 1).await.unwrap().live.is_empty());
}

#[tokio::test]
async fn data_that_was_streamed_before_stays_and_its_size_is_checked() {
    let (_directory, bucket) = local();
    let (meta, mut files) = block();
    let key = block_key(TENANT, meta.block_id, DATA);
    bucket.put(&key, Bytes::from_static(b"DATA")).await.unwrap();
    files.data = ObjectSource::Written(5);
    assert!(write_block(&bucket, &meta, &files).await.is_err());
    files.data = ObjectSource::Written(4);
    write_block(&bucket, &meta, &files).await.unwrap();
    bucket.put(&key, Bytes::from_static(b"other")).await.unwrap();
    assert!(write_block(&bucket, &meta, &files).await.unwrap_err().is_retryable());
    bucket.delete(&key).await.unwrap();
    assert!(write_block(&bucket, &meta, &files).await.unwrap_err().is_retryable());
    bucket.put(&key, Bytes::from_static(b"DATA")).await.unwrap();
    write_block(&bucket, &meta, &files).await.unwrap();
    assert_eq!(bucket.get(&key).await.unwrap(), "DATA");
    assert!(names(&bucket, &meta).await.contains(&"meta.json".to_owned()));
}

#[tokio::test]
async fn failed_write_leaves_no_meta() {
    let (directory, bucket) = local();
    let (meta, mut files) = block();
    files.index = Some(ObjectSource::File(directory.path().join("missing")));
    write_block(&bucket, &meta, &files).await.unwrap_err();
    assert!(!names(&bucket, &meta).await.contains(&"meta.json".to_owned()));
}

#[tokio::test]
async fn mark_compacted_keeps_the_bytes_renews_the_time_and_repeats() {
    let (_directory, bucket) = local();
    let (meta, files) = block();
    write_block(&bucket, &meta, &files).await.unwrap();
    let live = bucket.local_path(&block_key(TENANT, meta.block_id, META)).unwrap();
    let bytes = std::fs::read(&live).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    std::fs::File::options().write(true).open(&live).unwrap().set_modified(long_ago).unwrap();

    mark_compacted(&bucket, TENANT, meta.block_id).await.unwrap();
    mark_compacted(&bucket, TENANT, meta.block_id).await.unwrap();
    let listed = list_blocks(&bucket, TENANT, 1).await.unwrap();
    assert!(listed.live.is_empty());
    let (id, time) = listed.compacted[0];
    assert_eq!(id, meta.block_id);
    assert!(time > Timestamp::UNIX_EPOCH);
    let key = block_key(TENANT, meta.block_id, COMPACTED_META);
    assert_eq!(bucket.get(&key).await.unwrap(), bytes);
    assert_eq!(read_compacted_meta(&bucket, TENANT, meta.block_id).await.unwrap(), meta);
    assert!(mark_compacted(&bucket, TENANT, Uuid::new_v4()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn cleared_block_leaves_nothing_and_clears_again() {
    let (_directory, bucket) = local();
    let (meta, files) = block();
    write_block(&bucket, &meta, &files).await.unwrap();
    mark_compacted(&bucket, TENANT, meta.block_id).await.unwrap();
    let directory = bucket.local_path(&layout::block_prefix(TENANT, meta.block_id)).unwrap();
    std::fs::write(directory.join("index#7"), b"stale").unwrap();
    for _ in 0..2 {
        clear_block(&bucket, TENANT, meta.block_id).await.unwrap();
        assert!(!directory.try_exists().unwrap());
    }
}

#[tokio::test]
async fn foreign_meta_is_corrupt() {
    let (_directory, bucket) = local();
    let (meta, _) = block();
    let other = Uuid::new_v4();
    bucket.put(&block_key(TENANT, other, META), meta.to_json().into()).await.unwrap();
    let error = read_meta(&bucket, TENANT, other).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains(TENANT) && error.contains("copied or renamed"), "{error}");
}

#[tokio::test]
async fn meta_without_what_every_block_has_is_corrupt() {
    let (_directory, bucket) = local();
    let (mut meta, _) = block();
    (meta.size, meta.total_records) = (100, 1);
    for key in ["format", "size", "totalRecords"] {
        let whole = String::from_utf8(meta.to_json()).unwrap();
        let damaged = whole.replace(&format!("\"{key}\""), "\"fo2mat\"");
        assert_ne!(damaged, whole);
        bucket.put(&block_key(TENANT, meta.block_id, META), damaged.into()).await.unwrap();
        let error = read_meta(&bucket, TENANT, meta.block_id).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{key}");
    }
}

#[tokio::test]
async fn listing_skips_what_is_no_block() {
    let (_directory, bucket) = local();
    for key in
        ["t1/not-a-uuid/meta.json", "t1/index.pb.zst", "overrides/t1/overrides.json", "work.json"]
    {
        bucket.put(key, Bytes::new()).await.unwrap();
    }
    let listed = list_blocks(&bucket, TENANT, 3).await.unwrap();
    assert!(listed.live.is_empty() && listed.compacted.is_empty());
    assert!(listed.index_written.is_some());
    assert_eq!((listed.objects, listed.newest), (2, listed.index_written));
    assert_eq!(list_tenants(&bucket).await.unwrap(), [TENANT]);
}

#[test]
fn ranges_of_a_listing_hold_every_key_once() {
    let mut keys: Vec<_> = [0, 1, 0x5555_5555_5555_5554, 0x5555_5555_5555_5555, u64::MAX]
        .map(|high| block_key(TENANT, Uuid::from_u64_pair(high, 0), META))
        .to_vec();
    keys.extend((0..50).map(|_| block_key(TENANT, Uuid::new_v4(), META)));
    keys.push(layout::tenant_index_key(TENANT, layout::TENANT_INDEX_PROTO));
    for ranges in 1..=5 {
        for key in &keys {
            let holds = |range: &u64| {
                let (start, end) = range_bounds(TENANT, *range, ranges);
                start.is_none_or(|start| *key > start) && end.is_none_or(|end| *key < end)
            };
            assert_eq!((0..ranges).filter(holds).count(), 1, "{key} in {ranges}");
        }
    }
}

#[tokio::test]
async fn meta_of_very_many_pushes_can_be_read_again() {
    let (_directory, bucket) = local();
    let (mut meta, files) = block();
    let extension = |pushes: u64| {
        let ranges = (0..pushes).map(|number| (u64::MAX - 4 * number - 1, u64::MAX - 4 * number));
        let sources = vec![Uuid::new_v4()];
        let origins = OriginSet::from_ranges(ranges.collect());
        Box::new(crate::meta::Extension { sources, origins, ..crate::meta::Extension::default() })
    };
    for (pushes, are_named) in [(20_000, true), (200_000, false)] {
        meta.extension = Some(extension(pushes));
        write_block(&bucket, &meta, &files).await.unwrap();
        let read = read_meta(&bucket, TENANT, meta.block_id).await.unwrap();
        assert_eq!(read.sources(), meta.sources());
        assert_eq!(read.origins().0.ranges().len(), if are_named { 20_000 } else { 0 });
    }
}

#[tokio::test]
async fn block_is_confirmed_if_its_files_are_there_and_named_if_one_is_not() {
    let (_directory, bucket) = local();
    let (mut meta, files) = block();
    let summary = Some(crate::meta::SummaryParts::default());
    let extension = crate::meta::Extension { summary, ..Default::default() };
    meta.extension = Some(Box::new(extension));
    for file in [DATA, SUMMARY, "bloom-0", "bloom-1", META] {
        write_block(&bucket, &meta, &files).await.unwrap();
        assert_eq!(missing_file(&bucket, &meta).await.unwrap(), None);
        let key = block_key(TENANT, meta.block_id, file);
        bucket.delete(&key).await.unwrap();
        assert_eq!(missing_file(&bucket, &meta).await.unwrap().as_deref(), Some(file));
        bucket.put(&key, Bytes::from_static(b"{}  not it")).await.unwrap();
        let differs = [DATA, META].contains(&file);
        assert_eq!(missing_file(&bucket, &meta).await.unwrap().is_some(), differs, "{file}");
        assert_eq!(confirm_block(&bucket, &meta).await.is_err(), differs);
    }
    write_block(&bucket, &meta, &files).await.unwrap();
    mark_compacted(&bucket, TENANT, meta.block_id).await.unwrap();
    confirm_block(&bucket, &meta).await.unwrap();
    // An object in the place of the compacted meta is not the block's if it says something else.
    let key = block_key(TENANT, meta.block_id, COMPACTED_META);
    let foreign = BlockMeta { block_id: Uuid::new_v4(), ..meta.clone() };
    for other in [Bytes::from_static(b"<html>log in</html>"), foreign.to_json().into()] {
        bucket.put(&key, other).await.unwrap();
        assert_eq!(missing_file(&bucket, &meta).await.unwrap().as_deref(), Some(META));
    }
}

/// Lists in the order of the keys as they are read backwards, also from a key on.
#[derive(Debug)]
struct Backwards(InMemory);

impl std::fmt::Display for Backwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backwards")
    }
}

fn backwards(path: &Path) -> String {
    path.as_ref().chars().rev().collect()
}

#[async_trait::async_trait]
impl ObjectStore for Backwards {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let listed = self.0.list(prefix);
        let sorted = async move {
            let mut objects: Vec<ObjectMeta> = listed.try_collect().await.unwrap_or_default();
            objects.sort_by_key(|object| backwards(&object.location));
            stream::iter(objects.into_iter().map(Ok))
        };
        stream::once(sorted).flatten().boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let offset = backwards(offset);
        let is_behind = move |object: &ObjectMeta| backwards(&object.location) > offset;
        let listed = self.list(prefix);
        listed.try_filter(move |object| std::future::ready(is_behind(object))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn store_that_does_not_list_in_key_order_hides_no_blocks() {
    for is_ordered in [true, false] {
        let bucket = match is_ordered {
            true => Bucket::on(InMemory::new()),
            false => Bucket::on(Backwards(InMemory::new())),
        };
        let mut ids: Vec<_> = (0..700).map(|_| Uuid::new_v4()).collect();
        ids.sort_unstable();
        for id in &ids {
            for name in [META, DATA] {
                bucket.put(&block_key(TENANT, *id, name), Bytes::new()).await.unwrap();
            }
        }
        for concurrency in [1, 3] {
            let listed = list_blocks(&bucket, TENANT, concurrency).await.unwrap();
            assert_eq!(listed.live, ids, "{is_ordered} {concurrency}");
            assert_eq!((listed.objects, listed.live_written.len()), (1400, 700));
        }
    }
}
