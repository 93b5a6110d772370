//! A bucket of objects: a local directory or S3, behind one set of calls.
//!
//! Keys are `/`-joined names without a leading slash; a configured prefix is added and taken away
//! here. A write is all or nothing: readers see the old object or the new one.

mod credentials;
mod failure;
mod hedge;
mod local;
mod ranges;
mod s3;
mod settings;
mod upload;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};

use crate::error::{Error, Result};
use crate::layout::join_prefix;

pub use local::LocalFile;
pub use settings::{
    Addressing, BucketSettings, DEFAULT_PART_BYTES, MIN_PART_BYTES, RetrySettings, S3Encryption,
    S3Settings,
};

/// Deletes in flight when a block or a tenant is cleared.
const DELETE_CONCURRENCY: usize = 16;
/// Requests in flight for the ranges of one object.
const READ_CONCURRENCY: usize = 8;

/// A bucket. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

impl fmt::Debug for Bucket {
    /// The store's name only: its own `Debug` shows credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.inner.store)
    }
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// Root of a local store.
    root: Option<PathBuf>,
    s3: S3Settings,
    write_options: s3::WriteOptions,
}

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key, without the bucket's prefix.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Last modification.
    pub last_modified: Timestamp,
}

impl Bucket {
    /// Opens the bucket. Makes no request to S3: use [`Bucket::check`] for that.
    ///
    /// Errors: `Error::Invalid` for bad settings or, with S3, when no TLS provider is installed in
    /// the process; `Denied` or `Full` when a local root cannot be created.
    pub fn open(settings: &BucketSettings) -> Result<Self> {
        match settings {
            BucketSettings::Local { path } => Self::open_local(path),
            BucketSettings::S3(settings) => Self::open_s3(settings),
        }
    }

    fn open_local(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let root = local::open_root(path).map_err(|error| failure::from_io(&name, error))?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| failure::from_store(&name, error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                store: Arc::new(store),
                prefix: String::new(),
                root: Some(root),
                s3: S3Settings::default(),
                write_options: s3::WriteOptions::default(),
            }),
        })
    }

    fn open_s3(settings: &S3Settings) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                store: Arc::new(s3::build(settings)?),
                prefix: settings.prefix.trim_matches('/').to_owned(),
                root: None,
                s3: settings.clone(),
                write_options: s3::WriteOptions::new(settings),
            }),
        })
    }

    /// Asks the store for its first-level names: fails when it cannot be reached or used.
    pub async fn check(&self) -> Result<()> {
        self.list_directories("").await.map(drop)
    }

    /// The file of `key` in a local store; `None` in any other. The file need not exist.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let root = self.inner.root.as_ref()?;
        let path = ObjectPath::parse(key).ok()?;
        Some(root.join(path.as_ref()))
    }

    /// Opens a file of a local store for reading without async; `None` in any other store.
    pub fn open_local_file(&self, key: &str) -> Option<Result<LocalFile>> {
        self.local_path(key).map(|path| LocalFile::open(&path, key))
    }

    /// Reads a whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        if let Some(path) = self.checked_local_path(key)? {
            let key = key.to_owned();
            return blocking(&key.clone(), move || {
                let file = LocalFile::open(&path, &key)?;
                file.read_range(0..file.size())
            })
            .await;
        }
        let path = self.object_path(key)?;
        let read = || async { self.inner.store.get(&path).await?.bytes().await };
        self.hedged(read).await.map_err(|error| failure::from_store(key, error))
    }

    /// Reads exactly `range`, in bytes; `Error::Corrupt` when the object ends before it does.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(path) = self.checked_local_path(key)? {
            let key = key.to_owned();
            return blocking(&key.clone(), move || LocalFile::open(&path, &key)?.read_range(range))
                .await;
        }
        let path = self.object_path(key)?;
        let read = || self.inner.store.get_range(&path, range.clone());
        let bytes = self.hedged(read).await.map_err(|error| failure::from_store(key, error))?;
        check_length(key, &range, &bytes)?;
        Ok(bytes)
    }

    /// Reads several ranges of one object, in the order given; ranges that lie close together are
    /// fetched with one request. Errors as [`Bucket::get_range`].
    pub async fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(path) = self.checked_local_path(key)? {
            let (key, ranges) = (key.to_owned(), ranges.to_vec());
            return blocking(&key.clone(), move || {
                let file = LocalFile::open(&path, &key)?;
                ranges.into_iter().map(|range| file.read_range(range)).collect()
            })
            .await;
        }
        // The client's own joining panics when an object is shorter than a range.
        let joined = ranges::join(ranges);
        let bytes: Vec<_> = futures_util::stream::iter(joined.clone())
            .map(|range| self.get_range(key, range))
            .buffered(READ_CONCURRENCY)
            .try_collect()
            .await?;
        Ok(ranges.iter().map(|range| ranges::cut(range, &joined, &bytes)).collect())
    }

    /// Length and modification time of an object.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo> {
        let path = self.object_path(key)?;
        let meta =
            self.inner.store.head(&path).await.map_err(|error| failure::from_store(key, error))?;
        self.object_info(&meta)
    }

    /// Writes an object, replacing any other.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        if let Some(path) = self.checked_local_path(key)? {
            return self.local_io(key, move || local::put_bytes(&path, &bytes)).await;
        }
        let path = self.object_path(key)?;
        let options = self.inner.write_options.put();
        let put = self.inner.store.put_opts(&path, PutPayload::from_bytes(bytes), options);
        put.await.map(drop).map_err(|error| failure::from_store(key, error))
    }

    /// Writes an object from a local file; returns its bytes. Needs memory for a few parts only,
    /// see [`S3Settings::upload_concurrency`]. The file must not change meanwhile.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<u64> {
        if let Some(path) = self.checked_local_path(key)? {
            let file = file.to_owned();
            return self.local_io(key, move || local::put_file(&path, &file)).await;
        }
        upload::put_file(self, key, file).await
    }

    /// Copies an object into a local file (replaced if it exists) in pieces; returns its bytes.
    pub async fn get_to_file(&self, key: &str, file: &Path) -> Result<u64> {
        if let Some(path) = self.checked_local_path(key)? {
            let file = file.to_owned();
            return self.local_io(key, move || std::fs::copy(path, file)).await;
        }
        upload::get_to_file(self, key, file).await
    }

    /// Deletes an object; fine when there is none.
    pub async fn delete(&self, key: &str) -> Result<()> {
        if let Some(path) = self.checked_local_path(key)? {
            return self.local_io(key, move || local::remove_file(&path)).await;
        }
        let path = self.object_path(key)?;
        match self.inner.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure::from_store(key, error)),
        }
    }

    /// Deletes several objects, a bounded number at a time; stops at the first error.
    pub async fn delete_all(&self, keys: Vec<String>) -> Result<()> {
        futures_util::stream::iter(keys)
            .map(|key| async move { self.delete(&key).await })
            .buffer_unordered(DELETE_CONCURRENCY)
            .try_collect()
            .await
    }

    /// All objects under the directory `prefix` (empty for the whole bucket), in no fixed order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        self.list_stream(prefix, None)?.try_collect().await
    }

    /// All objects under the directory `prefix`, page by page, from the first key after `after`.
    pub fn list_stream(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<ObjectInfo>>> {
        let directory = self.directory_path(prefix)?;
        let store = &self.inner.store;
        let listed = match after {
            Some(after) => store.list_with_offset(directory.as_ref(), &self.object_path(after)?),
            None => store.list(directory.as_ref()),
        };
        let (bucket, prefix) = (self.clone(), directory_name(prefix));
        let after = after.map(str::to_owned);
        Ok(listed
            .map(move |meta| {
                let meta = meta.map_err(|error| failure::from_store(&prefix, error))?;
                bucket.object_info(&meta)
            })
            // Some stores that speak S3 do not know the offset.
            .try_filter(move |object| {
                std::future::ready(after.as_ref().is_none_or(|after| object.key > *after))
            })
            .boxed())
    }

    /// The names of the directories right under `prefix` (empty for the first level), sorted.
    pub async fn list_directories(&self, prefix: &str) -> Result<Vec<String>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        if let Some(root) = self.inner.root.clone() {
            // An unmounted disk must not look like an empty bucket.
            let check = move || std::fs::read_dir(root).map(drop);
            self.local_io(&prefix, check).await.map_err(|error| Error::Unavailable {
                key: prefix.clone(),
                source: error.into(),
            })?;
        }
        let listed = self
            .inner
            .store
            .list_with_delimiter(directory.as_ref())
            .await
            .map_err(|error| failure::from_store(&prefix, error))?;
        let name = |path: ObjectPath| path.filename().map(str::to_owned);
        let mut names: Vec<_> = listed.common_prefixes.into_iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Renames `from` to `to` in a local store and makes it new; false in any other store.
    pub(crate) async fn rename_local_as_new(&self, from: &str, to: &str) -> Result<bool> {
        let paths = (self.checked_local_path(from)?, self.checked_local_path(to)?);
        let (Some(source), Some(target)) = paths else { return Ok(false) };
        self.local_io(from, move || local::rename_as_new(&source, &target)).await?;
        Ok(true)
    }

    /// Removes a directory of a local store at once; nothing in any other store.
    pub(crate) async fn remove_local_directory(&self, prefix: &str) -> Result<()> {
        match self.checked_local_path(prefix.trim_end_matches('/'))? {
            Some(path) => self.local_io(prefix, move || local::remove_directory(&path)).await,
            None => Ok(()),
        }
    }

    fn object_path(&self, key: &str) -> Result<ObjectPath> {
        let well_formed = !key.is_empty() && !key.starts_with('/') && !key.ends_with('/');
        ObjectPath::parse(join_prefix(&self.inner.prefix, key))
            .ok()
            .filter(|_| well_formed)
            .ok_or_else(|| Error::invalid("key", format!("{key:?} cannot be a key")))
    }

    fn directory_path(&self, prefix: &str) -> Result<Option<ObjectPath>> {
        let prefix = join_prefix(&self.inner.prefix, prefix.trim_end_matches('/'));
        let path = ObjectPath::parse(&prefix)
            .map_err(|error| Error::invalid("key", format!("{prefix:?}: {error}")))?;
        Ok((!path.is_root()).then_some(path))
    }

    fn checked_local_path(&self, key: &str) -> Result<Option<PathBuf>> {
        let Some(root) = &self.inner.root else { return Ok(None) };
        Ok(Some(root.join(self.object_path(key)?.as_ref())))
    }

    fn object_info(&self, meta: &ObjectMeta) -> Result<ObjectInfo> {
        let full = meta.location.as_ref();
        let key = full.strip_prefix(self.inner.prefix.as_str()).unwrap_or(full);
        let time = meta.last_modified;
        let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or_default();
        let last_modified = Timestamp::new(time.timestamp(), nanos)
            .map_err(|_| Error::corrupt("modification time", 0).with_key(full))?;
        let key = key.trim_start_matches('/').to_owned();
        Ok(ObjectInfo { key, size: meta.size, last_modified })
    }

    async fn local_io<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let name = key.to_owned();
        blocking(key, move || work().map_err(|error| failure::from_io(&name, error))).await
    }

    async fn hedged<T, F>(&self, read: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.inner.s3.hedge_at {
            Some(after) => hedge::first(read, after, self.inner.s3.hedge_up_to).await,
            None => read().await,
        }
    }
}

/// How errors call a listed directory; the first level has no name of its own.
fn directory_name(prefix: &str) -> String {
    if prefix.is_empty() { "/".into() } else { prefix.into() }
}

fn check_length(key: &str, range: &Range<u64>, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 == range.end - range.start {
        return Ok(());
    }
    let offset = range.start + bytes.len() as u64;
    Err(Error::Corrupt { what: "object length", key: key.into(), offset })
}

/// Runs file work off the async runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    key: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Unavailable { key: key.into(), source: error.into() })?
}

#[cfg(test)]
mod tests;
