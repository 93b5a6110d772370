//! What all handlers of the query API share: tenants, the format of the answer, errors.

use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::Router;
use prost::Message;
use serde_json::Value;
use tactus_api::{Encoding, Error, QueryParams, Result};
use tactus_model::TenantId;
use tactus_server::http::text;
use tactus_server::request_log::path_and_query;

use crate::current_query::as_part_of_query;
use crate::frontend::Frontend;
use crate::query_line::QueryLine;
use crate::streaming::EventCall;

/// This header marks answers that are incomplete because something could not be read.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-tactus-partial");

/// The media type for clients that read an answer while it grows.
const EVENT_STREAM: &str = "text/event-stream";

/// The media type for series as [`tactus_api::json::compact_series`] writes them.
pub(crate) const SERIES: &str = "application/vnd.tactus.series+json";

/// Prepares each request to these routes. Its handler takes an [`Asked`], and runs as part of a query of the tenants.
///
/// A request without valid tenants, or with a URL on the deny list, does not reach a handler.
pub(crate) fn begin_calls<S>(routes: Router<S>, frontend: &Arc<Frontend>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes.route_layer(from_fn_with_state(Arc::clone(frontend), begin))
}

async fn begin(
    State(frontend): State<Arc<Frontend>>,
    mut request: Request,
    next: Next,
) -> Response {
    let tenants = match frontend.tenancy.read_tenants(request.headers()) {
        Ok(tenants) => tenants,
        Err(error) => return error.into_response(),
    };
    if let Err(error) = frontend.check_request(request.uri(), request.extensions()) {
        return Failure(error).into_response();
    }
    let asked = (request.uri().clone(), request.version());
    let call = Call::new(frontend, tenants.clone(), asked, request.headers());
    request.extensions_mut().insert(call);
    as_part_of_query(&tenants, next.run(request)).await
}

/// The call that a handler answers.
pub(crate) type Asked = Extension<Call>;

/// A request whose tenants are known.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) uri: Uri,
    /// Of HTTP.
    pub(super) version: Version,
    /// The encoding that the client wants.
    pub(super) encoding: Encoding,
    /// The client reads the answer while it grows.
    pub(super) wants_events: bool,
    pub(super) wants_compact_series: bool,
    /// The line in the log, which is written when the query ends.
    line: Option<Arc<QueryLine>>,
}

impl Call {
    fn new(
        frontend: Arc<Frontend>,
        tenants: Vec<TenantId>,
        (uri, version): (Uri, Version),
        headers: &HeaderMap,
    ) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let accepted = || media_types(accept.unwrap_or_default());
        let wanted = &frontend.settings.section.log_query_request_headers;
        let line = QueryLine::begin(wanted, &tenants, path_and_query(&uri), headers);
        Self {
            frontend,
            tenants,
            uri,
            version,
            encoding: Encoding::negotiate(accept),
            // Clients of other protocols list event streams beside JSON. They get JSON.
            wants_events: accepted().next() == Some(EVENT_STREAM),
            wants_compact_series: accepted().any(|media| media == SERIES),
            line: line.map(Arc::new),
        }
    }

    pub(crate) fn params(&self) -> QueryParams<'_> {
        QueryParams::parse(self.uri.query().unwrap_or_default())
    }

    /// Parses the parameters as [`Frontend::parse_params`] does.
    pub(super) async fn parse<T: Send + 'static>(
        &self,
        parse: impl FnOnce(&QueryParams<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let params = self.uri.query().unwrap_or_default();
        self.frontend.parse_params(&self.tenants, params, parse).await
    }

    /// What the call asks for: see [`Frontend::parsed`].
    pub(super) fn parsed<T>(&self, op: &'static str, parsed: Result<T>) -> Result<T> {
        self.frontend.parsed(&self.tenants, op, parsed)
    }

    pub(super) fn events(self) -> EventCall {
        EventCall { frontend: self.frontend, tenants: self.tenants, _line: self.line }
    }

    /// The encoding of an answer that is not available for language models.
    pub(super) fn plain_encoding(&self) -> Encoding {
        if self.encoding == Encoding::Llm { Encoding::Json } else { self.encoding }
    }

    /// A message in the encoding of the call; `write` makes its JSON.
    pub(super) fn message<M: Message>(
        &self,
        partial: bool,
        message: &M,
        write: impl FnOnce(&M) -> Vec<u8>,
    ) -> Answer {
        let encoding = self.plain_encoding();
        let body = match encoding {
            Encoding::Protobuf => message.encode_to_vec(),
            _ => write(message),
        };
        Answer::new(body, encoding, partial)
    }
}

/// The media types of an `Accept` header, as written.
fn media_types(accept: &str) -> impl Iterator<Item = &str> {
    accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim)
}

/// The result of a handler.
pub(crate) type Answered<T = Answer> = std::result::Result<T, Failure>;

/// An answer that is ready to be sent.
pub(crate) struct Answer {
    body: Vec<u8>,
    content_type: &'static str,
    partial: bool,
}

impl Answer {
    /// `partial`: something is missing because it could not be read.
    pub(super) fn new(body: Vec<u8>, encoding: Encoding, partial: bool) -> Self {
        Self::of_type(encoding.content_type(), body, partial)
    }

    /// As [`Self::new`], with a media type of its own.
    pub(crate) fn of_type(content_type: &'static str, body: Vec<u8>, partial: bool) -> Self {
        Self { body, content_type, partial }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::new(value.to_string().into_bytes(), Encoding::Json, false)
    }

    pub(super) fn partial(self, partial: bool) -> Self {
        Self { partial, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        let content_type = HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        if self.partial {
            response.headers_mut().insert(PARTIAL, HeaderValue::from_static("true"));
        }
        response
    }
}

/// An error in the form that clients get.
pub(crate) struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = error.http_status();
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tactus_telemetry::log_limited!(warn, error = %error, status = %status, "query failed");
        }
        match error {
            Error::NotFound => status.into_response(),
            error => text(status, error.to_string()),
        }
    }
}
