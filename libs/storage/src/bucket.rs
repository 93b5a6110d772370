//! A bucket of objects: a local directory, S3, Google or Azure, behind one set of calls.
//!
//! Keys are `/`-joined names without a leading slash; a configured prefix is added and taken away
//! here. A write is all or nothing: readers see the old object or the new one.

mod answers;
mod azure;
mod check;
mod client;
mod conditional;
mod credential_answers;
mod credential_servers;
mod credentials;
mod diagnosis;
mod failure;
mod file_work;
mod gcs;
mod hedge;
mod kms;
mod list;
mod local;
mod metrics;
mod options;
mod pages;
mod ranges;
mod region;
mod s3;
mod settings;
mod target;
mod walk;
mod write;
mod writer;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result};
use crate::layout::join_prefix;

use options::{Transfer, WriteOptions};
use target::{Provider, Target};

pub(crate) use file_work::{blocking, blocking_write, off_runtime};
pub use local::LocalFile;
pub use settings::BucketSettings;
pub(crate) use walk::Found;
pub use writer::ObjectWriter;

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
    /// The same store, for listings page by page.
    pages: Option<Arc<dyn PaginatedListStore>>,
    prefix: String,
    /// Of a local store.
    root: Option<Arc<local::Root>>,
    transfer: Transfer,
    write_options: WriteOptions,
    /// Listings of one directory that may run side by side.
    list_concurrency: usize,
    target: Target,
}

impl Inner {
    fn remote(store: impl ObjectStore + PaginatedListStore, target: Target, prefix: &str) -> Self {
        let store = Arc::new(store);
        let pages: Arc<dyn PaginatedListStore> = Arc::clone(&store) as _;
        Self { pages: Some(pages), ..Self::on(store, target, prefix) }
    }

    fn on(store: Arc<dyn ObjectStore>, target: Target, prefix: &str) -> Self {
        Self {
            store,
            pages: None,
            prefix: prefix.trim_matches('/').to_owned(),
            root: None,
            transfer: Transfer::default(),
            write_options: WriteOptions::default(),
            list_concurrency: 1,
            target,
        }
    }
}

/// Errors: a prefix that no key can have, or that the store's listings do not find.
fn check_prefix(settings: &BucketSettings) -> Result<()> {
    let (what, prefix, is_azure) = match settings {
        BucketSettings::Local { .. } => return Ok(()),
        BucketSettings::S3(settings) => ("s3 prefix", &settings.prefix, false),
        BucketSettings::Gcs(settings) => ("gcs prefix", &settings.prefix, false),
        BucketSettings::Azure(settings) => ("azure prefix", &settings.prefix, true),
    };
    // Azure keeps a backslash as a slash.
    if is_azure && prefix.contains('\\') {
        return Err(Error::invalid(what, "a prefix holds no backslash"));
    }
    let parsed = ObjectPath::parse(prefix.trim_matches('/'));
    parsed.map(drop).map_err(|error| Error::invalid(what, error.to_string()))
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
    /// Opens the bucket. Makes no request to a remote store: use [`Bucket::check`] for that.
    ///
    /// Errors: `Error::Invalid` for bad settings or, with a remote store, when no TLS provider is
    /// installed in the process; `Unusable` when a local root cannot be created.
    pub fn open(settings: &BucketSettings) -> Result<Self> {
        metrics::register();
        check_prefix(settings)?;
        let inner = match settings {
            BucketSettings::Local { path } => Self::open_local(path)?,
            BucketSettings::S3(settings) => {
                let (store, target) = s3::build(settings)?;
                Inner {
                    transfer: Transfer::of_s3(settings),
                    write_options: WriteOptions::of_s3(settings)?,
                    list_concurrency: settings.list_blocks_concurrency.max(1),
                    ..Inner::remote(store, target, &settings.prefix)
                }
            }
            BucketSettings::Gcs(settings) => {
                let (store, target) = gcs::build(settings)?;
                Inner {
                    transfer: Transfer::of_gcs(settings),
                    write_options: WriteOptions::of_gcs(settings)?,
                    list_concurrency: settings.list_blocks_concurrency.max(1),
                    ..Inner::remote(store, target, &settings.prefix)
                }
            }
            BucketSettings::Azure(settings) => {
                let (store, target) = azure::build(settings)?;
                Inner {
                    transfer: Transfer::of_azure(settings),
                    ..Inner::remote(store, target, &settings.prefix)
                }
            }
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A bucket on any store, for tests of what a store may do.
    #[cfg(test)]
    pub(crate) fn on(store: impl ObjectStore) -> Self {
        Self { inner: Arc::new(Inner::on(Arc::new(store), Target::local("test"), "")) }
    }

    fn open_local(path: &Path) -> Result<Inner> {
        let name = path.display().to_string();
        let root = local::Root::open(path).map_err(|error| diagnosis::local_root(&name, error))?;
        let store = LocalFileSystem::new_with_prefix(root.path())
            .map_err(|error| failure::from_store(&name, error))?;
        let root = Some(Arc::new(root));
        Ok(Inner { root, ..Inner::on(Arc::new(store), Target::local(&name), "") })
    }

    /// Listings of one tenant that may run side by side, as configured; 1 in a store that has no setting for it.
    pub fn list_concurrency(&self) -> usize {
        self.inner.list_concurrency
    }

    /// The file of `key` in a local store; `None` in any other. The file need not exist.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let root = self.inner.root.as_ref()?;
        let path = ObjectPath::parse(key).ok()?;
        Some(root.path().join(path.as_ref()))
    }

    /// Opens a file of a local store for reading without async; `None` in any other store.
    pub fn open_local_file(&self, key: &str) -> Option<Result<LocalFile>> {
        let (root, path) = (self.inner.root.as_ref()?, self.local_path(key)?);
        let opened = LocalFile::open(&path, key);
        Some(root.check(key).and(opened))
    }

    /// Reads a whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes> {
        self.get_at_most(key, u64::MAX).await
    }

    /// Reads a whole object of this many bytes at most. `Error::Corrupt` where it is larger: then nothing of it is kept in memory.
    pub async fn get_at_most(&self, key: &str, max_bytes: u64) -> Result<Bytes> {
        if let Some(path) = self.checked_local_path(key)? {
            let name = key.to_owned();
            let read = move || {
                let file = LocalFile::open(&path, &name)?;
                match file.size() {
                    size if size > max_bytes => Err(too_large(&name, max_bytes)),
                    size => file.read_range(0..size),
                }
            };
            return self.local_read(key, read).await;
        }
        let path = self.object_path(key)?;
        let read =
            || async { answers::object(self.inner.store.get(&path).await?, max_bytes).await };
        let bytes = self.hedged(read).await.map_err(|error| failure::from_store(key, error))?;
        bytes.ok_or_else(|| too_large(key, max_bytes))
    }

    /// Reads exactly `range`, in bytes; `Error::Corrupt` when the object ends before it does.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(path) = self.checked_local_path(key)? {
            let name = key.to_owned();
            let read = move || LocalFile::open(&path, &name)?.read_range(range);
            return self.local_read(key, read).await;
        }
        let path = self.object_path(key)?;
        let read = || async {
            let options = GetOptions::new().with_range(Some(range.clone()));
            let found = self.inner.store.get_opts(&path, options).await?;
            answers::object(found, range.end - range.start).await
        };
        let bytes = self.hedged(read).await.map_err(|error| failure::from_store(key, error))?;
        let bytes = bytes.ok_or_else(|| too_large(key, range.end))?;
        check_length(key, &range, &bytes)?;
        Ok(bytes)
    }

    /// Reads several ranges of one object, in the order given; ranges that lie close together are
    /// fetched with one request. Errors as [`Bucket::get_range`].
    pub async fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(path) = self.checked_local_path(key)? {
            let (name, ranges) = (key.to_owned(), ranges.to_vec());
            return self
                .local_read(key, move || {
                    let file = LocalFile::open(&path, &name)?;
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
        if let Some(path) = self.checked_local_path(key)? {
            let name = key.to_owned();
            return self.local_read(key, move || local::info(&path, name)).await;
        }
        let path = self.object_path(key)?;
        let meta =
            self.inner.store.head(&path).await.map_err(|error| failure::from_store(key, error))?;
        self.object_info(&meta)
    }

    /// As [`Bucket::head`]; `None` if there is no such object.
    pub(crate) async fn find(&self, key: &str) -> Result<Option<ObjectInfo>> {
        match self.head(key).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if there is an object under `key`. Costs as much as [`Bucket::head`].
    pub async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.find(key).await?.is_some())
    }

    /// True if a local store has something under this name that is no object: a directory, a pipe, a link to nothing.
    pub(crate) async fn is_obstructed(&self, key: &str) -> Result<bool> {
        let Some(path) = self.checked_local_path(key)? else { return Ok(false) };
        let look = move || std::fs::symlink_metadata(&path).is_ok() && !path.is_file();
        self.local_read(key, move || Ok(look())).await
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

    fn checked_local_path(&self, key: &str) -> Result<Option<PathBuf>> {
        let Some(root) = &self.inner.root else { return Ok(None) };
        Ok(Some(root.path().join(self.object_path(key)?.as_ref())))
    }

    /// Reads files. Also a file that is not found counts only while the root is there.
    async fn local_read<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (root, name) = (self.inner.root.clone(), key.to_owned());
        blocking(key, move || {
            let done = work();
            root.map_or(Ok(()), |root| root.check(&name)).and(done)
        })
        .await
    }

    /// Changes files.
    async fn local_io<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (root, name) = (self.inner.root.clone(), key.to_owned());
        blocking_write(key, move || {
            root.map_or(Ok(()), |root| root.check_for_change(&name))?;
            work().map_err(|error| failure::from_io(&name, error))
        })
        .await
    }

    async fn hedged<T, F>(&self, read: impl Fn() -> F) -> object_store::Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.inner.transfer.hedge {
            Some((after, up_to)) => hedge::first(read, after, up_to).await,
            None => read().await,
        }
    }
}

/// An object has more bytes than there may be of it.
fn too_large(key: &str, max_bytes: u64) -> Error {
    Error::Corrupt { what: "object size", key: key.into(), offset: max_bytes }
}

fn check_length(key: &str, range: &Range<u64>, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 == range.end - range.start {
        return Ok(());
    }
    let offset = range.start + bytes.len() as u64;
    Err(Error::Corrupt { what: "object length", key: key.into(), offset })
}

#[cfg(test)]
mod tests;
