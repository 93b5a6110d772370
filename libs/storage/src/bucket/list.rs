//! Listing a bucket.

use std::path::PathBuf;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path as ObjectPath;

use super::local::Root;
use super::walk::{self, Found, Walk};
use super::{Bucket, ObjectInfo, pages};
use crate::error::{Error, Result};
use crate::layout::join_prefix;

/// Files of a local store that are looked at before others may use the thread.
const FILES_AT_A_TIME: usize = 1024;

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
        let object = |found| match found {
            Found::Object(object) => Ok(object),
            Found::Unread { error, .. } => Err(error),
        };
        let found = self.list_found(prefix, after)?;
        Ok(found.and_then(move |found| std::future::ready(object(found))).boxed())
    }

    /// As [`Bucket::list_stream`], but goes on behind what a local store has and cannot be looked at.
    pub(crate) fn list_found(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<BoxStream<'static, Result<Found>>> {
        let directory = self.directory_path(prefix)?;
        let listed = match (&self.inner.root, after) {
            (Some(root), _) => self.walk(root, directory.as_ref(), prefix),
            (None, Some(after)) => {
                let after = self.object_path(after)?;
                self.objects(self.inner.store.list_with_offset(directory.as_ref(), &after), prefix)
            }
            (None, None) => self.objects(self.inner.store.list(directory.as_ref()), prefix),
        };
        let after = after.map(str::to_owned);
        let within = directory_start(prefix);
        // Some stores that speak S3 do not know the offset. One that does not know prefixes must not have a bucket
        // deleted because a block is.
        let is_wanted = move |found: &Found| match found {
            Found::Object(object) => {
                let is_behind = after.as_ref().is_none_or(|after| object.key > *after);
                is_behind && object.key.starts_with(&within)
            }
            Found::Unread { .. } => true,
        };
        Ok(listed.try_filter(move |found| std::future::ready(is_wanted(found))).boxed())
    }

    /// What the client of a store lists.
    fn objects(
        &self,
        listed: BoxStream<'static, object_store::Result<ObjectMeta>>,
        prefix: &str,
    ) -> BoxStream<'static, Result<Found>> {
        let bucket = self.clone();
        pages::guarded(directory_name(prefix), listed)
            .map(move |meta| bucket.object_info(&meta?).map(Found::Object))
            .boxed()
    }

    /// What a local store has in a directory, some files at a time.
    fn walk(
        &self,
        root: &Root,
        directory: Option<&ObjectPath>,
        prefix: &str,
    ) -> BoxStream<'static, Result<Found>> {
        let (bucket, name) = (self.clone(), directory_name(prefix));
        let (path, key) = place_of(root, directory);
        let some = move |walk: Option<Walk>| {
            let (bucket, path, key, name) =
                (bucket.clone(), path.clone(), key.clone(), name.clone());
            async move {
                let read = move || {
                    let mut walk = match walk {
                        Some(walk) => walk,
                        None => Walk::start(path, &key)?,
                    };
                    let found: Vec<_> = walk.by_ref().take(FILES_AT_A_TIME).collect();
                    Ok((found, walk))
                };
                let (found, walk) = bucket.local_read(&name, read).await?;
                Ok::<_, Error>((!found.is_empty()).then_some((found, Some(walk))))
            }
        };
        stream::try_unfold(None, some)
            .map_ok(|found| stream::iter(found.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .boxed()
    }

    /// The names of the directories right under `prefix` (empty for the first level), sorted.
    pub async fn list_directories(&self, prefix: &str) -> Result<Vec<String>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        if let Some(root) = &self.inner.root {
            let (path, key) = place_of(root, directory.as_ref());
            let mut names =
                self.local_read(&prefix, move || walk::directories(&path, &key)).await?;
            names.sort_unstable();
            return Ok(names);
        }
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

    /// The objects right under `prefix` (empty for the first level) whose names begin with `start`, without those in
    /// directories, sorted by key.
    pub async fn list_files(&self, prefix: &str, start: &str) -> Result<Vec<ObjectInfo>> {
        let directory = self.directory_path(prefix)?;
        let prefix = directory_name(prefix);
        if let Some(root) = &self.inner.root {
            let ((path, key), start) = (place_of(root, directory.as_ref()), start.to_owned());
            let list = move || walk::files(&path, &key, &start);
            let mut files = self.local_read(&prefix, list).await?;
            files.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            return Ok(files);
        }
        let listed = self.entries(&prefix, directory.as_ref()).await?;
        let objects = listed.objects.iter().map(|object| self.object_info(object));
        let mut objects = objects.collect::<Result<Vec<_>>>()?;
        let within = directory_start(&prefix);
        objects.retain(|object| {
            let name = object.key.strip_prefix(&within);
            name.is_some_and(|name| name.starts_with(start) && !name.contains('/'))
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

/// Where a local store has a directory, and the key of the directory; empty for the root.
fn place_of(root: &Root, directory: Option<&ObjectPath>) -> (PathBuf, String) {
    let key = directory.map_or("", AsRef::as_ref).to_owned();
    (root.path().join(&key), key)
}

/// The name of a listed directory in errors; `/` for the root.
fn directory_name(prefix: &str) -> String {
    if prefix.is_empty() { "/".into() } else { prefix.into() }
}
