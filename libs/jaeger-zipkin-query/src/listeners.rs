//! The ports of the query APIs of Jaeger and Zipkin.
//!
//! They are optional, because the HTTP APIs are on the main port as well, below `/jaeger` and `/zipkin`. So if another
//! program uses a port that was not configured explicitly, the process still starts.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tactus_process::memory::PortMemory;
use tactus_process::{AddGrpc, Error, Port, ReadyCheck, ShownAddresses};
use tactus_proto::JAEGER_QUERY_DESCRIPTORS;
use tactus_server::auth::{
    Access, Authenticator, GrpcAccess, PUBLIC_GRPC, STANDARD_GRPC, guard, guard_grpc,
};
use tactus_server::grpc;
use tactus_server::health::health_service_of;
use tactus_server::http::{self, HttpSettings, not_found};
use tactus_server::listener::{BoundListener, ListenerSettings};
use tactus_server::observe::RequestMetrics;
use tactus_server::operational::metrics_page;
use tactus_server::tenancy::TENANT_HEADER;
use tactus_telemetry::metrics::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic_reflection::server as reflection;

use crate::jaeger_grpc::{Answering, MessageLimits, WriteSpans, query_services, storage_services};
use crate::zipkin::at_plain_path;
use settings::GrpcPort;

pub(crate) use settings::{Ports, ports};

/// Names by which clients of the query port ask for its health.
const QUERY_HEALTH: &[&str] = &[
    "jaeger.api_v2.QueryService",
    "jaeger.api_v3.QueryService",
    "jaeger.api_v2.metrics.MetricsQueryService",
];

/// And those of the storage ports.
const STORAGE_HEALTH: &[&str] = &[
    "jaeger.storage.v1.SpanReaderPlugin",
    "jaeger.storage.v1.DependenciesReaderPlugin",
    "jaeger.storage.v2.TraceReader",
    "jaeger.storage.v2.DependencyReader",
    "jaeger.storage.v2.TraceWriter",
];

/// Calls in which a Jaeger sends spans for hours.
const LONG_CALLS: &[&str] = &["/jaeger.storage.v1.StreamingSpanWriterPlugin/WriteSpanStream"];

/// What the services of the storage ports ask of their callers. What no line names is refused.
const STORAGE_GRPC: GrpcAccess = &[
    (PUBLIC_GRPC, Access::Public),
    ("/jaeger.storage.v1.SpanWriterPlugin/", Access::Write),
    ("/jaeger.storage.v1.StreamingSpanWriterPlugin/", Access::Write),
    ("/jaeger.storage.v1.ArchiveSpanWriterPlugin/", Access::Write),
    ("/jaeger.storage.", Access::Read),
    ("/opentelemetry.proto.collector.", Access::Write),
];

/// What the ports serve.
pub(crate) struct Served {
    /// Jaeger's HTTP API, below its base path.
    pub(crate) jaeger: Router,
    /// The pages on the same port, with their API behind authentication.
    pub(crate) jaeger_pages: Router,
    /// What Jaeger's gRPC services answer from.
    pub(crate) answering: Answering,
    /// Where the spans go that a Jaeger stores here; `None`: they are refused.
    pub(crate) write: Option<WriteSpans>,
    /// Zipkin's HTTP API.
    pub(crate) zipkin: Router,
    /// The pages on the same port, as those of Jaeger's.
    pub(crate) zipkin_pages: Router,
    /// Whether queries are answered.
    pub(crate) ready: ReadyCheck,
}

/// Ports that listen.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) bound: Vec<BoundListener>,
    /// Whether the health services say that the process serves.
    serving: watch::Sender<bool>,
    stop: CancellationToken,
}

/// Binds all ports and serves them. Errors: an address that is set cannot be bound.
pub(crate) async fn open(
    ports: Ports,
    served: Served,
    authenticator: Option<&Arc<Authenticator>>,
    addresses: &ShownAddresses,
    limits: &PortLimits,
) -> Result<Listening, Error> {
    let (serving, is_serving) = watch::channel(true);
    let stop = CancellationToken::new();
    let mut opening = Opening {
        addresses,
        limits,
        stop: &stop,
        metrics: RequestMetrics::register(Registry::global()),
        bound: Vec::new(),
    };
    let Ports { jaeger_http, jaeger_grpc, storage, zipkin, admin } = ports;
    if let Some(port) = jaeger_http {
        let router = guard(served.jaeger, Access::Read, authenticator).merge(served.jaeger_pages);
        opening.http(port, router.fallback(not_found), "/jaeger").await?;
    }
    if let Some(GrpcPort { port, messages }) = jaeger_grpc {
        let services = with_reflection(query_services(served.answering.clone(), messages));
        let router = grpc_services(&services, is_serving.clone(), QUERY_HEALTH);
        let guarded = guard_grpc(router, STANDARD_GRPC, authenticator);
        opening.grpc(port, guarded, messages, None).await?;
    }
    for GrpcPort { port, messages } in storage {
        let services = storage_services(served.answering.clone(), served.write.clone(), messages);
        let router = grpc_services(&services, is_serving.clone(), STORAGE_HEALTH);
        let bearer = match authenticator {
            Some(_) => BearerToken::Credential,
            None => BearerToken::Tenant,
        };
        let guarded = guard_grpc(router, STORAGE_GRPC, authenticator);
        opening.grpc(port, guarded, messages, Some(bearer)).await?;
    }
    if let Some(port) = zipkin {
        let router = guard(served.zipkin, Access::Read, authenticator).merge(served.zipkin_pages);
        opening.http(port, router.fallback(at_plain_path), "/zipkin").await?;
    }
    if let Some(port) = admin {
        let router = admin_router(served.ready, authenticator);
        opening.http(port, router.fallback(not_found), "").await?;
    }
    Ok(Listening { bound: opening.bound, serving, stop })
}

impl Listening {
    /// Closes all ports; what runs may end.
    pub(crate) async fn stop(self) {
        let Self { bound, serving, stop } = self;
        serving.send_replace(false);
        stop.cancel();
        // Calls of the health service that watch last as long as this, and ports wait for calls.
        drop(serving);
        for listener in bound {
            listener.stopped().await;
        }
    }
}

/// What bounds requests, at all ports alike.
#[derive(Debug, Clone)]
pub(crate) struct PortLimits {
    pub(crate) memory: PortMemory,
    /// Longest time until a response over HTTP begins.
    pub(crate) request_timeout: Option<Duration>,
}

impl PortLimits {
    pub(crate) fn http(&self, listener: ListenerSettings) -> HttpSettings {
        HttpSettings {
            listener,
            bodies: self.memory.bodies(),
            request_timeout: self.request_timeout,
            ..HttpSettings::default()
        }
    }
}

/// What opening a port takes.
struct Opening<'p> {
    addresses: &'p ShownAddresses,
    limits: &'p PortLimits,
    stop: &'p CancellationToken,
    metrics: RequestMetrics,
    bound: Vec<BoundListener>,
}

impl Opening<'_> {
    /// `prefix`: where the same routes are on the main port, so that both count as one.
    async fn http(
        &mut self,
        port: Port,
        router: Router,
        prefix: &'static str,
    ) -> Result<(), Error> {
        let Some(socket) = port.bind().await? else { return Ok(()) };
        let (metrics, stop) = (self.metrics.clone().below(prefix), self.stop.clone());
        let settings = self.limits.http(port.listener.clone());
        let bound = http::serve_quietly(socket, settings, router, None, metrics, stop)?;
        port.note(bound.local_addr(), self.addresses);
        self.bound.push(bound);
        Ok(())
    }

    /// `bearer`: of a storage port, whose calls are translated.
    async fn grpc(
        &mut self,
        port: Port,
        router: Router,
        messages: MessageLimits,
        bearer: Option<BearerToken>,
    ) -> Result<(), Error> {
        let Some(socket) = port.bind().await? else { return Ok(()) };
        let (memory, max_bytes) = (self.limits.memory.bodies(), messages.received);
        let router = grpc::with_counted_bodies(router, memory, LONG_CALLS, max_bytes);
        let router = grpc::observed(router, self.metrics.clone());
        let router = match bearer {
            Some(bearer) => router.layer(from_fn_with_state(bearer, translate)),
            None => router,
        };
        let bound = grpc::serve_quietly(socket, port.listener.clone(), router, self.stop.clone())?;
        port.note(bound.local_addr(), self.addresses);
        self.bound.push(bound);
        Ok(())
    }
}

fn grpc_services(
    add: &AddGrpc,
    serving: watch::Receiver<bool>,
    names: &'static [&'static str],
) -> Router {
    let mut routes = RoutesBuilder::default();
    routes.add_service(health_service_of(serving, names));
    add(&mut routes);
    grpc::services(routes.routes())
}

/// Adds the reflection service, in both versions that clients use, which tells what the query services take and answer.
fn with_reflection(services: AddGrpc) -> AddGrpc {
    Arc::new(move |routes| {
        services(routes);
        let builder = || {
            reflection::Builder::configure()
                .register_encoded_file_descriptor_set(JAEGER_QUERY_DESCRIPTORS)
        };
        match (builder().build_v1(), builder().build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => drop(routes.add_service(v1).add_service(v1alpha)),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "Jaeger query gRPC has no reflection");
            }
        }
    })
}

/// `/`: whether the process answers queries, for probes. `/metrics`: everything that is counted, for operators.
fn admin_router(ready: ReadyCheck, authenticator: Option<&Arc<Authenticator>>) -> Router {
    let health = get(move || async move { health(ready().is_ok()) });
    let metrics = get(|headers: HeaderMap| async move {
        metrics_page(&headers, |accept| Registry::global().page(accept))
    });
    guard(Router::new().route("/metrics", metrics), Access::Operate, authenticator)
        .route("/", health)
}

fn health(is_ready: bool) -> Response {
    let (status, text) = if is_ready {
        (StatusCode::OK, r#"{"status":"Server available"}"#)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"Server not available"}"#)
    };
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

const ORGANIZATION: HeaderName = HeaderName::from_static(TENANT_HEADER);

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

const BEARER: HeaderName = HeaderName::from_static("bearer.token");

/// What the user's bearer token is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BearerToken {
    /// The tenant: nobody has to say who they are.
    Tenant,
    /// The user's credentials, as its name says: authentication is on.
    Credential,
}

/// Middleware that moves the tenant, and the credentials, to where they are looked for: a Jaeger that has its storage here names the
/// tenant as `x-tenant` or by the user's bearer token, and what is behind this knows `x-scope-orgid` and `authorization`.
async fn translate(
    State(bearer): State<BearerToken>,
    mut request: Request,
    next: Next,
) -> Response {
    translate_headers(request.headers_mut(), bearer);
    next.run(request).await
}

fn translate_headers(headers: &mut HeaderMap, bearer: BearerToken) {
    let token = take(headers, &BEARER);
    if let Some(tenants) = take(headers, &TENANT)
        && !headers.contains_key(ORGANIZATION)
    {
        put(headers, &ORGANIZATION, tenants);
    }
    let Some(token) = token else { return };
    match bearer {
        BearerToken::Tenant if !headers.contains_key(ORGANIZATION) => {
            put(headers, &ORGANIZATION, token);
        }
        BearerToken::Credential if !headers.contains_key(AUTHORIZATION) => {
            let credentials = token.into_iter().filter_map(|token| {
                HeaderValue::from_bytes(&[b"Bearer ", token.as_bytes()].concat()).ok()
            });
            let credentials = credentials.map(|mut value| {
                value.set_sensitive(true);
                value
            });
            put(headers, &AUTHORIZATION, credentials.collect());
        }
        _ => {}
    }
}

/// All values of a key: different ones are an error, which is told by who reads them.
fn take(headers: &mut HeaderMap, name: &HeaderName) -> Option<Vec<HeaderValue>> {
    let values: Vec<_> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    (!values.is_empty()).then_some(values)
}

fn put(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    for value in values {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers after the translation, sorted.
    fn translated(headers: &[(&'static str, &'static str)], bearer: BearerToken) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        translate_headers(&mut map, bearer);
        let mut lines: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn tenant_is_that_of_the_first_key_that_names_one() {
        let keys = [("x-scope-orgid", "a"), ("x-tenant", "b"), ("bearer.token", "c")];
        for (from, tenant) in [(0, "a"), (1, "b"), (2, "c")] {
            let found = translated(&keys[from..], BearerToken::Tenant);
            assert_eq!(found, [format!("x-scope-orgid: {tenant}")]);
        }
        assert!(translated(&[], BearerToken::Tenant).is_empty());
    }

    #[test]
    fn several_tenants_stay_several() {
        let found = translated(&[("x-tenant", "a"), ("x-tenant", "b")], BearerToken::Tenant);
        assert_eq!(found, ["x-scope-orgid: a", "x-scope-orgid: b"]);
    }

    #[test]
    fn bearer_token_is_a_credential_where_those_are_asked_for() {
        let found = translated(&[("bearer.token", "s")], BearerToken::Credential);
        assert_eq!(found, ["authorization: Bearer s"]);
        let own = [("bearer.token", "s"), ("authorization", "Basic eA=="), ("x-tenant", "a")];
        let found = translated(&own, BearerToken::Credential);
        assert_eq!(found, ["authorization: Basic eA==", "x-scope-orgid: a"]);
    }
}
