//! `/api/mcp`: a server of the Model Context Protocol, by which language models query traces.
//!
//! ```text
//! message -> tool -> GET of a route of the query API, in this process -> its body as text
//! ```
//!
//! Tools ask the routes as any client would, with the headers of the caller: so tenants, limits, queues, logs and metrics of
//! queries are the same. The transport is MCP's streamable HTTP without sessions and without streams: each message is
//! answered by itself, so any query-frontend can take it.

mod documents;
mod message;
mod question;
mod tools;

use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, OriginalUri, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, Uri, request};
use serde_json::{Value, json};
use tactus_api::{Encoding, Error};
use tactus_clock::unix_nanos;
use tactus_model::TenantId;
use tactus_model::error_text::cut_str;
use tactus_server::http::text;
use tactus_telemetry::metrics::{CounterVec, Registry};
use tower::Service as _;

use crate::current_query::as_part_of_query;
use crate::frontend::Frontend;
use crate::http::{Answer, Failure, PARTIAL, router as query_routes};
use crate::offload::offload_within;
use documents::Document;
use message::{ErrorKind, Member, Message, Params, RpcError};
use question::{Question, ToolError};
use tools::Tool;

const PATH: &str = "/api/mcp";

/// The versions of the protocol, the newest first. What they have in common is all that is used here.
const VERSIONS: &[&str] = &["2025-06-18", "2025-03-26", "2024-11-05"];
const VERSION_HEADER: &str = "mcp-protocol-version";

/// Clients of Tempo's server may know it by these.
const SERVER_NAME: &str = "tempo";
const SERVER_VERSION: &str = "0.1.0";

/// The version of the form of results.
const RESULT_VERSION: &str = "1";

/// Bytes of a message: more than the longest query takes.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
const TOO_LARGE_TEXT: &str = "http: request body too large";

/// Bytes of an answer: no model reads as many.
const MAX_ANSWER_BYTES: usize = 8 << 20;
/// What an answer takes with the message that is made of it, in which quotes and backslashes are escaped.
const MESSAGE_EXPANSION: u64 = 3;
/// An answer that is longer is written on a thread of its own.
const INLINE_ANSWER_BYTES: usize = 64 << 10;

const INSTRUCTIONS: &str = "\
Finds and analyses distributed traces with TraceQL. Read docs-traceql (basic, and metrics for numbers) before your first query. \
Use get-attribute-names and get-attribute-values to learn which attributes and values exist instead of guessing them. Use \
traceql-search to find traces and get-trace to read one. Use traceql-metrics-instant for one number per service, route or other \
attribute, and traceql-metrics-range for their course over time. Times are RFC 3339; without them tools look at the last hour. \
If a query finds nothing, look up the attributes, then widen the time range.";

tactus_telemetry::metrics! {
    #[derive(Debug)]
    struct Counted {
        calls: CounterVec<1> = "tempo_query_frontend_mcp_calls_total", "Calls of tools by language models, by tool.", ["tool"];
    }
}

struct Server {
    frontend: Arc<Frontend>,
    /// The query API.
    routes: Router,
    counted: Counted,
}

/// The route. Put behind authentication; it has no fallback.
pub fn router(frontend: Arc<Frontend>, registry: &Registry) -> Router {
    let server = Server {
        routes: query_routes(Arc::clone(&frontend)),
        frontend,
        counted: Counted::register(registry),
    };
    Router::new()
        .route("/api/mcp", post(take_message).delete(end_session))
        .route_layer(DefaultBodyLimit::max(MAX_MESSAGE_BYTES))
        .with_state(Arc::new(server))
}

/// There are no sessions to end. Grafana's MCP server asks this to learn whether there are tools: 200 means yes.
async fn end_session(State(server): State<Arc<Server>>, head: request::Parts) -> Response {
    match tenants_of(&server.frontend, &head) {
        ControlFlow::Continue(_) => StatusCode::OK.into_response(),
        ControlFlow::Break(refused) => refused,
    }
}

async fn take_message(
    State(server): State<Arc<Server>>,
    head: request::Parts,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let tenants = match tenants_of(&server.frontend, &head) {
        ControlFlow::Continue(tenants) => tenants,
        ControlFlow::Break(refused) => return refused,
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE_TEXT);
        }
        Err(rejection) => return rejection.into_response(),
    };
    if let Some(version) = head.headers.get(VERSION_HEADER)
        && !VERSIONS.iter().any(|known| version == known)
    {
        let reason = format!("MCP-Protocol-Version: expected one of {}", VERSIONS.join(", "));
        return refusal(&Value::Null, RpcError::new(ErrorKind::InvalidRequest, reason));
    }
    match message::parse(&body) {
        Ok(None) => StatusCode::ACCEPTED.into_response(),
        Ok(Some(Message { id, method, params })) => {
            drop(body);
            let caller = Caller { server: &server, tenants: &tenants, head: &head };
            as_part_of_query(&tenants, Box::pin(caller.answer(id, &method, params))).await
        }
        Err((id, error)) => refusal(&id, error),
    }
}

/// The tenants of a request, or the answer to one that is refused.
fn tenants_of(frontend: &Frontend, head: &request::Parts) -> ControlFlow<Response, Vec<TenantId>> {
    let tenants = frontend.tenancy.read_tenants(&head.headers);
    match (tenants, frontend.check_request(&head.uri, &head.extensions)) {
        (Err(error), _) => ControlFlow::Break(error.into_response()),
        (_, Err(error)) => ControlFlow::Break(Failure::from(error).into_response()),
        (Ok(tenants), Ok(())) => ControlFlow::Continue(tenants),
    }
}

/// The answer to what is no message, or none that makes sense. Errors of a method are ordinary answers.
fn refusal(id: &Value, error: RpcError) -> Response {
    let status = match error.kind {
        ErrorKind::ParseError | ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorKind::MethodNotFound | ErrorKind::InvalidParams => StatusCode::OK,
    };
    let mut response = answer(message::response(id, Err(error)), false);
    *response.status_mut() = status;
    response
}

fn answer(body: Vec<u8>, partial: bool) -> Response {
    Answer::of_type(Encoding::Json.content_type(), body, partial).into_response()
}

/// What a tool found.
struct Found {
    text: Bytes,
    /// Something is missing because it could not be read.
    partial: bool,
}

/// Who sent a message.
struct Caller<'a> {
    server: &'a Server,
    tenants: &'a [TenantId],
    head: &'a request::Parts,
}

impl Caller<'_> {
    async fn answer(&self, id: Value, method: &str, params: Params) -> Response {
        let outcome = match method {
            "initialize" => Ok(initialize(&params)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(tools::list()),
            "tools/call" => return self.call(id, params).await,
            "resources/list" => Ok(documents::list()),
            "resources/read" => read_resource(&params),
            "resources/templates/list" => Ok(json!({ "resourceTemplates": [] })),
            other => Err(RpcError::new(ErrorKind::MethodNotFound, format!("{:?}", cut_str(other)))),
        };
        answer(message::response(&id, outcome), false)
    }

    async fn call(&self, id: Value, params: Params) -> Response {
        let tool = match tool_of(&params) {
            Ok(tool) => tool,
            Err(error) => return answer(message::response(&id, Err(error)), false),
        };
        let arguments = match params.arguments {
            Member::Is(arguments) => arguments,
            Member::Absent => Default::default(),
            Member::Other => {
                let error = RpcError::params("params.arguments: expected an object");
                return answer(message::response(&id, Err(error)), false);
            }
        };
        self.server.counted.calls.with([tool.name()]).inc();
        let (frontend, tenants) = (&self.server.frontend, self.tenants);
        let question = Question::of(tool, arguments, frontend, tenants, unix_nanos()).await;
        let found = match question {
            Ok(Question::Route(url)) => self.ask(&url).await,
            Ok(Question::Text(text)) => Ok(Found { text, partial: false }),
            Err(error) => Err(error),
        };
        let written = match found {
            Ok(found) => self.write(&id, tool, found).await,
            Err(error) => Err(error),
        };
        written.unwrap_or_else(|error| {
            answer(message::response(&id, Ok(failed(&error.to_string()))), false)
        })
    }

    /// The message with what a tool found.
    async fn write(&self, id: &Value, tool: Tool, found: Found) -> Result<Response, ToolError> {
        let Found { text, partial } = found;
        let bytes = text.len() as u64 * MESSAGE_EXPANSION;
        let (id, is_long) = (id.clone(), text.len() > INLINE_ANSWER_BYTES);
        let memory = &self.server.frontend.memory;
        let body = offload_within(memory, bytes, is_long, move || {
            let text = String::from_utf8_lossy(&text);
            let mut meta = json!({
                "type": tool.result_type(), "encoding": tool.encoding(), "version": RESULT_VERSION,
            });
            if partial {
                meta["partial"] = json!(true);
            }
            let content = json!([{ "type": "text", "text": text }]);
            let result = json!({ "content": content, "isError": false, "_meta": meta });
            message::response(&id, Ok(result))
        });
        Ok(answer(body.await?, partial))
    }

    /// Asks a route of the query API for the caller, in the form for language models where there is one.
    async fn ask(&self, url: &str) -> Result<Found, ToolError> {
        // Everything in it is encoded, so only its length can be wrong.
        let uri: Uri = url.parse().map_err(|_| ToolError::Failed {
            status: StatusCode::URI_TOO_LONG,
            reason: "the arguments are too long".to_owned(),
        })?;
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = headers_of_caller(&self.head.headers);
        if let Some(original) = below_prefix(&self.head.extensions, url) {
            request.extensions_mut().insert(OriginalUri(original));
        }
        *request.uri_mut() = uri;
        let response = match self.server.routes.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        if body.size_hint().lower() > MAX_ANSWER_BYTES as u64 {
            return Err(ToolError::TooLong { max_bytes: MAX_ANSWER_BYTES });
        }
        // No route streams this form, so the body is there already.
        let text = to_bytes(body, MAX_ANSWER_BYTES).await;
        let text = text.map_err(|error| Error::Internal(error.to_string()))?;
        if head.status != StatusCode::OK {
            let reason = String::from_utf8_lossy(&text).trim_end().to_owned();
            return Err(ToolError::Failed { status: head.status, reason });
        }
        Ok(Found { text, partial: head.headers.contains_key(PARTIAL) })
    }
}

/// The headers of the caller without those about the body, which a GET does not have.
fn headers_of_caller(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for of_body in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
        headers.remove(of_body);
    }
    headers.insert(ACCEPT, HeaderValue::from_static(Encoding::Llm.content_type()));
    headers
}

/// The url as a client writes it that knows the path prefix: the deny list may name it so.
fn below_prefix(extensions: &Extensions, url: &str) -> Option<Uri> {
    let OriginalUri(original) = extensions.get()?;
    let prefix = original.path().strip_suffix(PATH)?;
    format!("{prefix}{url}").parse().ok()
}

fn initialize(params: &Params) -> Value {
    let wanted = match &params.protocol_version {
        Member::Is(version) => VERSIONS.iter().find(|known| *known == version),
        _ => None,
    };
    json!({
        "protocolVersion": wanted.unwrap_or(&VERSIONS[0]),
        "capabilities": { "tools": { "listChanged": false }, "resources": { "subscribe": false, "listChanged": false } },
        "serverInfo": { "name": SERVER_NAME, "version": SERVER_VERSION },
        "instructions": INSTRUCTIONS,
    })
}

fn tool_of(params: &Params) -> Result<Tool, RpcError> {
    let Member::Is(name) = &params.name else {
        return Err(RpcError::params("params.name: expected the name of a tool"));
    };
    Tool::from_text(name).ok_or_else(|| {
        let known = Tool::WORDS.join(", ");
        let name = cut_str(name);
        RpcError::params(format!("params.name: expected one of {known}, not {name:?}"))
    })
}

fn read_resource(params: &Params) -> Result<Value, RpcError> {
    let Member::Is(uri) = &params.uri else {
        return Err(RpcError::params("params.uri: expected the URI of a resource"));
    };
    let document = Document::of_uri(uri).ok_or_else(|| {
        let (known, uri) = (Document::uris(), cut_str(uri));
        RpcError::params(format!("params.uri: expected one of {known}, not {uri:?}"))
    })?;
    Ok(document.read())
}

/// The result of a tool that failed: the model reads the reason.
fn failed(reason: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": reason }], "isError": true })
}
