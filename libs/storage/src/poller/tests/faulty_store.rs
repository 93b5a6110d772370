//! A store in memory that lists late, forgets, or fails now and then.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;

/// What goes wrong. Keys are matched by their end.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Listings show this and no more, while it is set.
    pub(super) frozen: Mutex<Option<Vec<ObjectMeta>>>,
    /// Reads of these keys fail, so many times.
    failing: Mutex<Vec<(String, usize)>>,
    /// Reads of these keys find nothing, so many times.
    hidden: Mutex<Vec<(String, usize)>>,
    /// These are deleted right after a listing.
    pub(super) vanishing: Mutex<HashSet<Path>>,
    reads: AtomicUsize,
    /// Tenants cannot be listed.
    down: AtomicBool,
}

/// Takes one of the times that something is to happen to a key; false if there is none.
fn takes_one(faults: &Mutex<Vec<(String, usize)>>, key: &str) -> bool {
    let mut faults = faults.lock().unwrap();
    let found = faults.iter_mut().find(|(end, times)| *times > 0 && key.ends_with(&**end));
    found.map(|(_, times)| *times -= 1).is_some()
}

#[derive(Debug, Clone)]
pub(super) struct FaultyStore {
    inner: Arc<InMemory>,
    pub(super) faults: Arc<Faults>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn failure() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "try later".into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.faults.reads.fetch_add(1, Ordering::SeqCst);
        if takes_one(&self.faults.failing, location.as_ref()) {
            return Err(failure());
        }
        if takes_one(&self.faults.hidden, location.as_ref()) {
            let (path, source) = (location.to_string(), "not yet".into());
            return Err(object_store::Error::NotFound { path, source });
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let listed: Vec<_> = match &*self.faults.frozen.lock().unwrap() {
            Some(frozen) => frozen
                .iter()
                .filter(|object| prefix.is_none_or(|prefix| object.location.prefix_matches(prefix)))
                .cloned()
                .collect(),
            None => self.now(prefix),
        };
        let vanishing = self.faults.vanishing.lock().unwrap().drain().map(Ok).collect::<Vec<_>>();
        let gone = self.inner.delete_stream(stream::iter(vanishing).boxed());
        gone.try_collect::<Vec<_>>().now_or_never().unwrap().unwrap();
        stream::iter(listed.into_iter().map(Ok)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        if self.faults.down.load(Ordering::SeqCst) {
            return Err(failure());
        }
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        if let Some(frozen) = &*self.faults.frozen.lock().unwrap() {
            let is_there = |prefix: &Path| frozen.iter().any(|o| o.location.prefix_matches(prefix));
            listed.common_prefixes.retain(is_there);
        }
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl FaultyStore {
    pub(super) fn new() -> (Self, Store) {
        let store = Self { inner: Arc::default(), faults: Arc::default() };
        let directory = tempfile::tempdir().unwrap();
        let bucket = Bucket::on(store.clone());
        (store, Store { _directory: directory, bucket })
    }

    fn now(&self, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        self.inner.list(prefix).try_collect().now_or_never().unwrap().unwrap()
    }

    /// Listings stay as they are now.
    pub(super) fn freeze_listing(&self) {
        *self.faults.frozen.lock().unwrap() = Some(self.now(None));
    }

    pub(super) fn thaw_listing(&self) {
        *self.faults.frozen.lock().unwrap() = None;
    }

    pub(super) fn set_down(&self, down: bool) {
        self.faults.down.store(down, Ordering::SeqCst);
    }

    pub(super) fn fail(&self, end: &str, times: usize) {
        self.faults.failing.lock().unwrap().push((end.to_owned(), times));
    }

    pub(super) fn hide(&self, end: &str, times: usize) {
        self.faults.hidden.lock().unwrap().push((end.to_owned(), times));
    }

    pub(super) fn reads(&self) -> usize {
        self.faults.reads.swap(0, Ordering::SeqCst)
    }
}
