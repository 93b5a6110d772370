//! The entries of `remote_write`, checked.

use std::sync::Arc;

use http::HeaderMap;
use tactus_config::sections::remote_write::{QueueConfig, RemoteWrite as Config};
use tactus_config::without_passwords;

use super::client::Client;
use super::connections::{ClientError, InvalidHeader, header};
use super::cursor::RemoteKey;
use super::relabel::{RelabelError, Relabeling};
use super::wire::Protocol;

/// Headers that the sender sets, or that must not be set.
const RESERVED_HEADERS: [&str; 16] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// An entry of `remote_write` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid remote write config {name:?}: {reason}")]
pub struct SettingsError {
    /// `name` of the entry.
    pub name: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with an entry of `remote_write`.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// No `url`.
    #[error("url for remote_write is empty")]
    EmptyUrl,
    /// Not an address of HTTP.
    #[error("url {url:?}: {reason}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header that is set otherwise.
    #[error("{0} is a reserved header. It must not be changed")]
    ReservedHeader(String),
    /// The header of credentials.
    #[error(
        "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter"
    )]
    AuthorizationHeader,
    /// Not a name or value of a header.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// No such message.
    #[error(
        "invalid protobuf_message value: unknown type for remote write protobuf message {0}, supported: prometheus.WriteRequest, io.prometheus.write.v2.Request"
    )]
    Message(String),
    /// More than one way to authenticate.
    #[error("{0}")]
    Authentication(String),
    /// A key of `queue_config` has a value without meaning.
    #[error("queue_config.{0}")]
    Queue(&'static str),
    /// See [`RelabelError`].
    #[error("write_relabel_configs: {0}")]
    Relabel(#[from] RelabelError),
    /// The client of HTTP cannot be made.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// Two entries are the same.
    #[error("duplicate remote write configs are not allowed, found duplicate for URL: {0}")]
    Duplicate(String),
}

/// One entry, shared by the senders of all tenants.
#[derive(Debug)]
pub(crate) struct Remote {
    /// `name`, or six digits of a hash of the entry.
    pub(crate) name: String,
    pub(crate) url: String,
    /// Scheme, host and port of `url`.
    pub(crate) address: String,
    /// Names the cursor of the remote in the queue of a tenant.
    pub(crate) key: RemoteKey,
    pub(crate) protocol: Protocol,
    pub(crate) relabeling: Arc<Relabeling>,
    /// Checked: its numbers are positive.
    pub(crate) queue: QueueConfig,
    pub(crate) headers: HeaderMap,
    pub(crate) client: Client,
}

/// All entries. Errors: the first that cannot be used.
pub(super) fn remotes(configs: &[Config]) -> Result<Vec<Arc<Remote>>, SettingsError> {
    let mut remotes: Vec<Arc<Remote>> = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        let failed = |reason| SettingsError { name: config.name.clone(), reason };
        if configs[..index].contains(config) {
            return Err(failed(Reason::Duplicate(without_passwords(&config.url))));
        }
        let same = |other: &&Config| other.url == config.url && other.name == config.name;
        let alike: Vec<_> = configs[..index].iter().filter(same).collect();
        remotes.push(Arc::new(remote(config, &alike).map_err(failed)?));
    }
    Ok(remotes)
}

/// `alike`: the entries before it with the same name and URL.
fn remote(config: &Config, alike: &[&Config]) -> Result<Remote, Reason> {
    if config.url.is_empty() {
        return Err(Reason::EmptyUrl);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        check_header(name)?;
        let (name, value) = header(name, value.reveal())?;
        headers.insert(name, value);
    }
    for name in config.http_headers.keys() {
        check_header(name)?;
        header(name, "")?;
    }
    check_authentication(config)?;
    check_queue(&config.queue_config)?;
    let protocol = Protocol::from_message(&config.protobuf_message)
        .ok_or_else(|| Reason::Message(config.protobuf_message.clone()))?;
    // Shows no secrets.
    let content = format!("{config:?}");
    let hash = xxhash_rust::xxh64::xxh64(content.as_bytes(), 0);
    let name = match config.name.as_str() {
        "" => format!("{hash:016x}").split_off(10),
        name => name.to_owned(),
    };
    let key = |which: &str| {
        let identity = format!("{}\n{}\n{which}", config.name, config.url);
        format!("{:016x}", xxhash_rust::xxh64::xxh64(identity.as_bytes(), 0))
    };
    // Others that differ in secrets alone.
    let twins = alike.iter().filter(|other| format!("{other:?}") == content).count();
    let of_content = key(&format!("{hash:016x}-{twins}"));
    // The first of its name and URL keeps its key when anything else of it changes.
    let key = if alike.is_empty() { key("0") } else { of_content.clone() };
    let client = Client::new(config)?;
    Ok(Remote {
        key: RemoteKey { key, content: of_content },
        name,
        url: config.url.clone(),
        address: client.origin(),
        protocol,
        relabeling: Arc::new(Relabeling::new(&config.write_relabel_configs)?),
        queue: config.queue_config.clone(),
        headers,
        client,
    })
}

/// Checks the name of a header that is configured or that a tenant sets.
pub(super) fn check_header(name: &str) -> Result<(), Reason> {
    let lower = name.to_lowercase();
    if lower == "authorization" {
        return Err(Reason::AuthorizationHeader);
    }
    if RESERVED_HEADERS.contains(&lower.as_str()) {
        return Err(Reason::ReservedHeader(name.to_owned()));
    }
    Ok(())
}

fn check_authentication(config: &Config) -> Result<(), Reason> {
    let bearer = !config.bearer_token.is_empty() || !config.bearer_token_file.is_empty();
    let authorization = config.authorization.is_some() || bearer;
    if let Some(text) = authentication_mistake(config, bearer) {
        return Err(Reason::Authentication(text.to_owned()));
    }
    let ours = [config.basic_auth.is_some(), authorization, config.oauth2.is_some()];
    if ours.into_iter().filter(|is_set| *is_set).count() > 1 {
        let text = "at most one of basic_auth, oauth2 & authorization must be configured";
        return Err(Reason::Authentication(text.to_owned()));
    }
    Ok(())
}

/// What is wrong within one kind of authentication. `bearer`: a token is set, or its file.
fn authentication_mistake(config: &Config, bearer: bool) -> Option<&'static str> {
    let both = |text: bool, file: &str| text && !file.is_empty();
    if both(!config.bearer_token.is_empty(), &config.bearer_token_file) {
        return Some("at most one of bearer_token & bearer_token_file must be configured");
    }
    if bearer && config.authorization.is_some() {
        return Some("authorization is not compatible with bearer_token & bearer_token_file");
    }
    if let Some(basic) = &config.basic_auth {
        if both(!basic.username.is_empty(), &basic.username_file) {
            return Some(
                "at most one of basic_auth username, username_file & username_ref must be configured",
            );
        }
        if both(!basic.password.is_empty(), &basic.password_file) {
            return Some(
                "at most one of basic_auth password, password_file & password_ref must be configured",
            );
        }
    }
    if let Some(authorization) = &config.authorization {
        if both(!authorization.credentials.is_empty(), &authorization.credentials_file) {
            return Some(
                "at most one of authorization credentials & credentials_file must be configured",
            );
        }
        if authorization.type_.eq_ignore_ascii_case("basic") {
            return Some(
                "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
            );
        }
    }
    let oauth2 = config.oauth2.as_ref()?;
    match () {
        () if oauth2.client_id.is_empty() => Some("oauth2 client_id must be configured"),
        () if oauth2.token_url.is_empty() => Some("oauth2 token_url must be configured"),
        () if both(!oauth2.client_secret.is_empty(), &oauth2.client_secret_file) => Some(
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured",
        ),
        () => None,
    }
}

fn check_queue(queue: &QueueConfig) -> Result<(), Reason> {
    for (value, text) in [
        (queue.capacity, "capacity must be greater than zero"),
        (queue.min_shards, "min_shards must be greater than zero"),
        (queue.max_shards, "max_shards must be greater than zero"),
        (queue.max_samples_per_send, "max_samples_per_send must be greater than zero"),
    ] {
        if value <= 0 {
            return Err(Reason::Queue(text));
        }
    }
    if queue.min_backoff.non_zero().is_none() || queue.max_backoff < queue.min_backoff {
        return Err(Reason::Queue(
            "min_backoff must be greater than zero, and not above max_backoff",
        ));
    }
    if queue.max_shards < queue.min_shards {
        return Err(Reason::Queue("max_shards must not be less than min_shards"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
