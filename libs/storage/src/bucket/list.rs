//! Listing a bucket.

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;

use super::{Bucket, ObjectInfo, failure};
use crate::error::{Error, Result};
use crate::layout::join_prefix;

impl Bucket {
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
            self.local_io(&prefix, check).await.map_err(|error| match error {
                Error::Denied { .. } => error,
                _ => Error::Unavailable { key: prefix.clone(), source: error.into() },
            })?;
        }
        let listed = self.inner.store.list_with_delimiter(directory.as_ref()).await;
        let listed = listed.map_err(|error| failure::from_store(&prefix, error))?;
        let name = |path: ObjectPath| path.filename().map(str::to_owned);
        let mut names: Vec<_> = listed.common_prefixes.into_iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The objects right under `prefix` (empty for the first level), without those in directories, sorted by key.
    pub async fn list_files(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        let listed = self.inner.store.list_with_delimiter(directory.as_ref()).await;
        let listed = listed.map_err(|error| failure::from_store(&prefix, error))?;
        let objects = listed.objects.iter().map(|object| self.object_info(object));
        let mut objects = objects.collect::<Result<Vec<_>>>()?;
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    pub(super) fn directory_path(&self, prefix: &str) -> Result<Option<ObjectPath>> {
        let prefix = join_prefix(&self.inner.prefix, prefix.trim_end_matches('/'));
        let path = ObjectPath::parse(&prefix)
            .map_err(|error| Error::invalid("key", format!("{prefix:?}: {error}")))?;
        Ok((!path.is_root()).then_some(path))
    }
}

/// How errors call a listed directory; the first level has no name of its own.
fn directory_name(prefix: &str) -> String {
    if prefix.is_empty() { "/".into() } else { prefix.into() }
}
