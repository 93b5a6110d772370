use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, ObjectMeta, PutMultipartOptions, PutOptions,
    PutResult, UploadPart,
};

use super::super::{BucketSettings, Inner};
use super::*;
use crate::bucket::options::Transfer;
use crate::bucket::target::{Kind, Target};

const PART: u64 = 1000;

/// What a store of parts has seen.
#[derive(Debug, Default)]
struct Seen {
    running: AtomicUsize,
    most_running: AtomicUsize,
    parts: AtomicUsize,
    aborts: AtomicUsize,
    fail_parts: AtomicBool,
}

#[derive(Debug)]
struct Store {
    inner: InMemory,
    seen: Arc<Seen>,
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

#[derive(Debug)]
struct Parts {
    inner: Box<dyn MultipartUpload>,
    seen: Arc<Seen>,
}

#[async_trait::async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (part, seen) = (self.inner.put_part(payload), Arc::clone(&self.seen));
        Box::pin(async move {
            seen.parts.fetch_add(1, Ordering::SeqCst);
            let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most_running.fetch_max(running, Ordering::SeqCst);
            tokio::task::yield_now().await;
            seen.running.fetch_sub(1, Ordering::SeqCst);
            if seen.fail_parts.load(Ordering::SeqCst) {
                let source = "no more parts".into();
                return Err(object_store::Error::PermissionDenied { path: "t/x".into(), source });
            }
            part.await
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.seen.aborts.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

#[async_trait::async_trait]
impl ObjectStore for Store {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(Parts { inner, seen: Arc::clone(&self.seen) }))
    }

    async fn get_opts(
        &self,
        location: &ObjectPath,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn remote(concurrency: usize) -> (Bucket, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let store = Store { inner: InMemory::new(), seen: Arc::clone(&seen) };
    let transfer =
        Transfer { part_bytes: PART, upload_concurrency: concurrency, ..Transfer::default() };
    let inner = Inner { transfer, ..Inner::on(Arc::new(store), Target::local("in memory"), "p") };
    (Bucket { inner: Arc::new(inner) }, seen)
}

fn local() -> (tempfile::TempDir, Bucket) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("bucket");
    let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
    (directory, bucket)
}

/// Runs `work` on a thread that may block.
async fn on_thread<T: Send + 'static>(work: impl FnOnce(&Handle) -> T + Send + 'static) -> T {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || work(&runtime)).await.unwrap()
}

fn bytes(range: Range<u32>) -> Vec<u8> {
    range.map(|number| (number % 251) as u8).collect()
}

async fn keys(bucket: &Bucket) -> Vec<String> {
    let objects: Vec<_> = bucket.list_stream("", None).unwrap().try_collect().await.unwrap();
    objects.into_iter().map(|object: crate::bucket::ObjectInfo| object.key).collect()
}

async fn write_in_pieces(bucket: &Bucket, total: u32, piece: usize) -> u64 {
    let bucket = bucket.clone();
    on_thread(move |runtime| {
        let mut writer = bucket.writer("t/x", 0, runtime).unwrap();
        for piece in bytes(0..total).chunks(piece.max(1)) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.written(), u64::from(total));
        writer.finish().unwrap()
    })
    .await
}

#[tokio::test]
async fn written_object_has_its_bytes_whatever_the_pieces_on_every_store() {
    let (_directory, on_disk) = local();
    let (in_store, _) = remote(2);
    for bucket in [on_disk, in_store] {
        for (total, piece) in [(0, 1), (1, 1), (1000, 7), (1001, 5000), (5000, 1000), (12_345, 999)]
        {
            assert_eq!(write_in_pieces(&bucket, total, piece).await, u64::from(total));
            assert_eq!(bucket.get("t/x").await.unwrap(), bytes(0..total), "{total} by {piece}");
        }
        assert_eq!(keys(&bucket).await, ["t/x"]);
    }
}

#[tokio::test]
async fn parts_in_flight_are_bounded_and_a_small_object_needs_no_parts() {
    let (bucket, seen) = remote(3);
    write_in_pieces(&bucket, 1000, 100).await;
    assert_eq!(seen.parts.load(Ordering::SeqCst), 0);
    write_in_pieces(&bucket, 50_500, 333).await;
    assert_eq!(seen.parts.load(Ordering::SeqCst), 51);
    assert!(seen.most_running.load(Ordering::SeqCst) <= 3);
    assert_eq!(seen.aborts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn expected_size_makes_parts_that_are_few_enough() {
    let (bucket, _) = remote(1);
    let part = on_thread(move |runtime| {
        let writer = bucket.writer("t/x", 90_000_000, runtime).unwrap();
        let Sink::Remote(remote) = &writer.sink else { unreachable!() };
        remote.part_bytes
    })
    .await;
    assert_eq!(part, 10_000);
}

#[tokio::test]
async fn dropped_writer_leaves_nothing_and_the_old_object() {
    let (_directory, on_disk) = local();
    let (in_store, seen) = remote(2);
    for bucket in [on_disk, in_store] {
        bucket.put("t/x", Bytes::from_static(b"old")).await.unwrap();
        let bucket_there = bucket.clone();
        on_thread(move |runtime| {
            for by_hand in [true, false] {
                let mut writer = bucket_there.writer("t/x", 0, runtime).unwrap();
                writer.write_all(&bytes(0..4000)).unwrap();
                if by_hand { writer.abort() } else { drop(writer) }
            }
        })
        .await;
        assert_eq!(bucket.get("t/x").await.unwrap(), "old");
        assert_eq!(keys(&bucket).await, ["t/x"]);
    }
    while seen.aborts.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropped_local_writer_leaves_no_file() {
    let (directory, bucket) = local();
    on_thread(move |runtime| drop(bucket.writer("t/x", 0, runtime).unwrap())).await;
    let files = std::fs::read_dir(directory.path().join("bucket/t")).unwrap().count();
    assert_eq!(files, 0);
}

#[tokio::test]
async fn failed_part_fails_a_later_write_or_the_finish_and_the_upload_is_aborted() {
    let (bucket, seen) = remote(2);
    seen.fail_parts.store(true, Ordering::SeqCst);
    let errors = on_thread(move |runtime| {
        let mut writer = bucket.writer("t/x", 0, runtime).unwrap();
        let error = (0..10).find_map(|_| writer.write_all(&bytes(0..1000)).err()).unwrap();
        let after = writer.write_all(b"x").unwrap_err();
        let finish = writer.finish().unwrap_err();
        let mut late = bucket.writer("t/x", 0, runtime).unwrap();
        late.write_all(&bytes(0..2000)).unwrap();
        [Error::from_write("t/x", error), late.finish().unwrap_err(), finish, {
            Error::from_write("t/x", after)
        }]
    })
    .await;
    assert!(matches!(errors[0], Error::Denied { .. }), "{errors:?}");
    assert!(matches!(errors[1], Error::Denied { .. }), "{errors:?}");
    assert!(errors[2..].iter().all(Error::is_retryable), "{errors:?}");
    while seen.aborts.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn key_that_cannot_be_is_refused_before_anything_is_written() {
    let (_directory, on_disk) = local();
    for bucket in [on_disk, remote(1).0] {
        let error = on_thread(move |runtime| bucket.writer("../x", 0, runtime).unwrap_err()).await;
        assert!(matches!(error, Error::Invalid { .. }));
    }
}

#[test]
fn refused_upload_in_parts_names_the_permission_that_google_wants() {
    let refused = || Error::Denied { key: "t/x".into(), source: "403".into() };
    let said =
        |kind: Kind| tactus_telemetry::error_text(&explained(refused(), kind.right_of_parts()));
    let text = said(Kind::Gcs);
    assert!(text.contains("storage.multipartUploads.create") && text.contains("403"), "{text}");
    assert!(!said(Kind::S3).contains("multipart"));
    let other = Error::NotFound { key: "t/x".into() };
    assert!(explained(other, Kind::Gcs.right_of_parts()).is_not_found());
}
