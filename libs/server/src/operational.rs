//! Endpoints that every process has: readiness, metrics, status pages, build information.
//!
//! Content comes from closures, so that this lib knows neither configuration nor services.

use std::fmt;
use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::json;
use tactus_telemetry::{LogLevel, LoggingError};

use crate::auth::Caller;
use crate::text_answer::{error_line, text};

mod pages;

/// State of a service of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceState {
    /// Starting, for example replaying its log.
    Starting,
    /// At work.
    Running,
    /// Finishing its work.
    Stopping,
    /// Ended.
    Terminated,
}

/// As the status pages print it.
impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` and not `write_str`: the tables align by width.
        f.pad(match self {
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Terminated => "Terminated",
        })
    }
}

/// A service as `/status/services` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Name, as `distributor`.
    pub name: &'static str,
    /// Its state.
    pub state: ServiceState,
}

/// The form in which `/status/config` and `/status/runtime_config` show the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigView {
    /// Everything in effect.
    Effective,
    /// Only what differs from the defaults.
    Diff,
    /// The defaults.
    Defaults,
}

/// Versions for `/api/status/buildinfo` and `/status/version`.
#[derive(Debug, Clone, Default)]
pub struct BuildInfo {
    /// The version of the API that clients compare to switch on features, as `2.10.8`.
    pub version: String,
    /// Product version or commit.
    pub revision: String,
    /// Branch or product name.
    pub branch: String,
    /// Who built it.
    pub build_user: String,
    /// When it was built.
    pub build_date: String,
    /// Compiler version, under the key `goVersion` that clients expect.
    pub compiler: String,
}

/// Answers a status page; called once a request, must not block.
pub type Source<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// The page of metrics for a request with this `Accept` header: content type and text.
pub type MetricsSource = Arc<dyn Fn(&str) -> (&'static str, String) + Send + Sync>;

/// Text of a configuration page in one view.
pub type ConfigSource = Arc<dyn Fn(ConfigView) -> String + Send + Sync>;

/// Everything the endpoints show.
#[derive(Clone)]
pub struct Operational {
    /// Versions.
    pub build: BuildInfo,
    /// Whether shutdown has begun.
    pub is_stopping: Source<bool>,
    /// The services of this process.
    pub services: Source<Vec<ServiceStatus>>,
    /// Readiness beyond the states. Errors: the line to show, as `Ingester not ready: …`.
    pub component_ready: Source<Result<(), String>>,
    /// The page of metrics.
    pub metrics: MetricsSource,
    /// Templates of the routes of this process.
    pub endpoints: Vec<String>,
    /// Effective configuration as YAML, secrets masked.
    pub config: ConfigSource,
    /// Overrides as YAML.
    pub runtime_config: ConfigSource,
}

/// Routes outside the API prefix: `/ready`, `/metrics`, `/status…`, `/log_level`.
pub fn router(state: Operational) -> Router {
    Router::new()
        .route("/ready", any(ready))
        .route("/metrics", any(metrics))
        .route("/status", get(status))
        .route("/status/{name}", get(status_page))
        .route("/log_level", get(log_level).post(set_log_level))
        .with_state(Arc::new(state))
}

/// Only `/ready` and `/metrics`, for the internal port.
pub fn internal_router(state: Operational) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(state))
}

/// Routes below the API prefix: `/api/echo`, `/api/status/buildinfo`, `/status/usage-stats`.
pub fn api_router(build: &BuildInfo) -> Router {
    let build = build_info_json(build);
    let build_info = move || async move {
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], build).into_response()
    };
    Router::new()
        .route("/api/echo", any(|| async { text(StatusCode::OK, "echo\n") }))
        // Nothing is ever reported to anyone; Tempo answers so where reports are switched off.
        .route(
            "/status/usage-stats",
            any(|| async { text(StatusCode::OK, "usage-stats is not enabled\n") }),
        )
        .route("/api/status/buildinfo", get(build_info))
}

/// One line of JSON with all keys, in this order, and a newline.
fn build_info_json(build: &BuildInfo) -> String {
    let fields = [
        ("version", &build.version),
        ("revision", &build.revision),
        ("branch", &build.branch),
        ("buildUser", &build.build_user),
        ("buildDate", &build.build_date),
        ("goVersion", &build.compiler),
    ];
    // By hand, because a JSON map would sort the keys.
    let fields = fields.map(|(key, value)| format!("{}:{}", json!(key), json!(value)));
    format!("{{{}}}\n", fields.join(","))
}

async fn ready(State(state): State<Arc<Operational>>) -> Response {
    match readiness(&state) {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(reason) => error_line(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// The first reason not to be ready, without a final newline.
fn readiness(state: &Operational) -> Result<(), String> {
    if (state.is_stopping)() {
        return Err("Application is stopping".to_owned());
    }
    let mut states: Vec<_> = (state.services)().iter().map(|service| service.state).collect();
    states.sort();
    if states.iter().any(|&state| state != ServiceState::Running) {
        let counts =
            states.chunk_by(|a, b| a == b).map(|same| format!("{}: {}", same[0], same.len()));
        let lines: Vec<_> = counts.collect();
        return Err(format!("Some services are not Running:\n{}", lines.join("\n")));
    }
    (state.component_ready)()
}

async fn metrics(State(state): State<Arc<Operational>>, headers: HeaderMap) -> Response {
    metrics_page(&headers, &*state.metrics)
}

/// The page of metrics in the format that these headers of a request ask for.
pub fn metrics_page(
    headers: &HeaderMap,
    page: impl Fn(&str) -> (&'static str, String),
) -> Response {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (content_type, page) = page(&accepted.collect::<Vec<_>>().join(","));
    ([(CONTENT_TYPE, content_type), (VARY, "Accept")], page).into_response()
}

async fn status(State(state): State<Arc<Operational>>, RawQuery(query): RawQuery) -> Response {
    let mut body = String::new();
    for name in pages::NAMES {
        match pages::page(&state, name, query.as_deref()) {
            Some(Ok(page)) => body.push_str(&format!("GET /status/{name}\n{page}")),
            Some(Err(reason)) => return bad_mode(&reason),
            None => {}
        }
    }
    text(StatusCode::OK, body)
}

async fn status_page(
    State(state): State<Arc<Operational>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match pages::page(&state, &name, query.as_deref()) {
        Some(Ok(page)) => text(StatusCode::OK, page),
        Some(Err(reason)) => bad_mode(&reason),
        None => error_line(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// 500, which clients of the status pages know for a bad `mode`.
fn bad_mode(reason: &str) -> Response {
    error_line(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

async fn log_level() -> Response {
    message(
        StatusCode::OK,
        &format!("Current log level is {}", tactus_telemetry::log_level().as_str()),
    )
}

async fn set_log_level(
    RawQuery(query): RawQuery,
    caller: Option<Extension<Caller>>,
    body: Bytes,
) -> Response {
    // Who may read these pages may not change the process; without authentication anyone may.
    if let Some(Extension(caller)) = caller
        && let Err(refused) = caller.may_operate()
    {
        return refused.into_response();
    }
    let form = form_urlencoded::parse(&body);
    let query = query.unwrap_or_default();
    let mut parameters = form.chain(form_urlencoded::parse(query.as_bytes()));
    let Some((_, level)) = parameters.find(|(key, _)| key == "log_level") else {
        return message(StatusCode::BAD_REQUEST, "parameter log_level is missing");
    };
    let set: Result<LogLevel, LoggingError> = level.parse();
    match set {
        Ok(set) => {
            tactus_telemetry::set_log_level(set);
            tracing::info!(level = set.as_str(), "the log level is changed");
            message(StatusCode::OK, &format!("Log level set to {level}"))
        }
        Err(reason) => message(StatusCode::BAD_REQUEST, &reason.to_string()),
    }
}

fn message(status: StatusCode, message: &str) -> Response {
    let status_word = if status.is_success() { "success" } else { "failed" };
    let body = json!({ "message": message, "status": status_word }).to_string();
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], body).into_response()
}

#[cfg(test)]
mod tests;
