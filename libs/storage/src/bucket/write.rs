//! Writing and deleting whole objects.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::{Bucket, failure, local};
use crate::error::Result;

/// Deletes in flight when a block or a tenant is cleared.
const DELETE_CONCURRENCY: usize = 16;

impl Bucket {
    /// Writes an object, replacing any other.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        if let Some(path) = self.checked_local_path(key)? {
            return self.local_io(key, move || local::put_bytes(&path, &bytes)).await;
        }
        let path = self.object_path(key)?;
        let options = self.inner.write_options.put(PutMode::Overwrite);
        let put = self.inner.store.put_opts(&path, PutPayload::from_bytes(bytes), options);
        put.await.map(drop).map_err(|error| failure::from_store(key, error))
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

    /// Deletes several objects; stops at the first error.
    pub async fn delete_all(&self, keys: Vec<String>) -> Result<()> {
        let deleted = stream::iter(keys).map(|key| async move { self.delete(&key).await });
        deleted.buffer_unordered(DELETE_CONCURRENCY).try_collect().await
    }
}
