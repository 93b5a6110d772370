//! Checks that a bucket can be used, before anything relies on it.

use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use uuid::Uuid;

use super::diagnosis::{self, Step};
use super::{Bucket, Provider, answers};
use crate::error::{Error, Result};

/// The prefix of the names of objects that test whether writing works. They are in the root, where only directories
/// are tenants.
const PROBE_PREFIX: &str = "tactus-check-";

impl Bucket {
    /// Tries what a server does with a bucket: lists it, writes a small object, reads and deletes
    /// it.
    ///
    /// Errors: `Error::Unusable` with a sentence for the operator; retryable when it may pass by itself. If only
    /// deleting fails, that is logged as a warning.
    pub async fn check(&self) -> Result<()> {
        self.check_reading().await?;
        let key = format!("{PROBE_PREFIX}{}", Uuid::new_v4());
        let written = self.try_writing(&key).await;
        let deleted = self.try_step(Step::Delete, self.remove(&key)).await;
        written?;
        if let Err(error) = deleted {
            let error = tactus_telemetry::error_text(&error);
            tracing::warn!(
                error,
                key,
                "nothing can be deleted: retention and compaction will fail"
            );
        }
        Ok(())
    }

    /// As [`Bucket::check`] for those who only read.
    pub async fn check_reading(&self) -> Result<()> {
        let target = &self.inner.target;
        if self.inner.root.is_some() {
            let listed = self.list_directories("").await;
            return listed.map(drop).map_err(|error| diagnosis::local(target, Step::List, error));
        }
        if !matches!(target.credentials.provider, Provider::Nobody) {
            self.try_step(Step::Credentials, target.credentials.get()).await?;
        }
        let directory = self.directory_path("")?;
        let list = self.inner.store.list_with_delimiter(directory.as_ref());
        self.try_step(Step::List, list).await.map(drop)
    }

    async fn try_writing(&self, key: &str) -> Result<()> {
        const CONTENT: &[u8] = b"can this bucket be written to?";
        if self.inner.root.is_some() {
            let target = &self.inner.target;
            let explain = |step| move |error| diagnosis::local(target, step, error);
            self.put(key, Bytes::from_static(CONTENT)).await.map_err(explain(Step::Write))?;
            return self.get(key).await.map(drop).map_err(explain(Step::Read));
        }
        let path = self.object_path(key)?;
        let store = &self.inner.store;
        let options = self.inner.write_options.put(PutMode::Overwrite);
        let payload = PutPayload::from_static(CONTENT);
        self.try_step(Step::Write, store.put_opts(&path, payload, options)).await?;
        let longest = CONTENT.len() as u64;
        let read = async { answers::object(store.get(&path).await?, longest).await };
        let bytes = self.try_step(Step::Read, read).await?.unwrap_or_default();
        if bytes != CONTENT {
            let sentence =
                format!("{} gives back other bytes than were written", self.inner.target.address);
            let source = format!("{} bytes in {key}", bytes.len()).into();
            return Err(Error::Unusable { sentence, passing: false, source });
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> object_store::Result<()> {
        if self.inner.root.is_some() {
            // The kind of error is not needed: the directory was writable a moment ago.
            return self.delete(key).await.map_err(|error| object_store::Error::Generic {
                store: "local",
                source: error.into(),
            });
        }
        let path =
            object_store::path::Path::parse(crate::layout::join_prefix(&self.inner.prefix, key))?;
        match self.inner.store.delete(&path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn try_step<T>(
        &self,
        step: Step,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        request.await.map_err(|error| diagnosis::remote(&self.inner.target, step, error))
    }
}
