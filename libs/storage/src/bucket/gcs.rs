//! Builds the client of Google Cloud Storage from our settings.

use std::path::Path;
use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use tactus_config::sections::object_store::Gcs;
use tactus_config::without_passwords;

use super::client::{self, Client, Connector, FIRST_PAUSE, LONGEST_PAUSE, MAX_RETRIES, retry};
use super::credentials::{Environment, process_environment};
use super::failure;
use super::target::{Credentials, Kind, Provider, Target};
use crate::error::{Error, Result};

const GOOGLE: &str = "https://storage.googleapis.com";

/// Credentials are found by Google's rules: the file of `GOOGLE_APPLICATION_CREDENTIALS`, that of `gcloud`, the
/// machine's service account.
pub(super) fn build(settings: &Gcs) -> Result<(GoogleCloudStorage, Target)> {
    if settings.bucket_name.is_empty() {
        return Err(Error::invalid("gcs bucket_name", "no bucket name"));
    }
    if settings.bucket_name.contains('/') {
        return Err(Error::invalid("gcs bucket_name", "a bucket name holds no slash"));
    }
    client::check_tls_provider()?;
    let endpoint = resolve_endpoint(settings, &process_environment)?;
    client::check_address("gcs endpoint", &endpoint.url)?;
    let plain = endpoint.url.starts_with("http://");
    let client = Client {
        retry: retry(repetitions(settings), FIRST_PAUSE, LONGEST_PAUSE),
        insecure: true,
        never_tls: plain && endpoint.anonymous,
        any_certificate: settings.insecure,
    };
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&settings.bucket_name)
        .with_base_url(&endpoint.url)
        .with_client_options(client.options())
        .with_retry(client.retry.clone())
        .with_http_connector(Connector::new(&endpoint.url));
    let file = process_environment("GOOGLE_APPLICATION_CREDENTIALS");
    let name = signer(endpoint.anonymous, file.as_deref(), &process_environment);
    if endpoint.anonymous {
        // Writes are signed even with the client's switch for none: an empty token does no harm.
        let nobody = GcpCredential { bearer: String::new() };
        builder = builder
            .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
            .with_skip_signature(true);
    } else if let Some(file) = file {
        builder = builder.with_application_credentials(file);
    }
    let store = builder.build().map_err(|error| {
        // The client says what is wrong with a credentials file in the causes of its error.
        let cause = failure::causes(&error).last().map(ToString::to_string).unwrap_or_default();
        let known = match cause.contains("unknown variant") {
            true => "; only a key of a service account, or the file of gcloud, can be used",
            false => "",
        };
        Error::invalid("gcs credentials", format!("{name}: {cause}{known}"))
    })?;
    let credentials = Credentials {
        name,
        configured: name != MACHINE,
        passed_over: String::new(),
        provider: match endpoint.anonymous {
            true => Provider::Nobody,
            false => Provider::Google(Arc::clone(store.credentials())),
        },
    };
    let target = Target {
        kind: Kind::Gcs,
        bucket: settings.bucket_name.clone(),
        address: endpoint.url,
        region: String::new(),
        credentials,
    };
    Ok((store, target))
}

/// The setting is made for deletions and copies, with a default that would end other requests within a second.
fn repetitions(settings: &Gcs) -> u32 {
    settings.max_retries.max(MAX_RETRIES)
}

const MACHINE: &str = "the machine's service account";

fn signer(anonymous: bool, file: Option<&str>, environment: Environment<'_>) -> &'static str {
    let gcloud = || {
        let home = environment("HOME")?;
        Path::new(&home)
            .join(".config/gcloud/application_default_credentials.json")
            .is_file()
            .then_some("gcloud's application default credentials")
    };
    match (anonymous, file) {
        (true, _) => "no credentials",
        (_, Some(_)) => "the file of GOOGLE_APPLICATION_CREDENTIALS",
        _ => gcloud().unwrap_or(MACHINE),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    anonymous: bool,
}

fn resolve_endpoint(settings: &Gcs, environment: Environment<'_>) -> Result<Endpoint> {
    let configured = settings.endpoint.trim();
    let emulator = environment("STORAGE_EMULATOR_HOST").filter(|_| configured.is_empty());
    let anonymous = settings.insecure || emulator.is_some();
    let text = emulator.as_deref().unwrap_or(configured);
    if text.is_empty() {
        return Ok(Endpoint { url: GOOGLE.to_owned(), anonymous });
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((scheme, _)) => {
            let reason = format!("{scheme}:// is neither http:// nor https://");
            return Err(Error::invalid("gcs endpoint", reason));
        }
        None => (if anonymous { "http" } else { "https" }, text),
    };
    // Others name the path of the JSON interface here, which is not the one that is spoken.
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains('@') || host.contains(char::is_whitespace) {
        let reason = format!("{:?} names no host", without_passwords(text));
        return Err(Error::invalid("gcs endpoint", reason));
    }
    Ok(Endpoint { url: format!("{scheme}://{host}"), anonymous })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str, insecure: bool, emulator: Option<&str>) -> Result<Endpoint> {
        let settings = Gcs { endpoint: text.into(), insecure, ..Gcs::default() };
        resolve_endpoint(&settings, &|name| {
            emulator.filter(|_| name == "STORAGE_EMULATOR_HOST").map(str::to_owned)
        })
    }

    #[test]
    fn requests_are_repeated_as_those_to_other_stores_or_more() {
        for (max_retries, expected) in [(0, MAX_RETRIES), (3, MAX_RETRIES), (40, 40)] {
            assert_eq!(repetitions(&Gcs { max_retries, ..Gcs::default() }), expected);
        }
    }

    #[test]
    fn endpoint_keeps_scheme_and_host_only() {
        for (text, insecure, url) in [
            ("", false, GOOGLE),
            ("", true, GOOGLE),
            ("http://localhost:4443/storage/v1/", true, "http://localhost:4443"),
            ("https://fake:4443/storage/v1/?alt=json", true, "https://fake:4443"),
            ("localhost:4443", true, "http://localhost:4443"),
            ("storage-x.p.googleapis.com", false, "https://storage-x.p.googleapis.com"),
        ] {
            let found = endpoint(text, insecure, None).unwrap();
            assert_eq!(found, Endpoint { url: url.into(), anonymous: insecure }, "{text}");
        }
    }

    #[test]
    fn emulator_of_the_environment_is_asked_without_credentials_unless_an_endpoint_is_set() {
        let found = endpoint("", false, Some("localhost:9")).unwrap();
        assert_eq!(found, Endpoint { url: "http://localhost:9".into(), anonymous: true });
        let found = endpoint("https://x", false, Some("localhost:9")).unwrap();
        assert_eq!(found, Endpoint { url: "https://x".into(), anonymous: false });
    }

    #[test]
    fn endpoint_without_a_host_is_invalid() {
        for text in ["http://", "ftp://x", "http:///storage", "a b", "http://me:hunter2@h"] {
            let error = endpoint(text, true, None).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{text}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
