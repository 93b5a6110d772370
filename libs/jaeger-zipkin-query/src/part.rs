//! The query APIs of Jaeger and Zipkin as part of a query-frontend.

use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;
use tactus_config::Config;
use tactus_process::{Error, Part, PlannedPort, Process, ReadyCheck};
use tactus_query::Frontend;
use tactus_server::auth::{Access, guard};
use tactus_server::http::{folder_of_prefix, with_middleware, with_path_prefix};
use tactus_server::listener::ListenerSettings;
use tactus_server::observe::RequestMetrics;
use tactus_telemetry::metrics::Registry;
use tokio::sync::oneshot;

use crate::jaeger::{JaegerQueries, jaeger_router};
use crate::jaeger_grpc::{Answering, WriteSpans};
use crate::listeners::{self, PortLimits, Served};
use crate::zipkin::{at_plain_path, zipkin_router};

/// The routes of the main port, as `/status/endpoints` lists them.
const ENDPOINTS: &[&str] = &[
    "/jaeger/api/services",
    "/jaeger/api/services/{service}/operations",
    "/jaeger/api/operations",
    "/jaeger/api/traces",
    "/jaeger/api/traces/{id}",
    "/jaeger/api/archive/{id}",
    "/jaeger/api/transform",
    "/jaeger/api/dependencies",
    "/jaeger/api/deep-dependencies",
    "/jaeger/api/quality-metrics",
    "/jaeger/api/metrics/minstep",
    "/jaeger/api/metrics/{kind}",
    "/jaeger/api/v3/traces",
    "/jaeger/api/v3/traces/{id}",
    "/jaeger/api/v3/trace-summaries",
    "/jaeger/api/v3/services",
    "/jaeger/api/v3/operations",
    "/jaeger/api/v3/dependencies",
    "/jaeger/api",
    "/jaeger/api/{path}",
    "/jaeger",
    "/jaeger/",
    "/jaeger/search",
    "/jaeger/trace/{ids}",
    "/jaeger/compare",
    "/jaeger/compare/{ids}",
    "/jaeger/dependencies",
    "/jaeger/deep-dependencies",
    "/jaeger/index.html",
    "/jaeger/quality-metrics",
    "/jaeger/monitor",
    "/zipkin/api/v2/services",
    "/zipkin/api/v2/spans",
    "/zipkin/api/v2/remoteServices",
    "/zipkin/api/v2/autocompleteKeys",
    "/zipkin/api/v2/autocompleteValues",
    "/zipkin/api/v2/traces",
    "/zipkin/api/v2/trace/{id}",
    "/zipkin/api/v2/traceMany",
    "/zipkin/api/v2/dependencies",
    "/zipkin/config.json",
    "/zipkin/health",
    "/zipkin",
    "/zipkin/",
    "/zipkin/traces/{id}",
    "/zipkin/dependency",
    "/zipkin/traceViewer",
];

/// Adds the APIs to the part of a query-frontend: its routes, and the ports that open when the part starts. `pages`: what
/// browsers are shown at the ports of both. `write`: where the spans go that a Jaeger in front stores here, if this process
/// can store any.
///
/// Returns what closes the ports. Errors: certificates.
pub fn add_to(
    part: &mut Part,
    process: &Process,
    frontend: Arc<Frontend>,
    pages: Router,
    write: Option<WriteSpans>,
    ready: ReadyCheck,
) -> Result<BoxFuture<'static, ()>, Error> {
    let apis = &process.config().query_frontend;
    let settings = &apis.jaeger;
    let queries = JaegerQueries::new(Arc::clone(&frontend), settings.clone());
    let zipkin = zipkin_router(Arc::clone(&frontend), apis.zipkin.clone());
    part.endpoints.extend(ENDPOINTS);
    let zipkin_pages = pages
        .clone()
        .merge(tactus_ui::zipkin_links(""))
        .merge(tactus_ui::zipkin_folder())
        .merge(with_path_prefix("/zipkin", tactus_ui::zipkin_links("../")));
    let limits = PortLimits {
        memory: process.port_memory().clone(),
        request_timeout: process.config().server.http_server_write_timeout.non_zero(),
    };
    let at_receiver = guard(zipkin.clone(), Access::Read, process.authenticator())
        .merge(zipkin_pages.clone())
        .fallback(at_plain_path);
    let metrics = RequestMetrics::register(Registry::global()).below("/zipkin");
    part.zipkin = with_middleware(at_receiver, &limits.http(ListenerSettings::default()), metrics);
    part.read = std::mem::take(&mut part.read)
        .merge(jaeger_router(queries.clone(), "/jaeger"))
        .merge(with_path_prefix("/zipkin", zipkin.clone()));
    part.public = std::mem::take(&mut part.public)
        .merge(tactus_ui::jaeger_folder())
        .merge(with_path_prefix("/jaeger", tactus_ui::jaeger_links("../")))
        .merge(tactus_ui::zipkin_folder())
        .merge(with_path_prefix("/zipkin", tactus_ui::zipkin_links("../")));
    let links = pages.merge(tactus_ui::jaeger_links(""));
    let jaeger_pages = with_path_prefix(&settings.http.base_path, links)
        .merge(folder_of_prefix(&settings.http.base_path));
    let jaeger = jaeger_router(queries.clone(), &settings.http.base_path);
    let answering = Answering { queries, tenancy: frontend.tenancy.clone() };
    let served = Served { jaeger, jaeger_pages, answering, write, zipkin, zipkin_pages, ready };
    open_when_started(part, process, served, limits)
}

/// Lets the ports open when the part starts. Returns what closes them.
fn open_when_started(
    part: &mut Part,
    process: &Process,
    served: Served,
    limits: PortLimits,
) -> Result<BoxFuture<'static, ()>, Error> {
    let ports = listeners::ports(process.config())?;
    let (addresses, authenticator) = (process.addresses(), process.authenticator().cloned());
    let (opened, listening) = oneshot::channel();
    part.start = Some(Box::pin(async move {
        let listening = listeners::open(ports, served, authenticator.as_ref(), &addresses, &limits);
        let _ = opened.send(listening.await?);
        Ok(())
    }));
    Ok(Box::pin(async move {
        if let Ok(listening) = listening.await {
            listening.stop().await;
        }
    }))
}

/// The ports that are asked for. Errors: certificates.
pub fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    Ok(listeners::ports(config)?.all().filter_map(PlannedPort::of).collect())
}
