//! Builds the client of Azure Blob Storage from our settings.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use tactus_config::sections::object_store::Azure;
use tactus_config::without_passwords;

use super::client::{self, Client, Connector, FIRST_PAUSE, LONGEST_PAUSE, MAX_RETRIES, retry};
use super::credentials::{Environment, process_environment};
use super::target::{Credentials, Kind, Provider, Target};
use crate::error::{Error, Result};

pub(super) fn build(settings: &Azure) -> Result<(MicrosoftAzure, Target)> {
    if settings.container_name.is_empty() {
        return Err(Error::invalid("azure container_name", "no container name"));
    }
    if settings.container_name.contains('/') {
        return Err(Error::invalid("azure container_name", "a container name holds no slash"));
    }
    client::check_tls_provider()?;
    let environment: Environment<'_> = &process_environment;
    let account = not_empty(&settings.storage_account_name)
        .or_else(|| not_empty(&environment("AZURE_STORAGE_ACCOUNT")?))
        .ok_or_else(|| Error::invalid("azure storage_account_name", NO_ACCOUNT))?;
    let url = account_url(settings, &account)?;
    let insecure = url.starts_with("http://");
    let client = Client {
        retry: retry(MAX_RETRIES, FIRST_PAUSE, LONGEST_PAUSE),
        insecure,
        never_tls: insecure && !settings.use_federated_token && !uses_machine(settings),
        ..Client::default()
    };
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&account)
        .with_container_name(&settings.container_name)
        .with_endpoint(url.clone())
        .with_client_options(client.options())
        .with_retry(client.retry.clone())
        .with_http_connector(Connector::new(&url));
    let (builder, name) = sign_in(builder, settings, environment)?;
    let store = builder
        .build()
        .map_err(|error| Error::invalid("azure settings", format!("{name}: {error}")))?;
    let target = Target {
        kind: Kind::Azure,
        bucket: settings.container_name.clone(),
        address: url,
        region: String::new(),
        credentials: Credentials {
            name,
            configured: true,
            passed_over: String::new(),
            provider: Provider::Azure(Arc::clone(store.credentials())),
        },
    };
    Ok((store, target))
}

const NO_ACCOUNT: &str = "no account name, and AZURE_STORAGE_ACCOUNT is not set";

/// Without the line breaks that files with secrets often end with.
fn not_empty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// True if the machine's identity signs: an identity that is named is meant, unless there is a key beside it.
fn uses_machine(settings: &Azure) -> bool {
    let is_named = not_empty(&settings.user_assigned_id).is_some();
    let has_key = not_empty(settings.storage_account_key.reveal()).is_some();
    settings.use_managed_identity || is_named && !has_key
}

fn sign_in(
    builder: MicrosoftAzureBuilder,
    settings: &Azure,
    environment: Environment<'_>,
) -> Result<(MicrosoftAzureBuilder, &'static str)> {
    let environment = |name: &str| not_empty(&environment(name)?);
    let client_id = not_empty(&settings.user_assigned_id);
    if settings.use_federated_token {
        let client = client_id.or_else(|| environment("AZURE_CLIENT_ID"));
        let needed = |value: Option<String>, name: &str| {
            let refuse =
                || Error::invalid("azure use_federated_token", format!("{name} is not set"));
            value.ok_or_else(refuse)
        };
        let file = environment("AZURE_FEDERATED_TOKEN_FILE");
        let mut builder = builder
            .with_credential_type("workload_identity")
            .with_client_id(needed(client, "AZURE_CLIENT_ID")?)
            .with_tenant_id(needed(environment("AZURE_TENANT_ID"), "AZURE_TENANT_ID")?)
            .with_federated_token_file(needed(file, "AZURE_FEDERATED_TOKEN_FILE")?);
        if let Some(host) = environment("AZURE_AUTHORITY_HOST") {
            // On AKS it ends with a slash, and the client adds another.
            let host = host.trim_end_matches('/');
            builder = builder.with_config(AzureConfigKey::AuthorityHost, host);
        }
        return Ok((builder, "the federated token of AZURE_FEDERATED_TOKEN_FILE"));
    }
    if uses_machine(settings) {
        let mut builder = builder.with_credential_type("managed_identity");
        if let Some(id) = client_id {
            builder = builder.with_client_id(id);
        }
        if let Some(endpoint) = environment("IDENTITY_ENDPOINT") {
            builder = builder.with_msi_endpoint(endpoint);
        }
        return Ok((builder, "the managed identity"));
    }
    let configured = not_empty(settings.storage_account_key.reveal());
    let name = match configured {
        Some(_) => "storage_account_key of the configuration",
        None => "the environment variable AZURE_STORAGE_KEY",
    };
    let key = configured.or_else(|| environment("AZURE_STORAGE_KEY")).ok_or_else(|| {
        let reason = "no key, AZURE_STORAGE_KEY is not set, and none of \
                      use_managed_identity, user_assigned_id and use_federated_token is";
        Error::invalid("azure storage_account_key", reason)
    })?;
    Ok((builder.with_credential_type("access_key").with_access_key(key), name))
}

/// Where the account is; an emulator has it in the path.
fn account_url(settings: &Azure, account: &str) -> Result<String> {
    let suffix = settings.endpoint_suffix.trim().trim_matches('/').trim_start_matches('.');
    let (scheme, host) = suffix.split_once("://").unwrap_or(("http", suffix));
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
    };
    if !is_word(host) || !matches!(scheme, "http" | "https") {
        let shown = without_passwords(&settings.endpoint_suffix);
        let reason = format!("{shown:?} is not the end of a host name");
        return Err(Error::invalid("azure endpoint_suffix", reason));
    }
    if !is_word(account) {
        let reason = format!("{account:?} cannot be part of a host name");
        return Err(Error::invalid("azure storage_account_name", reason));
    }
    Ok(match suffix.starts_with("blob.") {
        true => format!("https://{account}.{suffix}"),
        false => format!("{scheme}://{host}/{account}"),
    })
}

#[cfg(test)]
mod tests {
    use tactus_config::Secret;

    use super::*;

    fn url(suffix: &str) -> Result<String> {
        let settings = Azure { endpoint_suffix: suffix.into(), ..Azure::default() };
        account_url(&settings, "acme")
    }

    #[test]
    fn suffix_of_a_cloud_gets_the_account_in_front_and_an_emulator_in_the_path() {
        for (suffix, expected) in [
            ("blob.core.windows.net", "https://acme.blob.core.windows.net"),
            (".blob.core.chinacloudapi.cn", "https://acme.blob.core.chinacloudapi.cn"),
            ("azurite:10000", "http://azurite:10000/acme"),
            ("127.0.0.1:10000/", "http://127.0.0.1:10000/acme"),
            ("https://azurite:10000", "https://azurite:10000/acme"),
        ] {
            assert_eq!(url(suffix).unwrap(), expected);
        }
        for suffix in ["", "a b", "ftp://x", "host/path", "http://me:hunter2@h"] {
            let error = url(suffix).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{suffix}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    fn signed_in(settings: &Azure, variables: &[&str]) -> Result<&'static str> {
        let known = |name: &str| variables.contains(&name).then(|| "eA==".to_owned());
        sign_in(MicrosoftAzureBuilder::new(), settings, &known).map(|(_, name)| name)
    }

    #[test]
    fn key_comes_from_the_configuration_else_from_the_environment_else_not_at_all() {
        let key = Azure { storage_account_key: Secret::new("eA=="), ..Azure::default() };
        assert_eq!(signed_in(&key, &[]).unwrap(), "storage_account_key of the configuration");
        let none = Azure::default();
        let name = signed_in(&none, &["AZURE_STORAGE_KEY"]).unwrap();
        assert_eq!(name, "the environment variable AZURE_STORAGE_KEY");
        assert!(signed_in(&none, &[]).is_err());
    }

    fn built_with(settings: &Azure, value: &str) -> MicrosoftAzureBuilder {
        let builder = MicrosoftAzureBuilder::new().with_account("acme");
        sign_in(builder, settings, &|_| Some(value.to_owned())).unwrap().0
    }

    #[test]
    fn line_breaks_around_keys_and_ids_are_dropped() {
        let builder = built_with(&Azure::default(), "eA==\n");
        assert_eq!(builder.get_config_value(&AzureConfigKey::AccessKey).unwrap(), "eA==");
        let token = Azure { use_federated_token: true, ..Azure::default() };
        let builder = built_with(&token, "me\r\n");
        for key in [AzureConfigKey::ClientId, AzureConfigKey::AuthorityId] {
            assert_eq!(builder.get_config_value(&key).unwrap(), "me");
        }
        let blank = Azure { storage_account_key: Secret::new("\n"), ..Azure::default() };
        assert!(signed_in(&blank, &[]).is_err());
    }

    #[test]
    fn authority_host_has_no_slash_at_its_end() {
        let token = Azure { use_federated_token: true, ..Azure::default() };
        let builder = built_with(&token, "https://login.microsoftonline.com/");
        let host = builder.get_config_value(&AzureConfigKey::AuthorityHost).unwrap();
        assert_eq!(host, "https://login.microsoftonline.com");
    }

    #[test]
    fn identity_that_is_named_signs_unless_there_is_a_key_beside_it() {
        let named = Azure { user_assigned_id: "me".into(), ..Azure::default() };
        assert_eq!(signed_in(&named, &["AZURE_STORAGE_KEY"]).unwrap(), "the managed identity");
        let key = Azure { storage_account_key: Secret::new("eA=="), ..named };
        assert_eq!(signed_in(&key, &[]).unwrap(), "storage_account_key of the configuration");
    }

    #[test]
    fn federated_token_needs_its_variables() {
        let token = Azure { use_federated_token: true, ..Azure::default() };
        let all = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"];
        assert!(signed_in(&token, &all).is_ok());
        for missing in all {
            let rest: Vec<_> = all.into_iter().filter(|name| *name != missing).collect();
            let error = signed_in(&token, &rest).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        let named = Azure { user_assigned_id: "me".into(), ..token };
        assert!(signed_in(&named, &all[1..]).is_ok());
    }

    #[test]
    fn token_wins_over_the_machine_and_the_machine_over_the_key() {
        let key = Azure { storage_account_key: Secret::new("eA=="), ..Azure::default() };
        let machine = Azure { use_managed_identity: true, ..key.clone() };
        assert_eq!(signed_in(&machine, &[]).unwrap(), "the managed identity");
        let both = Azure { use_federated_token: true, ..machine };
        assert!(signed_in(&both, &[]).unwrap_err().to_string().contains("use_federated_token"));
    }
}
