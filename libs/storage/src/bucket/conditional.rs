//! Small documents that several writers change: each write names the version that it replaces.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use tactus_telemetry::log_limited;
use tokio::sync::{Mutex, MutexGuard};

use super::local::Root;
use super::target::Kind;
use super::{Bucket, answers, failure, off_runtime};
use crate::error::{Error, Result};
use crate::hash::murmur3_x64_128;

/// The largest document whose version is asked for.
const MAX_BYTES: u64 = 256 << 20;

/// The longest wait for writers of other processes, each of which takes as long as the write of a small file.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Serialises the writers of local stores in this process. There is no other way to compare and write in one step on
/// every file system.
static LOCAL_WRITERS: Mutex<()> = Mutex::const_new(());

/// The right to change documents of a local store, until it is dropped.
struct LocalWriting {
    /// Other processes wait for the lock of the store's directory.
    _directory: Option<File>,
    _here: MutexGuard<'static, ()>,
}

impl Bucket {
    /// Reads a whole object of at most this many bytes, and its version: a text that differs after each
    /// change of the bytes (the entity tag, Google's generation, in a local store a hash).
    ///
    /// Errors: `Error::Corrupt` where it is larger, as of [`Bucket::get_at_most`].
    pub async fn get_with_version(&self, key: &str, max_bytes: u64) -> Result<(Bytes, String)> {
        if self.checked_local_path(key)?.is_some() {
            let bytes = self.get_at_most(key, max_bytes).await?;
            let version = local_version(&bytes);
            return Ok((bytes, version));
        }
        let path = self.object_path(key)?;
        let failed = |error| failure::from_store(key, error);
        let found = self.inner.store.get(&path).await.map_err(failed)?;
        let version = self.version(found.meta.e_tag.clone(), found.meta.version.clone(), key)?;
        let bytes = answers::object(found, max_bytes).await.map_err(failed)?;
        Ok((bytes.ok_or_else(|| super::too_large(key, max_bytes))?, version))
    }

    /// Writes an object in the place of the version `expected`, or a new one if that is `None`.
    /// Returns the new version; `None` if the object is another by now.
    ///
    /// Two processes that write at the same moment may both win in a store without conditional writes, and in a local
    /// store whose file system has no locks.
    pub async fn put_if_version(
        &self,
        key: &str,
        bytes: Bytes,
        expected: Option<&str>,
    ) -> Result<Option<String>> {
        if self.checked_local_path(key)?.is_some() {
            let _writing = self.writing_locally().await?;
            if self.version_now(key).await?.as_deref() != expected {
                return Ok(None);
            }
            self.put(key, bytes.clone()).await?;
            return Ok(Some(local_version(&bytes)));
        }
        // Stores that ignore the condition still notice all but writes at the same moment.
        if self.version_now(key).await?.as_deref() != expected {
            return Ok(None);
        }
        let path = self.object_path(key)?;
        let mode = match expected {
            Some(version) => PutMode::Update(self.update_version(version)),
            None => PutMode::Create,
        };
        let options = self.inner.write_options.put(mode);
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.inner.store.put_opts(&path, payload, options).await {
            Ok(written) => self.version(written.e_tag, written.version, key).map(Some),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => self.version_of(key, &bytes).await,
            // Of a new object it is the bucket that is missing.
            Err(object_store::Error::NotFound { .. }) if expected.is_some() => Ok(None),
            Err(error) => match failure::from_store(key, error) {
                Error::Unsupported { .. } => {
                    self.put(key, bytes).await?;
                    self.version_now(key).await
                }
                error => Err(error),
            },
        }
    }

    /// Deletes an object if it is of this version; false if it is of another. Stores have no
    /// conditional delete: a write between the look and the delete is lost.
    ///
    /// Errors: `Error::NotFound` when there is none.
    pub async fn delete_if_version(&self, key: &str, expected: &str) -> Result<bool> {
        let _writing = self.writing_locally().await?;
        match self.version_now(key).await? {
            None => Err(Error::NotFound { key: key.into() }),
            Some(version) if version == expected => self.delete(key).await.map(|()| true),
            Some(_) => Ok(false),
        }
    }

    /// Waits for the other writers of this store, if it is local.
    async fn writing_locally(&self) -> Result<LocalWriting> {
        let here = LOCAL_WRITERS.lock().await;
        let Some(root) = self.inner.root.clone() else {
            return Ok(LocalWriting { _directory: None, _here: here });
        };
        let directory = off_runtime("/", move || lock(&root)).await?;
        Ok(LocalWriting { _directory: directory, _here: here })
    }

    /// The version of the object if it has these bytes. The client writes again when no answer came, and then it is the object
    /// of its own first attempt that refuses the second.
    async fn version_of(&self, key: &str, bytes: &Bytes) -> Result<Option<String>> {
        match self.get_with_version(key, bytes.len() as u64).await {
            Ok((stored, version)) => Ok((stored == *bytes).then_some(version)),
            Err(error) if error.is_corrupt() || error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn version_now(&self, key: &str) -> Result<Option<String>> {
        match self.get_with_version(key, MAX_BYTES).await {
            Ok((_, version)) => Ok(Some(version)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn version(
        &self,
        tag: Option<String>,
        generation: Option<String>,
        key: &str,
    ) -> Result<String> {
        let version = match self.inner.target.kind {
            Kind::Gcs => generation.or(tag),
            // The quotes belong to the header, not to the tag.
            _ => tag.map(|tag| tag.trim_matches('"').to_owned()),
        };
        version.ok_or_else(|| Error::Unsupported {
            key: key.into(),
            source: "the store names no version of the object".into(),
        })
    }

    fn update_version(&self, version: &str) -> UpdateVersion {
        match self.inner.target.kind {
            Kind::Gcs => UpdateVersion { e_tag: None, version: Some(version.to_owned()) },
            _ => UpdateVersion { e_tag: Some(format!("\"{version}\"")), version: None },
        }
    }
}

/// Locks the directory of a store, which its processes share; `None` if its file system has no locks.
fn lock(root: &Root) -> Result<Option<File>> {
    root.check_for_change("/")?;
    let directory = File::open(root.path()).map_err(|error| failure::from_io("/", error))?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let source = "another process keeps the lock of its directory".into();
                return Err(Error::Unavailable { key: "/".into(), source });
            }
            Err(TryLockError::Error(error)) => {
                log_limited!(warn, %error, "cannot lock a local store: other processes may change it at the same time");
                return Ok(None);
            }
        }
    }
}

fn local_version(bytes: &[u8]) -> String {
    let (high, low) = murmur3_x64_128(bytes);
    format!("{high:016x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use futures_util::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutOptions, PutResult, Result as StoreResult,
    };

    use super::*;
    use crate::BucketSettings;

    /// Refuses every write, and has these bytes afterwards.
    #[derive(Debug)]
    struct Refusing(InMemory, &'static str);

    impl fmt::Display for Refusing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Refusing")
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Refusing {
        async fn put_opts(
            &self,
            location: &ObjectPath,
            _: PutPayload,
            options: PutOptions,
        ) -> StoreResult<PutResult> {
            self.0.put_opts(location, PutPayload::from_static(self.1.as_bytes()), options).await?;
            let (path, source) = (location.to_string(), "there is one".into());
            Err(object_store::Error::AlreadyExists { path, source })
        }

        async fn put_multipart_opts(
            &self,
            location: &ObjectPath,
            options: PutMultipartOptions,
        ) -> StoreResult<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(location, options).await
        }

        async fn get_opts(
            &self,
            location: &ObjectPath,
            options: GetOptions,
        ) -> StoreResult<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, StoreResult<ObjectPath>>,
        ) -> BoxStream<'static, StoreResult<ObjectPath>> {
            self.0.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(
            &self,
            prefix: Option<&ObjectPath>,
        ) -> StoreResult<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(
            &self,
            from: &ObjectPath,
            to: &ObjectPath,
            options: CopyOptions,
        ) -> StoreResult<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn write_whose_answer_was_lost_is_no_conflict_and_one_of_another_is() {
        for (stored, is_ours) in [("ours", true), ("hers", false), ("longer", false)] {
            let bucket = Bucket::on(Refusing(InMemory::new(), stored));
            let put = bucket.put_if_version("k", Bytes::from_static(b"ours"), None);
            let version = put.await.unwrap();
            assert_eq!(version.is_some(), is_ours);
            if is_ours {
                assert_eq!(version, bucket.version_now("k").await.unwrap());
            }
        }
    }

    async fn walk_through(bucket: Bucket) {
        let key = "overrides/a/overrides.json";
        let one = Bytes::from_static(b"1");
        assert!(bucket.get_with_version(key, 1).await.unwrap_err().is_not_found());
        assert_eq!(bucket.put_if_version(key, one.clone(), Some("7")).await.unwrap(), None);
        let first = bucket.put_if_version(key, one.clone(), None).await.unwrap().unwrap();
        assert_eq!(bucket.put_if_version(key, one.clone(), None).await.unwrap(), None);
        assert_eq!(bucket.get_with_version(key, 1).await.unwrap(), (one, first.clone()));
        let two = Bytes::from_static(b"2");
        let second = bucket.put_if_version(key, two.clone(), Some(&first)).await.unwrap().unwrap();
        assert_ne!(first, second);
        let too_large = bucket.get_with_version(key, 0).await;
        assert!(matches!(too_large, Err(Error::Corrupt { what: "object size", .. })));
        assert_eq!(bucket.put_if_version(key, two, Some(&first)).await.unwrap(), None);
        assert!(!bucket.delete_if_version(key, &first).await.unwrap());
        assert!(bucket.delete_if_version(key, &second).await.unwrap());
        assert!(bucket.delete_if_version(key, &second).await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn versions_guard_writes_in_a_local_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        walk_through(Bucket::open(&BucketSettings::Local { path }).unwrap()).await;
    }

    #[tokio::test]
    async fn writers_wait_for_those_of_other_processes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let bucket = Bucket::open(&BucketSettings::Local { path }).unwrap();
        // Locks belong to open files, so that one more stands for another process.
        let other = File::open(directory.path()).unwrap();
        other.lock().unwrap();
        let put = bucket.put_if_version("k", Bytes::from_static(b"1"), None);
        let mut put = std::pin::pin!(put);
        let waiting = tokio::time::timeout(Duration::from_millis(50), &mut put).await;
        assert!(waiting.is_err());
        other.unlock().unwrap();
        assert!(put.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn put_that_loses_changes_nothing() {
        let bucket = Bucket::on(InMemory::new());
        let version = bucket.put_if_version("k", Bytes::from_static(b"1"), None).await.unwrap();
        let lost = bucket.put_if_version("k", Bytes::from_static(b"2"), None).await.unwrap();
        assert_eq!(lost, None);
        let found = bucket.get("k").await.unwrap();
        assert_eq!((found, version.is_some()), (Bytes::from_static(b"1"), true));
    }
}
