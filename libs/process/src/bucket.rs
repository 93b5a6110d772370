//! The bucket of traces, from the section `storage.trace`.

use std::path::PathBuf;

use tactus_config::GoDuration;
use tactus_config::sections::object_store::{Azure, Gcs, LocalStore, S3};
use tactus_config::sections::overrides::{Overrides, UserOverridesClient};
use tactus_config::sections::storage::TraceStorage;
use tactus_storage::BucketSettings;
use tactus_storage::bucket::{
    Addressing, AzureCredentials, AzureSettings, GcsSettings, HttpSettings, RetrySettings,
    S3Encryption, S3Settings,
};

/// A setting that cannot be; the text names it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The bucket of traces. Errors: a backend that there is not, or a value that cannot be.
pub fn bucket(trace: &TraceStorage) -> Result<BucketSettings, Error> {
    let TraceStorage { backend, local, s3, gcs, azure, .. } = trace;
    of_backend("storage.trace", backend, local, s3, gcs, azure)
}

/// The bucket of limits that tenants set by the API; `None` if they cannot. Errors: as for [`bucket`].
pub fn user_overrides(overrides: &Overrides) -> Result<Option<BucketSettings>, Error> {
    let section = &overrides.user_configurable_overrides;
    let UserOverridesClient { backend, local, s3, gcs, azure, .. } = &section.client;
    let key = "overrides.user_configurable_overrides.client";
    section.enabled.then(|| of_backend(key, backend, local, s3, gcs, azure)).transpose()
}

fn of_backend(
    key: &str,
    backend: &str,
    local: &LocalStore,
    of_s3: &S3,
    of_gcs: &Gcs,
    of_azure: &Azure,
) -> Result<BucketSettings, Error> {
    match backend {
        "local" if local.path.is_empty() => Err(Error(format!("{key}.local.path is not set"))),
        "local" => Ok(BucketSettings::Local { path: PathBuf::from(&local.path) }),
        "s3" => Ok(BucketSettings::S3(Box::new(s3(of_s3)?))),
        "gcs" => Ok(BucketSettings::Gcs(Box::new(gcs(of_gcs)))),
        "azure" => Ok(BucketSettings::Azure(Box::new(azure(of_azure)))),
        other => Err(Error(format!("{key}.backend: unknown backend {other}"))),
    }
}

/// Listings of one tenant side by side.
pub fn list_concurrency(trace: &TraceStorage) -> usize {
    let configured = match trace.backend.as_str() {
        "s3" => trace.s3.list_blocks_concurrency,
        "gcs" => trace.gcs.list_blocks_concurrency,
        // Azurite and older services list from the start whatever key is given.
        _ => 1,
    };
    configured.max(1)
}

fn http(hedge_at: GoDuration, hedge_up_to: u32, retry: RetrySettings) -> HttpSettings {
    HttpSettings {
        hedge_at: hedge_at.non_zero(),
        hedge_up_to: hedge_up_to as usize,
        retry,
        ..HttpSettings::default()
    }
}

fn s3(s3: &S3) -> Result<S3Settings, Error> {
    let encryption = match s3.sse.type_.as_str() {
        "" => S3Encryption::None,
        "SSE-S3" => S3Encryption::S3,
        "SSE-KMS" => S3Encryption::Kms {
            key_id: s3.sse.kms_key_id.clone(),
            context: s3.sse.kms_encryption_context.clone(),
        },
        "SSE-C" => {
            S3Encryption::Customer { key: s3.sse.encryption_key.reveal().as_bytes().to_vec() }
        }
        other => {
            return Err(Error(format!("storage.trace.s3.sse.type: unknown type {other}")));
        }
    };
    let addressing = match (s3.forcepathstyle, s3.bucket_lookup_type) {
        (_, 1) => Addressing::VirtualHost,
        (_, 2) | (true, _) => Addressing::Path,
        _ => Addressing::Auto,
    };
    let retry = RetrySettings {
        max_retries: s3.retry_max_attempts as usize,
        initial_backoff: s3.retry_backoff_initial.as_std(),
        max_backoff: s3.retry_backoff_max.as_std(),
        ..RetrySettings::default()
    };
    let path = |text: &String| (!text.is_empty()).then(|| PathBuf::from(text));
    Ok(S3Settings {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        access_key: s3.access_key.clone(),
        secret_key: s3.secret_key.reveal().to_owned(),
        session_token: s3.session_token.reveal().to_owned(),
        insecure: s3.insecure,
        addressing,
        dual_stack: s3.enable_dual_stack,
        tls_ca_path: path(&s3.tls.tls_ca_path),
        tls_client: path(&s3.tls.tls_cert_path).zip(path(&s3.tls.tls_key_path)),
        tls_1_3_only: s3.tls.tls_min_version == "VersionTLS13",
        tls_insecure_skip_verify: s3.tls.tls_insecure_skip_verify,
        part_size_bytes: s3.part_size,
        tags: s3.tags.clone(),
        metadata: s3.metadata.clone(),
        storage_class: s3.storage_class.clone(),
        encryption,
        http: http(s3.hedge_requests_at, s3.hedge_requests_up_to, retry),
        ..S3Settings::default()
    })
}

fn gcs(gcs: &Gcs) -> GcsSettings {
    let retry = RetrySettings { max_retries: gcs.max_retries as usize, ..RetrySettings::default() };
    GcsSettings {
        bucket: gcs.bucket_name.clone(),
        prefix: gcs.prefix.clone(),
        endpoint: gcs.endpoint.clone(),
        insecure: gcs.insecure,
        chunk_buffer_bytes: gcs.chunk_buffer_size,
        cache_control: gcs.object_cache_control.clone(),
        metadata: gcs.object_metadata.clone(),
        http: http(gcs.hedge_requests_at, gcs.hedge_requests_up_to, retry),
        ..GcsSettings::default()
    }
}

fn azure(azure: &Azure) -> AzureSettings {
    let client_id = azure.user_assigned_id.clone();
    let credentials = if azure.use_federated_token {
        AzureCredentials::FederatedToken { client_id }
    } else if azure.use_managed_identity {
        AzureCredentials::ManagedIdentity { client_id }
    } else {
        AzureCredentials::Key(azure.storage_account_key.reveal().to_owned())
    };
    AzureSettings {
        container: azure.container_name.clone(),
        prefix: azure.prefix.clone(),
        account: azure.storage_account_name.clone(),
        credentials,
        endpoint_suffix: azure.endpoint_suffix.clone(),
        max_buffers: azure.max_buffers as usize,
        buffer_bytes: azure.buffer_size,
        http: http(azure.hedge_requests_at, azure.hedge_requests_up_to, RetrySettings::default()),
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
    fn lookup_type_wins_over_the_path_style() {
        for (force, lookup, expected) in [
            (false, 0, Addressing::Auto),
            (true, 0, Addressing::Path),
            (true, 1, Addressing::VirtualHost),
            (false, 2, Addressing::Path),
        ] {
            let settings = of(|trace| {
                trace.backend = "s3".into();
                trace.s3.forcepathstyle = force;
                trace.s3.bucket_lookup_type = lookup;
            });
            let Ok(BucketSettings::S3(settings)) = settings else { unreachable!() };
            assert_eq!(settings.addressing, expected);
        }
    }

    #[test]
    fn azure_signs_in_as_asked_and_by_key_else() {
        for (federated, managed, expected) in [
            (true, true, "FederatedToken"),
            (false, true, "ManagedIdentity"),
            (false, false, "Key(<secret>)"),
        ] {
            let settings = of(|trace| {
                trace.backend = "azure".into();
                trace.azure.use_federated_token = federated;
                trace.azure.use_managed_identity = managed;
            });
            let Ok(BucketSettings::Azure(settings)) = settings else { unreachable!() };
            assert_eq!(format!("{:?}", settings.credentials), expected);
        }
    }

    #[test]
    fn defaults_of_gcs_and_azure_are_those_of_the_manual() {
        let settings = of(|trace| trace.backend = "gcs".into());
        let Ok(BucketSettings::Gcs(gcs)) = settings else { unreachable!() };
        assert_eq!(*gcs, GcsSettings::default());
        let settings = of(|trace| trace.backend = "azure".into());
        let Ok(BucketSettings::Azure(azure)) = settings else { unreachable!() };
        assert_eq!(*azure, AzureSettings::default());
    }

    #[test]
    fn unknown_backend_and_missing_path_are_refused() {
        assert!(of(|trace| trace.backend = "ftp".into()).is_err());
        assert!(of(|trace| trace.backend = "local".into()).is_err());
    }
}
