//! Limits what credential servers may answer: a cloud's metadata and token services.
//!
//! The store's client treats their errors as errors of the store, where a 404 means that an object does not exist. It
//! reads their answers whatever their length, and panics on values that a header cannot have. It asks for new
//! credentials when the old ones are valid for five minutes more, and uses these no more until it has an answer. All
//! requests to the store wait for that, one after the other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use tactus_telemetry::{error_text, log_limited};

use super::answers::read_first;
use super::credential_answers::{Form, Kept};

/// Longer than any answer with credentials.
const MAX_BYTES: usize = 64 << 10;
/// How much of a refusal is shown.
const MAX_SHOWN: usize = 300;
/// Time for one answer. Every request to the store waits for it when the credentials have expired.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Time for the token of a session with the EC2 instance's metadata. In a container it often never arrives.
const SESSION_TIME: Duration = Duration::from_secs(3);
/// A server that did not answer is not asked again for this long, and so is one that refused for as long: all who wait
/// would otherwise wait one after the other.
const PAUSE: Duration = Duration::from_secs(5);

/// The metadata of an EC2 instance.
const METADATA_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Why a credential server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialServerError {
    #[error("the credential server {server} does not answer in time")]
    Silent { server: String },
    #[error("the credential server {server} has failed and is not asked for some seconds")]
    Paused { server: String },
    #[error("the credential server {server} answers with status {status}: {text}")]
    Status { server: String, status: u16, text: String },
    #[error("the credential server {server} answers with more than {MAX_BYTES} bytes")]
    TooLong { server: String },
    #[error("the credential server {server} does not answer with credentials")]
    Odd { server: String },
}

impl CredentialServerError {
    /// The HTTP status of the refusal; 0 for other errors.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Status { status, .. } => *status,
            _ => 0,
        }
    }

    fn into_http(self) -> HttpError {
        let kind = match self.status() {
            // These are retried, as for a store.
            408 | 429 | 500..=599 => HttpErrorKind::Interrupted,
            _ => HttpErrorKind::Unknown,
        };
        HttpError::new(kind, self)
    }
}

/// The servers that are not the store.
pub(super) struct CredentialServers {
    /// Host and port of the store.
    store: Option<(String, u16)>,
    /// There are only as many as the environment names.
    servers: Mutex<HashMap<String, Server>>,
}

tactus_telemetry::debug_of!(CredentialServers { store });

/// What is known of a server.
#[derive(Default)]
struct Server {
    /// Its last usable answers.
    role: Option<Bytes>,
    credentials: Option<Kept>,
    /// When those failures began that no answer has interrupted.
    failing_since: Option<Instant>,
    paused_until: Option<Instant>,
    no_session_until: Option<Instant>,
}

impl CredentialServers {
    /// `store`: scheme and host of the store.
    pub(super) fn besides(store: &str) -> Self {
        Self { store: store.parse().ok().as_ref().map(place), servers: Mutex::default() }
    }

    /// The credential server that a request goes to; `None` if it goes to the store.
    pub(super) fn asked_by(&self, request: &HttpRequest) -> Option<String> {
        let uri = request.uri();
        let asked = place(uri);
        // A store may give credentials, too.
        let is_sts = uri.query().is_some_and(|query| query.contains("Action=AssumeRole"));
        let is_store = self.store.as_ref().is_none_or(|store| *store == asked);
        (!is_store || is_sts).then(|| format!("{}:{}", asked.0, asked.1))
    }

    /// The answer, if it contains credentials that the client can read, or a step on the way to them. If there is none, the
    /// last one counts while its credentials are valid.
    pub(super) async fn ask(
        &self,
        server: String,
        client: &HttpClient,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let form = Form::of(request.uri().path());
        let error = match self.ask_now(&server, form, client, request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let (kept, has_credentials) = self.with(&server, |known| {
            let now = Timestamp::now();
            (known.kept(form, now), known.kept(Form::Document, now).is_some())
        });
        if has_credentials && let Some(kept) = kept {
            if form == Form::Document {
                let error = error_text(&error);
                log_limited!(
                    warn,
                    server,
                    error,
                    "no new credentials, the old ones are still valid"
                );
            }
            return Ok(HttpResponse::new(kept.into()));
        }
        // The client asks again after these.
        let is_repeated = matches!(
            error.kind(),
            HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted
        );
        if form == Form::Session && (has_credentials || !is_repeated) {
            // To the client this means that it can do without a session, as IMDSv1 does.
            let mut answer = HttpResponse::new(Bytes::new().into());
            *answer.status_mut() = StatusCode::FORBIDDEN;
            return Ok(answer);
        }
        Err(error)
    }

    async fn ask_now(
        &self,
        server: &str,
        form: Form,
        client: &HttpClient,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        let started = Instant::now();
        let name = || server.to_owned();
        if self.with(server, |known| known.is_paused(form, started)) {
            return Err(CredentialServerError::Paused { server: name() }.into_http());
        }
        let answer = async {
            let (parts, body) = client.execute(request).await?.into_parts();
            let mut start = Vec::new();
            read_first(body, MAX_BYTES + 1, &mut start).await?;
            Ok::<_, HttpError>((parts, start))
        };
        let time = if form == Form::Session { SESSION_TIME } else { ANSWER_TIME };
        let failed = |is_silent| {
            self.with(server, |known| known.failed(form, started, Instant::now(), is_silent));
        };
        let (parts, bytes) = match tokio::time::timeout(time, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() != HttpErrorKind::Timeout => {
                failed(false);
                return Err(error);
            }
            _ => {
                failed(true);
                return Err(CredentialServerError::Silent { server: name() }.into_http());
            }
        };
        let status = parts.status.as_u16();
        if !parts.status.is_success() {
            let text = shown(&bytes);
            let error = CredentialServerError::Status { server: name(), status, text }.into_http();
            if error.kind() == HttpErrorKind::Interrupted {
                failed(false);
            }
            return Err(error);
        }
        if bytes.len() > MAX_BYTES {
            return Err(CredentialServerError::TooLong { server: name() }.into_http());
        }
        let is_new = |bytes: &Bytes| {
            self.with(server, |known| known.answered(form, bytes, Timestamp::now()))
        };
        match form.checked(&bytes).filter(is_new) {
            Some(bytes) => Ok(HttpResponse::from_parts(parts, bytes.into())),
            None => Err(CredentialServerError::Odd { server: name() }.into_http()),
        }
    }

    fn with<T>(&self, server: &str, act: impl FnOnce(&mut Server) -> T) -> T {
        act(self.servers.lock().entry(server.to_owned()).or_default())
    }
}

impl Server {
    fn is_paused(&self, form: Form, now: Instant) -> bool {
        let is_ahead = |until: Option<Instant>| until.is_some_and(|until| now < until);
        is_ahead(self.paused_until) || form == Form::Session && is_ahead(self.no_session_until)
    }

    /// Notes that a question of `started` got no answer. One that is refused at once is asked again by the client, which
    /// helps if the server is back soon.
    fn failed(&mut self, form: Form, started: Instant, now: Instant, is_silent: bool) {
        if form == Form::Session {
            // A server without sessions may answer everything else.
            self.no_session_until = is_silent.then(|| now + PAUSE);
            return;
        }
        let since = *self.failing_since.get_or_insert(started);
        if is_silent || now.duration_since(since) >= PAUSE {
            self.paused_until = Some(now + PAUSE);
        }
    }

    /// Notes an answer. False if it has no credentials: these always say until when they are valid.
    fn answered(&mut self, form: Form, bytes: &Bytes, now: Timestamp) -> bool {
        match (form, Kept::of(bytes, now)) {
            (Form::Session, _) => return true,
            (Form::Role, _) => self.role = Some(bytes.clone()),
            (Form::Document, Some(kept)) => self.credentials = Some(kept),
            (Form::Document, None) => return false,
        }
        (self.failing_since, self.paused_until) = (None, None);
        true
    }

    /// What it has answered before, if that still counts.
    fn kept(&self, form: Form, now: Timestamp) -> Option<Bytes> {
        match form {
            Form::Session => None,
            Form::Role => self.role.clone(),
            Form::Document => self.credentials.as_ref()?.given_at(now),
        }
    }
}

/// Host and port, as they are written: an address can be written in several ways.
fn place(uri: &Uri) -> (String, u16) {
    let known = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    (host, uri.port_u16().unwrap_or(known))
}

/// True for the addresses at which clouds answer the machines in them, and nobody else.
pub(super) fn is_metadata_server(uri: &Uri) -> bool {
    let (host, _) = place(uri);
    let is_address = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || address == METADATA_IPV6,
        Err(_) => host == "metadata.google.internal",
    };
    is_address && uri.scheme_str() == Some("http")
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SHOWN)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
