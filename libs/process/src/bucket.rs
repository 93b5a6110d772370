//! The bucket of traces, from the section `storage.trace`.

use std::path::PathBuf;

use tactus_config::sections::object_store::{Azure, Gcs, LocalStore, S3};
use tactus_config::sections::overrides::{Overrides, UserOverridesClient};
use tactus_config::sections::storage::TraceStorage;
use tactus_storage::{Bucket, BucketSettings};

use crate::Error;

/// The section of the bucket of limits that tenants set.
const USER_OVERRIDES: &str = "overrides.user_configurable_overrides.client";

/// The bucket of traces. Errors: an unknown backend, or an invalid value.
pub fn bucket(trace: &TraceStorage) -> Result<BucketSettings, Error> {
    let TraceStorage { backend, local, s3, gcs, azure, .. } = trace;
    of_backend("storage.trace", backend, local, s3, gcs, azure)
}

/// Opens the bucket of limits that tenants set by the API; `None` if they cannot. Errors: as for [`bucket`], and those of
/// the store.
pub(crate) fn user_overrides(overrides: &Overrides) -> Result<Option<Bucket>, Error> {
    let section = &overrides.user_configurable_overrides;
    if !section.enabled {
        return Ok(None);
    }
    let UserOverridesClient { backend, local, s3, gcs, azure, .. } = &section.client;
    let settings = of_backend(USER_OVERRIDES, backend, local, s3, gcs, azure)?;
    let opened = Bucket::open(&settings);
    opened.map(Some).map_err(|source| Error::Part { part: USER_OVERRIDES, source: source.into() })
}

fn of_backend(
    key: &str,
    backend: &str,
    local: &LocalStore,
    s3: &S3,
    gcs: &Gcs,
    azure: &Azure,
) -> Result<BucketSettings, Error> {
    let names = [
        ("local", "local.path", &local.path),
        ("s3", "s3.bucket", &s3.bucket),
        ("gcs", "gcs.bucket_name", &gcs.bucket_name),
        ("azure", "azure.container_name", &azure.container_name),
    ];
    if let Some((_, path, _)) = names.iter().find(|(of, _, name)| *of == backend && name.is_empty())
    {
        return Err(Error::Setup(format!("{key}.{path} is not set")));
    }
    match backend {
        "local" => Ok(BucketSettings::Local { path: PathBuf::from(&local.path) }),
        "s3" => Ok(BucketSettings::S3(Box::new(s3.clone()))),
        "gcs" => Ok(BucketSettings::Gcs(Box::new(gcs.clone()))),
        "azure" => Ok(BucketSettings::Azure(Box::new(azure.clone()))),
        other => Err(Error::Setup(format!(
            "{key}.backend: unknown backend {other}: expecting local, s3, gcs or azure"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut TraceStorage)) -> Result<BucketSettings, Error> {
        let mut trace = TraceStorage::default();
        change(&mut trace);
        bucket(&trace)
    }

    #[test]
    fn unknown_backend_and_missing_path_are_refused_by_key() {
        for (backend, key) in [
            ("ftp", "storage.trace.backend"),
            ("local", "storage.trace.local.path"),
            ("s3", "storage.trace.s3.bucket"),
            ("gcs", "storage.trace.gcs.bucket_name"),
            ("azure", "storage.trace.azure.container_name"),
        ] {
            let error = of(|trace| trace.backend = backend.into()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        assert!(
            of(|trace| {
                trace.backend = "s3".into();
                trace.s3.bucket = "traces".into();
            })
            .is_ok()
        );
    }
}
