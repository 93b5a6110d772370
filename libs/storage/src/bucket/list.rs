//! Listing a bucket.

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;

use super::{Bucket, ObjectInfo, pages};
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
        let (bucket, name) = (self.clone(), directory_name(prefix));
        // The listing of a directory that is gone is empty.
        let end = stream::once(async move { bucket.check_root(&name).await.err() })
            .filter_map(|error| std::future::ready(error.map(Err)));
        let bucket = self.clone();
        let after = after.map(str::to_owned);
        let within = directory_start(prefix);
        Ok(pages::guarded(directory_name(prefix), listed)
            .map(move |meta| bucket.object_info(&meta?))
            // Some stores that speak S3 do not know the offset. One that does not know prefixes must not have a bucket
            // deleted because a block is.
            .try_filter(move |object| {
                let is_behind = after.as_ref().is_none_or(|after| object.key > *after);
                std::future::ready(is_behind && object.key.starts_with(&within))
            })
            .chain(end)
            .boxed())
    }

    /// The names of the directories right under `prefix` (empty for the first level), sorted.
    pub async fn list_directories(&self, prefix: &str) -> Result<Vec<String>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        let listed = self.entries(&prefix, directory.as_ref()).await?;
        let name = |path: ObjectPath| {
            let name = path.filename()?;
            let parent = path.as_ref().strip_suffix(name)?.trim_end_matches('/');
            (parent == directory.as_ref().map_or("", AsRef::as_ref)).then(|| name.to_owned())
        };
        let mut names: Vec<_> = listed.common_prefixes.into_iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The objects right under `prefix` (empty for the first level), without those in directories, sorted by key.
    pub async fn list_files(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        let listed = self.entries(&prefix, directory.as_ref()).await?;
        let objects = listed.objects.iter().map(|object| self.object_info(object));
        let mut objects = objects.collect::<Result<Vec<_>>>()?;
        let within = directory_start(&prefix);
        objects.retain(|object| {
            object.key.strip_prefix(&within).is_some_and(|name| !name.contains('/'))
        });
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

/// The prefix of the keys of all objects in a directory.
fn directory_start(prefix: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// The name of a listed directory in errors; `/` for the root.
fn directory_name(prefix: &str) -> String {
    if prefix.is_empty() { "/".into() } else { prefix.into() }
}
