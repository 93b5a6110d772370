//! Builds the client of Azure Blob Storage from our settings.

use std::sync::Arc;

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::client::{self, Client, Connector};
use super::credentials::{Environment, process_environment};
use super::settings::{AzureCredentials, AzureSettings};
use super::target::{Credentials, Kind, Provider, Target};
use crate::error::{Error, Result};

pub(super) fn build(settings: &AzureSettings) -> Result<(MicrosoftAzure, Target)> {
    settings.validate()?;
    client::check_tls_provider()?;
    let environment: Environment<'_> = &process_environment;
    let account = not_empty(&settings.account)
        .or_else(|| environment("AZURE_STORAGE_ACCOUNT"))
        .ok_or_else(|| Error::invalid("azure storage_account_name", NO_ACCOUNT))?;
    let url = account_url(settings, &account)?;
    let insecure = url.starts_with("http://");
    let client = Client {
        http: settings.http.clone(),
        insecure,
        never_tls: insecure && matches!(settings.credentials, AzureCredentials::Key(_)),
        ..Client::default()
    };
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&account)
        .with_container_name(&settings.container)
        .with_endpoint(url.clone())
        .with_client_options(client.options()?)
        .with_retry(client.retry())
        .with_http_connector(Connector::default());
    let (builder, name) = sign_in(builder, &settings.credentials, environment)?;
    let store = builder
        .build()
        .map_err(|error| Error::invalid("azure settings", format!("{name}: {error}")))?;
    let target = Target {
        kind: Kind::Azure,
        bucket: settings.container.clone(),
        address: url,
        region: String::new(),
        credentials: Credentials {
            name,
            configured: true,
            provider: Provider::Azure(Arc::clone(store.credentials())),
        },
    };
    Ok((store, target))
}

const NO_ACCOUNT: &str = "no account name, and AZURE_STORAGE_ACCOUNT is not set";

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn sign_in(
    builder: MicrosoftAzureBuilder,
    credentials: &AzureCredentials,
    environment: Environment<'_>,
) -> Result<(MicrosoftAzureBuilder, &'static str)> {
    let builder = builder.with_credential_type(match credentials {
        AzureCredentials::Key(_) => "access_key",
        AzureCredentials::ManagedIdentity { .. } => "managed_identity",
        AzureCredentials::FederatedToken { .. } => "workload_identity",
    });
    Ok(match credentials {
        AzureCredentials::Key(key) => {
            let configured = not_empty(key);
            let name = match configured {
                Some(_) => "storage_account_key of the configuration",
                None => "the environment variable AZURE_STORAGE_KEY",
            };
            let key = configured.or_else(|| environment("AZURE_STORAGE_KEY")).ok_or_else(|| {
                let reason = "no key, AZURE_STORAGE_KEY is not set, and neither \
                              use_managed_identity nor use_federated_token is";
                Error::invalid("azure storage_account_key", reason)
            })?;
            (builder.with_access_key(key), name)
        }
        AzureCredentials::ManagedIdentity { client_id } => {
            let builder = match not_empty(client_id) {
                Some(id) => builder.with_client_id(id),
                None => builder,
            };
            let builder = match environment("IDENTITY_ENDPOINT") {
                Some(endpoint) => builder.with_msi_endpoint(endpoint),
                None => builder,
            };
            (builder, "the managed identity")
        }
        AzureCredentials::FederatedToken { client_id } => {
            let client = not_empty(client_id).or_else(|| environment("AZURE_CLIENT_ID"));
            let needed = |value: Option<String>, name: &str| {
                let refuse =
                    || Error::invalid("azure use_federated_token", format!("{name} is not set"));
                value.ok_or_else(refuse)
            };
            let file = environment("AZURE_FEDERATED_TOKEN_FILE");
            let mut builder = builder
                .with_client_id(needed(client, "AZURE_CLIENT_ID")?)
                .with_tenant_id(needed(environment("AZURE_TENANT_ID"), "AZURE_TENANT_ID")?)
                .with_federated_token_file(needed(file, "AZURE_FEDERATED_TOKEN_FILE")?);
            if let Some(host) = environment("AZURE_AUTHORITY_HOST") {
                builder = builder.with_config(AzureConfigKey::AuthorityHost, host);
            }
            (builder, "the federated token of AZURE_FEDERATED_TOKEN_FILE")
        }
    })
}

/// Where the account is; an emulator has it in the path.
fn account_url(settings: &AzureSettings, account: &str) -> Result<String> {
    let suffix = settings.endpoint_suffix.trim().trim_matches('/').trim_start_matches('.');
    let (scheme, host) = suffix.split_once("://").unwrap_or(("http", suffix));
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
    };
    if !is_word(host) || !matches!(scheme, "http" | "https") {
        let reason = format!("{:?} is not the end of a host name", settings.endpoint_suffix);
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
    use super::*;

    fn url(suffix: &str) -> Result<String> {
        let settings = AzureSettings { endpoint_suffix: suffix.into(), ..AzureSettings::default() };
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
        for suffix in ["", "a b", "ftp://x", "host/path"] {
            assert!(matches!(url(suffix), Err(Error::Invalid { .. })), "{suffix}");
        }
    }

    fn signed_in(credentials: &AzureCredentials, variables: &[&str]) -> Result<&'static str> {
        let known = |name: &str| variables.contains(&name).then(|| "eA==".to_owned());
        sign_in(MicrosoftAzureBuilder::new(), credentials, &known).map(|(_, name)| name)
    }

    #[test]
    fn key_comes_from_the_configuration_else_from_the_environment_else_not_at_all() {
        let key = AzureCredentials::Key("eA==".into());
        assert_eq!(signed_in(&key, &[]).unwrap(), "storage_account_key of the configuration");
        let none = AzureCredentials::Key(String::new());
        let name = signed_in(&none, &["AZURE_STORAGE_KEY"]).unwrap();
        assert_eq!(name, "the environment variable AZURE_STORAGE_KEY");
        assert!(signed_in(&none, &[]).is_err());
    }

    #[test]
    fn federated_token_needs_its_variables() {
        let token = AzureCredentials::FederatedToken { client_id: String::new() };
        let all = ["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"];
        assert!(signed_in(&token, &all).is_ok());
        for missing in all {
            let rest: Vec<_> = all.into_iter().filter(|name| *name != missing).collect();
            let error = signed_in(&token, &rest).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        let named = AzureCredentials::FederatedToken { client_id: "me".into() };
        assert!(signed_in(&named, &all[1..]).is_ok());
    }
}
