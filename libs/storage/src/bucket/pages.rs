//! Guards against stores whose listings never end or repeat.

use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use object_store::list::PaginatedListOptions;
use object_store::path::{DELIMITER, Path as ObjectPath};
use object_store::{ListResult, ObjectMeta};

use super::{Bucket, failure};
use crate::error::{Error, Result};

/// After this many pages without an entry in a row, a listing is taken to have no end.
const MAX_EMPTY_PAGES: u32 = 1000;

/// The longest wait for the next entry of a listing: longer than a request with all its retries.
const MAX_PAUSE: Duration = Duration::from_secs(150);

/// The most entries right under a directory, which also limits the number of tenants.
const MAX_ENTRIES: usize = 1 << 20;

/// The most keys with the same path: with and without a slash before and behind (`x`, `x/`, `/x`, `/x/`).
const MAX_ALIKE: u32 = 4;

/// Detects a sequence of texts that starts again. Each text is compared with an earlier one, which is replaced at
/// growing distances. In a sequence that does not repeat, no text occurs more than [`MAX_ALIKE`] times.
#[derive(Debug, Default)]
struct Loop {
    kept: Option<String>,
    met: u32,
    since: u64,
    distance: u64,
}

impl Loop {
    fn closes_with(&mut self, text: &str) -> bool {
        if self.kept.as_deref() == Some(text) {
            self.met += 1;
            return self.met > MAX_ALIKE;
        }
        if self.since == self.distance {
            self.kept = Some(text.to_owned());
            (self.met, self.since, self.distance) = (0, 0, (2 * self.distance).max(1));
        }
        self.since += 1;
        false
    }
}

type Objects = BoxStream<'static, object_store::Result<ObjectMeta>>;

/// The objects of a listing, until they repeat or nothing comes any more.
pub(super) fn guarded(
    directory: String,
    objects: Objects,
) -> BoxStream<'static, Result<ObjectMeta>> {
    within(MAX_PAUSE, directory, objects)
}

fn within(
    pause: Duration,
    directory: String,
    objects: Objects,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let state = (directory, objects, Loop::default());
    let next = move |(directory, mut objects, mut seen): (String, Objects, Loop)| async move {
        let Ok(next) = tokio::time::timeout(pause, objects.next()).await else {
            return Err(endless(&directory, "it goes on without an object"));
        };
        let Some(object) = next else { return Ok(None) };
        let object = object.map_err(|error| failure::from_store(&directory, error))?;
        if seen.closes_with(object.location.as_ref()) {
            return Err(endless(&directory, "it names the same objects again"));
        }
        Ok(Some((object, (directory, objects, seen))))
    };
    futures_util::stream::try_unfold(state, next).boxed()
}

fn endless(directory: &str, how: &str) -> Error {
    let source = format!("the listing has no end: {how}").into();
    Error::Unavailable { key: directory.to_owned(), source }
}

impl Bucket {
    /// What is right under a directory: objects, and directories as common prefixes.
    pub(super) async fn entries(
        &self,
        name: &str,
        directory: Option<&ObjectPath>,
    ) -> Result<ListResult> {
        let failed = |error| failure::from_store(name, error);
        let Some(pages) = &self.inner.pages else {
            return self.inner.store.list_with_delimiter(directory).await.map_err(failed);
        };
        let prefix = directory.map(|path| format!("{path}{DELIMITER}"));
        let (mut all, mut tokens, mut empty) = (nothing(), Loop::default(), 0);
        let mut options = one_level();
        loop {
            let page = pages.list_paginated(prefix.as_deref(), options).await.map_err(failed)?;
            let found = page.result.objects.len() + page.result.common_prefixes.len();
            all.objects.extend(page.result.objects);
            all.common_prefixes.extend(page.result.common_prefixes);
            let Some(token) = page.page_token else { break };
            empty = if found == 0 { empty + 1 } else { 0 };
            if tokens.closes_with(&token) || empty > MAX_EMPTY_PAGES {
                return Err(endless(name, "its pages repeat or are empty"));
            }
            if all.objects.len() + all.common_prefixes.len() > MAX_ENTRIES {
                let source = format!("there are more than {MAX_ENTRIES} entries").into();
                return Err(Error::Unavailable { key: name.to_owned(), source });
            }
            options = PaginatedListOptions { page_token: Some(token), ..one_level() };
        }
        all.common_prefixes.sort_unstable();
        all.common_prefixes.dedup();
        Ok(all)
    }
}

fn one_level() -> PaginatedListOptions {
    PaginatedListOptions { delimiter: Some(DELIMITER.into()), ..PaginatedListOptions::default() }
}

fn nothing() -> ListResult {
    ListResult { common_prefixes: vec![], objects: vec![], extensions: Default::default() }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use proptest::prelude::*;

    use super::*;

    fn object(name: usize) -> object_store::Result<ObjectMeta> {
        Ok(ObjectMeta {
            location: format!("t/{name}").into(),
            last_modified: Default::default(),
            size: 1,
            e_tag: None,
            version: None,
        })
    }

    proptest! {
        #[test]
        fn sequence_that_begins_anew_is_noticed(before in 0usize..300, length in 1usize..300) {
            let mut seen = Loop::default();
            let names = (0..before).chain((before..before + length).cycle());
            let noticed = names.take(32 * (before + length) + 64).position(|n| seen.closes_with(&n.to_string()));
            prop_assert!(noticed.is_some_and(|at| at >= before + length));
        }

        #[test]
        fn distinct_texts_are_no_loop(count in 0usize..2000) {
            let mut seen = Loop::default();
            prop_assert!((0..count).all(|name| !seen.closes_with(&name.to_string())));
        }
    }

    #[test]
    fn keys_that_one_path_calls_are_no_loop() {
        for count in 0..200 {
            let names = (0..count).flat_map(|name| [name; MAX_ALIKE as usize]);
            let mut seen = Loop::default();
            assert!(names.into_iter().all(|name| !seen.closes_with(&name.to_string())));
        }
    }

    #[tokio::test]
    async fn listing_that_repeats_is_an_error_and_one_that_ends_is_none() {
        let listed = |names: Vec<usize>| {
            guarded("t".into(), futures_util::stream::iter(names.into_iter().map(object)).boxed())
        };
        assert_eq!(listed((0..5000).collect()).count().await, 5000);
        let endless = futures_util::stream::iter((0..1000).cycle().map(object)).boxed();
        let error = guarded("t".into(), endless).try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }

    #[tokio::test]
    async fn listing_that_stops_in_the_middle_is_an_error() {
        let stuck = futures_util::stream::iter([object(1)]).chain(futures_util::stream::pending());
        let listed = within(Duration::from_millis(5), "t".into(), stuck.boxed());
        assert!(listed.try_collect::<Vec<_>>().await.is_err());
    }
}
