//! Zipkin's query API: what its UI, its data source in Grafana and its users' scripts ask.
//!
//! A search is a TraceQL query of which one span must satisfy all conditions; the traces that it finds are then read
//! whole. Names are compared without regard to case, as Zipkin does, which shows them in lower case.

mod answer;
mod dependencies;
mod matching;
mod names;
mod params;
mod traces;
mod ui;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ::http::{HeaderMap, Uri};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tactus_api::{Error, QueryParams, Result};
use tactus_model::TenantId;

use answer::{Answer, refusal};
use tactus_query::Frontend;
use tactus_query::LookupSettings;

/// Settings of Zipkin's query API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipkinSettings {
    /// Highest number of traces that a search may ask for; 0 is no limit but that of searches.
    pub max_limit: u32,
    /// Names are those of recent data, and of blocks that reach back so far.
    pub names_window: Duration,
    /// How whole traces are fetched.
    pub lookup: LookupSettings,
}

impl Default for ZipkinSettings {
    fn default() -> Self {
        Self {
            max_limit: 10_000,
            names_window: Duration::from_secs(48 * 3600),
            lookup: LookupSettings::default(),
        }
    }
}

/// The routes of Zipkin's API, at the root and below `/zipkin`, where its UI looks for them. It has no fallback.
pub fn zipkin_router(frontend: Arc<Frontend>, settings: ZipkinSettings) -> Router {
    let services = Arc::new(AtomicUsize::new(0));
    let shared = Shared { frontend, settings: Arc::new(settings), services };
    let api = Router::new()
        .route("/api/v2/services", get(names::services))
        .route("/api/v2/spans", get(names::spans))
        .route("/api/v2/remoteServices", get(names::remote_services))
        .route("/api/v2/autocompleteKeys", get(names::tag_keys))
        .route("/api/v2/autocompleteValues", get(names::tag_values))
        .route("/api/v2/traces", get(traces::search))
        .route("/api/v2/trace/{id}", get(traces::one))
        .route("/api/v2/traceMany", get(traces::many))
        .route("/api/v2/dependencies", get(dependencies::dependencies))
        .route("/config.json", get(ui::config))
        .route("/health", get(ui::health))
        .with_state(shared);
    Router::new().nest("/zipkin", api.clone()).merge(api)
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    frontend: Arc<Frontend>,
    settings: Arc<ZipkinSettings>,
    /// How many services the last list of them had.
    services: Arc<AtomicUsize>,
}

/// What a handler starts with.
struct Call {
    shared: Shared,
    tenants: Vec<TenantId>,
    uri: Uri,
}

impl Call {
    fn frontend(&self) -> &Frontend {
        &self.shared.frontend
    }

    fn params(&self) -> QueryParams<'_> {
        QueryParams::parse(self.uri.query().unwrap_or_default())
    }

    /// Refuses more traces than one answer may have.
    fn check_limit(&self, limit: u32) -> Result<()> {
        let limits =
            [self.shared.settings.max_limit, self.frontend().settings.search.max_result_limit];
        match limits.into_iter().filter(|max| *max != 0).min() {
            Some(max) if limit > max => {
                Err(Error::Invalid(format!("limit {limit} exceeds max limit {max}")))
            }
            _ => Ok(()),
        }
    }
}

/// Finds the tenants, runs a handler, and turns errors into answers.
async fn run<F: Future<Output = Result<Answer>>>(
    shared: Shared,
    uri: Uri,
    headers: HeaderMap,
    handle: impl FnOnce(Call) -> F,
) -> Response {
    let tenants = match shared.frontend.tenancy.read_tenants(&headers) {
        Ok(tenants) => tenants,
        Err(error) => return error.into_response(),
    };
    let url = uri.path_and_query().map_or("", |url| url.as_str());
    if let Err(error) = shared.frontend.check_url(url) {
        return refusal(&error);
    }
    match handle(Call { shared, tenants, uri }).await {
        Ok(answer) => answer.into_response(),
        Err(error) => refusal(&error),
    }
}
