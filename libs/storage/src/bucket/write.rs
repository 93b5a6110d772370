//! Writing and deleting whole objects.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::{Bucket, failure, local};
use crate::error::{Error, Result};

/// Deletes in flight when a block or a tenant is cleared.
const DELETE_CONCURRENCY: usize = 16;
/// Attempts at a conditional write that the store neither completes nor refuses.
const CONFLICT_TRIES: u32 = 5;
/// First pause between these attempts; each further one is longer.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

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

    /// Writes an object unless there is one under this key; false means that there is. Of several
    /// writers at once exactly one is told true.
    ///
    /// Trap: if the answer to a write is lost, the retry finds the object of the first attempt, and this returns
    /// false. A caller that must know puts something unique into the bytes and reads them back.
    ///
    /// Errors: `Error::Unsupported` when the store has no conditional writes (some S3-alikes ignore
    /// the condition without a word).
    pub async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<bool> {
        if let Some(path) = self.checked_local_path(key)? {
            return self.local_io(key, move || local::put_if_absent(&path, &bytes)).await;
        }
        let path = self.object_path(key)?;
        let (mut pause, mut tries) = (CONFLICT_PAUSE, 1);
        loop {
            let options = self.inner.write_options.put(PutMode::Create);
            let payload = PutPayload::from_bytes(bytes.clone());
            match self.inner.store.put_opts(&path, payload, options).await {
                Ok(_) => return Ok(true),
                Err(error) if failure::is_undecided(&error) => {
                    if tries == CONFLICT_TRIES {
                        return Err(Error::Unavailable { key: key.into(), source: error.into() });
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
                Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
                Err(error) => return Err(failure::from_store(key, error)),
            }
        }
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
