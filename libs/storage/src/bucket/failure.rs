//! Converts errors of files and object stores into ours.

use std::error::Error as StdError;
use std::io;

use rustix::io::Errno;

use crate::error::{Error, Source};

/// The store's client does not export its status; its text does, behind these words.
pub(super) const STATUS_WORDS: &str = "Server returned non-2xx status code: ";

pub(super) fn from_io(key: &str, error: io::Error) -> Error {
    use io::ErrorKind as Kind;
    let key = key.to_owned();
    // A link to itself does not pass, unlike what is unavailable.
    if Errno::from_io_error(&error) == Some(Errno::LOOP) {
        return Error::Corrupt { what: "link", key, offset: 0 };
    }
    match error.kind() {
        Kind::NotFound | Kind::NotADirectory => Error::NotFound { key },
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            Error::Denied { key, source: error.into() }
        }
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            Error::Full { key, source: error.into() }
        }
        Kind::UnexpectedEof => Error::Corrupt { what: "object length", key, offset: 0 },
        Kind::InvalidFilename | Kind::IsADirectory => {
            Error::Invalid { what: "key", reason: format!("{key}: {error}") }
        }
        _ => Error::Unavailable { key, source: error.into() },
    }
}

pub(super) fn from_store(key: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let invalid = |reason: String| Error::Invalid { what: "storage request", reason };
    match error {
        Store::NotFound { .. } => Error::NotFound { key: key.into() },
        Store::PermissionDenied { source, .. } | Store::Unauthenticated { source, .. } => {
            Error::Denied { key: key.into(), source }
        }
        Store::InvalidPath { source } => Error::invalid("key", format!("{key}: {source}")),
        error @ (Store::NotSupported { .. } | Store::NotImplemented { .. }) => {
            Error::Unsupported { key: key.into(), source: error.into() }
        }
        error @ Store::UnknownConfigurationKey { .. } => invalid(format!("{key}: {error}")),
        Store::Generic { source, .. } => from_generic(key, source),
        other => Error::Unavailable { key: key.into(), source: other.into() },
    }
}

fn from_generic(key: &str, source: Source) -> Error {
    let io_error = causes(&*source).find_map(|cause| cause.downcast_ref::<io::Error>());
    if let Some(code) = io_error.and_then(io::Error::raw_os_error) {
        // Built anew because the original is owned by its chain.
        let mapped = from_io(key, io::Error::from_raw_os_error(code));
        if !matches!(mapped, Error::Unavailable { .. }) {
            return mapped;
        }
    }
    let key = key.to_owned();
    let text =
        causes(&*source).map(ToString::to_string).find(|text| text.starts_with(STATUS_WORDS));
    let status = text.as_deref().and_then(status_of).unwrap_or(0);
    let says = |word: &str| text.as_deref().is_some_and(|text| text.contains(word));
    match status {
        // The client does not translate these statuses for listings.
        404 => Error::NotFound { key },
        401 | 403 => Error::Denied { key, source },
        416 => Error::Corrupt { what: "object length", key, offset: 0 },
        501 => Error::Unsupported { key, source },
        507 => Error::Full { key, source },
        // S3 answers so to a token that has just expired.
        400 if says("ExpiredToken") => Error::Unavailable { key, source },
        400 | 405 | 411 | 413 => Error::Invalid {
            what: "storage request",
            reason: format!("{key}: {}", text.as_deref().unwrap_or_default()),
        },
        _ => Error::Unavailable { key, source },
    }
}

/// The status in the text of an error that has one.
pub(super) fn status_of(text: &str) -> Option<u16> {
    text.strip_prefix(STATUS_WORDS)?.get(..3)?.parse().ok()
}

pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_and_body: &str) -> Error {
        let source = io::Error::other(format!("{STATUS_WORDS}{status_and_body}"));
        from_store("k", object_store::Error::Generic { store: "S3", source: source.into() })
    }

    #[test]
    fn full_disk_and_full_store_are_full() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        assert!(matches!(from_io("k", error), Error::Full { .. }));
        assert!(matches!(answered("507 Insufficient Storage: "), Error::Full { .. }));
    }

    #[test]
    fn link_to_itself_is_no_failure_that_passes() {
        let error = from_io("k", io::Error::from_raw_os_error(Errno::LOOP.raw_os_error()));
        assert!(error.is_corrupt() && !error.is_retryable(), "{error}");
    }

    #[test]
    fn server_errors_and_unknown_errors_are_retryable() {
        assert!(answered("503 Service Unavailable: <Error/>").is_retryable());
        assert!(answered("429 Too Many Requests: ").is_retryable());
        let unknown = object_store::Error::Generic { store: "S3", source: "x".into() };
        assert!(from_store("k", unknown).is_retryable());
    }

    #[test]
    fn bad_requests_are_invalid_unless_they_pass() {
        assert!(matches!(answered("400 Bad Request: InvalidBucketName"), Error::Invalid { .. }));
        assert!(answered("400 Bad Request: <Code>ExpiredToken</Code>").is_retryable());
    }

    #[test]
    fn refused_listing_is_denied_and_one_of_a_missing_bucket_not_found() {
        assert!(matches!(answered("403 Forbidden: AccessDenied"), Error::Denied { .. }));
        assert!(answered("404 Not Found: NoSuchBucket").is_not_found());
    }

    #[test]
    fn call_that_the_store_does_not_know_is_unsupported() {
        assert!(matches!(answered("501 Not Implemented: "), Error::Unsupported { .. }));
    }

    #[test]
    fn range_past_the_end_is_corrupt() {
        assert!(matches!(answered("416 Range Not Satisfiable: "), Error::Corrupt { .. }));
    }

    #[test]
    fn denied_is_not_retryable() {
        let error = object_store::Error::PermissionDenied { path: "k".into(), source: "no".into() };
        let error = from_store("k", error);
        assert!(matches!(error, Error::Denied { .. }) && !error.is_retryable());
    }
}
