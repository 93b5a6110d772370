//! Requests to the servers that are checked: pushes over HTTP or gRPC, queries over HTTP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use prost::Message as _;
use tactus_config::without_passwords;
use tactus_proto::google::rpc::Status as RpcStatus;
use tactus_proto::otlp::trace_service_client::TraceServiceClient;
use tactus_proto::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tactus_telemetry::error_text;
use tactus_tls::{ClientTls, ClientTlsSettings, Pem};
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::arguments::check::{Access, Check};
use crate::credentials::Credentials;
use crate::error::{Error, Failure, Result};

/// Most bytes of an answer. A trace of the checker has about ten thousand.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Bytes of an error's text that are kept.
const MAX_ERROR_BYTES: usize = 500;

/// The servers for pushes, and those for queries. Several addresses take turns.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) push: Vec<PushServer>,
    pub(crate) query: Vec<QueryServer>,
}

impl Servers {
    /// Makes no request. Errors: addresses, headers, certificates.
    pub(crate) fn new(arguments: &Check) -> Result<Self> {
        let access = &arguments.access;
        let secure = |url: &String| url.starts_with("https://") || url.starts_with("grpcs://");
        let urls = arguments.push_urls.iter().chain(&arguments.query_urls);
        let tls = if urls.clone().any(secure) { Some(tls(access)?) } else { None };
        let credentials = Arc::new(Credentials::new(&access.headers)?);
        let http = || HttpClient {
            credentials: Arc::clone(&credentials),
            tls: tls.clone(),
            timeout: arguments.timeout,
            current: Mutex::new(None),
        };
        let push = arguments.push_urls.iter().map(|url| {
            let address = address(url)?;
            let way = match url.split_once("://") {
                Some(("grpc", _)) => {
                    Way::Grpc(channel(&address, None, arguments.timeout)?, Arc::clone(&credentials))
                }
                Some(("grpcs", _)) => Way::Grpc(
                    channel(&address, tls.clone(), arguments.timeout)?,
                    Arc::clone(&credentials),
                ),
                _ => Way::Http(http()),
            };
            Ok(PushServer { url: base(url).to_owned(), way, timeout: arguments.timeout })
        });
        let push = push.collect::<Result<_>>()?;
        let query = arguments.query_urls.iter().map(|url| {
            address(url)?;
            if url.starts_with("grpc") {
                return Err(Error::Usage(format!(
                    "--query-url: {url} must begin with http:// or https://"
                )));
            }
            Ok(QueryServer { url: url.trim_end_matches('/').to_owned(), http: http() })
        });
        Ok(Self { push, query: query.collect::<Result<_>>()? })
    }

    /// The one whose turn it is.
    pub(crate) fn push_at(&self, turn: u64) -> &PushServer {
        &self.push[(turn % self.push.len() as u64) as usize]
    }

    /// The one whose turn it is.
    pub(crate) fn query_at(&self, turn: u64) -> &QueryServer {
        &self.query[(turn % self.query.len() as u64) as usize]
    }
}

/// An address to which paths can be added. Its `/v1/traces`, if it has that, is removed.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v1/traces").unwrap_or(url)
}

/// `host:port` of an address. Errors: the scheme is unknown, there is no host, or there is a password, which metrics and logs
/// would show.
fn address(url: &str) -> Result<String> {
    let wrong = |reason: &str| Error::Usage(format!("the address {url:?} {reason}"));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') || without_passwords(url) != url {
        return Err(Error::Usage(
            "an address must not hold a password: use --basic-auth-file".to_owned(),
        ));
    }
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        "grpc" | "grpcs" => 4317,
        _ => return Err(wrong("must begin with http://, https://, grpc:// or grpcs://")),
    };
    let authority: http::uri::Authority = authority.parse().map_err(|_| wrong("has no host"))?;
    Ok(match authority.port() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:{port}"),
    })
}

fn tls(access: &Access) -> Result<Arc<ClientTls>> {
    let pem = |flag: &str, path: &Option<PathBuf>| path.as_ref().map(|path| Pem::file(flag, path));
    let settings = ClientTlsSettings {
        certificate: pem("--tls-cert", &access.tls_cert),
        key: pem("--tls-key", &access.tls_key),
        ca: pem("--tls-ca", &access.tls_ca),
        insecure_skip_verify: access.tls_insecure_skip_verify,
        alpn: vec!["h2".to_owned()],
        ..ClientTlsSettings::new("--tls")
    };
    ClientTls::load(settings).map_err(|error| Error::Setup(error_text(&error)))
}

fn channel(address: &str, tls: Option<Arc<ClientTls>>, timeout: Duration) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Error::Usage(format!("{address}: {}", error_text(&error))))?
        .connect_timeout(timeout)
        .keep_alive_while_idle(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(timeout);
    Ok(endpoint.connect_with_connector_lazy(tactus_tls::connect::connector(tls)))
}

/// An HTTP client that loads its certificates again when their files change.
#[derive(Debug)]
struct HttpClient {
    credentials: Arc<Credentials>,
    tls: Option<Arc<ClientTls>>,
    timeout: Duration,
    current: Mutex<Option<(Option<Arc<rustls::ClientConfig>>, reqwest::Client)>>,
}

impl HttpClient {
    fn client(&self) -> Result<reqwest::Client, Failure> {
        let config = self.tls.as_ref().map(|tls| tls.config());
        let mut current = self.current.lock();
        if let Some((of, client)) = &*current
            && of.as_ref().map(Arc::as_ptr) == config.as_ref().map(Arc::as_ptr)
        {
            return Ok(client.clone());
        }
        let builder = reqwest::Client::builder()
            .timeout(self.timeout)
            .redirect(reqwest::redirect::Policy::none());
        let builder = match config.as_deref() {
            Some(tls) => {
                let mut tls = tls.clone();
                // The library chooses the version of HTTP. gRPC has connections of its own.
                tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
                builder.tls_backend_preconfigured(tls)
            }
            // A machine without any certificates is enough.
            None => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(failed)?;
        *current = Some((config, client.clone()));
        Ok(client)
    }

    /// The status and the body of an answer.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        tenant: Option<&HeaderValue>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let mut response =
            request.headers(self.credentials.headers(tenant)).send().await.map_err(failed)?;
        let is_protobuf = is_protobuf(response.headers());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::Failed(format!(
                    "the answer has more than {MAX_ANSWER_BYTES} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        let (status, body) = (response.status(), body.freeze());
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok((status, body));
        }
        let text = format!("{status}: {}", reason(body, is_protobuf));
        // 429 is a refusal, and 408 is a failure.
        Err(match status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT {
            true => Failure::Refused(text),
            false => Failure::Failed(text),
        })
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-protobuf"))
}

/// What an answer says of its failure. OTLP wants it in the encoding of the request.
fn reason(body: Bytes, is_protobuf: bool) -> String {
    let status = if is_protobuf { RpcStatus::decode(body.clone()).ok() } else { None };
    let text = status.map_or(body, |status| Bytes::from(status.message));
    String::from_utf8_lossy(&text[..text.len().min(MAX_ERROR_BYTES)]).trim().to_owned()
}

fn failed(error: reqwest::Error) -> Failure {
    Failure::Failed(error_text(&error.without_url()))
}

/// A server that receives traces.
#[derive(Debug)]
pub(crate) struct PushServer {
    /// As it was given.
    pub(crate) url: String,
    way: Way,
    timeout: Duration,
}

#[derive(Debug)]
enum Way {
    Http(HttpClient),
    Grpc(Channel, Arc<Credentials>),
}

impl PushServer {
    /// Returns when the server has acknowledged all spans.
    pub(crate) async fn push(
        &self,
        request: ExportTraceServiceRequest,
        tenant: Option<&HeaderValue>,
    ) -> Result<(), Failure> {
        let answer = match &self.way {
            Way::Http(http) => {
                let url = format!("{}/v1/traces", self.url);
                let request = http
                    .client()?
                    .post(url)
                    .header(http::header::CONTENT_TYPE, "application/x-protobuf")
                    .body(request.encode_to_vec());
                let (status, body) = http.send(request, tenant).await?;
                if status == StatusCode::NOT_FOUND {
                    return Err(Failure::Refused("404: there is no /v1/traces".to_owned()));
                }
                ExportTraceServiceResponse::decode(body)
                    .map_err(|_| Failure::Failed("the answer is not OTLP".to_owned()))?
            }
            Way::Grpc(channel, credentials) => {
                let metadata = MetadataMap::from_headers(credentials.headers(tenant));
                let request =
                    tonic::Request::from_parts(metadata, tonic::Extensions::default(), request);
                let mut client = TraceServiceClient::new(channel.clone());
                let called = tokio::time::timeout(self.timeout, client.export(request)).await;
                let late = |_| Failure::Failed(format!("no answer within {:?}", self.timeout));
                called.map_err(late)?.map_err(status)?.into_inner()
            }
        };
        match answer.partial_success {
            Some(partial) if partial.rejected_spans > 0 => {
                let (count, text) = (partial.rejected_spans, partial.error_message);
                Err(Failure::Refused(format!("{count} spans rejected: {text}")))
            }
            _ => Ok(()),
        }
    }
}

fn status(status: tonic::Status) -> Failure {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument
        | Code::ResourceExhausted
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => Failure::Refused(text),
        _ => Failure::Failed(text),
    }
}

/// A server that answers queries.
#[derive(Debug)]
pub(crate) struct QueryServer {
    /// As it was given.
    pub(crate) url: String,
    http: HttpClient,
}

impl QueryServer {
    /// The body of the answer to a GET; `None` for 404.
    pub(crate) async fn get(
        &self,
        path_and_query: &str,
        accept: &'static str,
        tenant: Option<&HeaderValue>,
    ) -> Result<Option<Bytes>, Failure> {
        let url = format!("{}{path_and_query}", self.url);
        let request = self.http.client()?.get(url).header(http::header::ACCEPT, accept);
        let (status, body) = self.http.send(request, tenant).await?;
        Ok((status != StatusCode::NOT_FOUND).then_some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_traces_may_be_given_in_full() {
        assert_eq!(base("http://tempo:4318/v1/traces/"), "http://tempo:4318");
        assert_eq!(base("http://tempo:4318/prefix/"), "http://tempo:4318/prefix");
    }

    #[test]
    fn reason_of_a_refused_push_is_text() {
        let status = RpcStatus { code: 8, message: "too many spans".into(), ..Default::default() };
        assert_eq!(reason(status.encode_to_vec().into(), true), "too many spans");
        assert_eq!(reason(" no tenant\n".into(), false), "no tenant");
        // A proxy before the server does not look at what it says of its answer.
        assert_eq!(reason("Bad Gateway".into(), true), "Bad Gateway");
        assert_eq!(reason("x".repeat(900).into(), false).len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn addresses_have_hosts_and_no_passwords() {
        let good = [
            ("http://tempo:4318", "tempo:4318"),
            ("https://tempo/prefix/", "tempo:443"),
            ("grpc://[::1]:9", "[::1]:9"),
            ("grpcs://tempo", "tempo:4317"),
        ];
        for (url, expected) in good {
            assert_eq!(address(url).unwrap(), expected);
        }
        for url in [
            "",
            "tempo:4317",
            "ftp://tempo",
            "http://",
            "http://u:secret@tempo",
            "htp://u:secret@tempo",
            "http://u:secret/x@tempo",
            "u:secret@tempo",
            "grpc:// x",
        ] {
            let error = address(url).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
        let mistaken = ["--query-url", "grpc://u:secret@tempo"];
        let error = Servers::new(&Check::parsed(&mistaken)).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
