//! Zipkin's query API, for its UI, its data source in Grafana, and users' scripts.
//!
//! A search becomes a TraceQL query in which one span must satisfy all conditions; the traces that it finds are then
//! read as a whole. Names are compared without regard to case, like in Zipkin, which shows them in lower case.

mod dependencies;
mod matching;
mod names;
mod params;
mod traces;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ::http::{StatusCode, Uri};
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tactus_api::{Error, Result};
use tactus_config::sections::query_apis::ZipkinApi;
use tactus_query::Frontend;
use tactus_server::http::{moved_to, not_found, text};
use tactus_server::tenancy::TenancyError;

use crate::call::{self, Answer};

/// The routes of Zipkin's API, at the root and below `/zipkin`, where its UI looks for them. It has no fallback.
pub(crate) fn zipkin_router(frontend: Arc<Frontend>, settings: ZipkinApi) -> Router {
    let services = Arc::new(AtomicUsize::new(0));
    let shared = Shared { frontend: Arc::clone(&frontend), settings: Arc::new(settings), services };
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
        .route("/config.json", get(config))
        .route("/health", get(health));
    let api = call::in_turns(api, &frontend).with_state(shared);
    Router::new().nest("/zipkin", api.clone()).merge(api)
}

/// Leads to the path without slashes too many, which Zipkin's server takes. Ports of their own look for `//` before they route; that
/// of the receiver does not.
pub(crate) async fn at_plain_path(uri: Uri) -> Response {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let plain = format!("/{}", parts.join("/"));
    match moved_to(&plain, uri.query()) {
        Some(redirect) if plain.len() < uri.path().len() => redirect,
        _ => not_found().await,
    }
}

/// The settings that the UI starts with: as those of a Zipkin server.
const CONFIG: &str = r#"{"environment":"","queryLimit":10,"defaultLookback":900000,"searchEnabled":true,"dependency":{"enabled":true,"lowErrorRate":0.5,"highErrorRate":0.75}}"#;

const HEALTH: &str = r#"{"status":"UP","zipkin":{"status":"UP"}}"#;

async fn config() -> Answer {
    Answer::of_json(CONFIG)
}

async fn health() -> Answer {
    Answer::of_json(HEALTH)
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    frontend: Arc<Frontend>,
    settings: Arc<ZipkinApi>,
    /// How many services the last list of them had.
    services: Arc<AtomicUsize>,
}

impl AsRef<Frontend> for Shared {
    fn as_ref(&self) -> &Frontend {
        &self.frontend
    }
}

/// A question, and its answer.
type Call = call::Call<Shared, Refused>;

type Answered = Result<Answer, Refused>;

impl Call {
    fn frontend(&self) -> &Frontend {
        &self.shared.frontend
    }

    /// Refuses more traces than one answer may have.
    fn check_limit(&self, limit: u32) -> Result<()> {
        call::check_limit(limit, self.shared.settings.max_limit, self.frontend())
    }
}

/// An error as the client sees it: plain text.
enum Refused {
    Tenant(TenancyError),
    Query(Error),
}

impl From<TenancyError> for Refused {
    fn from(error: TenancyError) -> Self {
        Self::Tenant(error)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Tenant(error) => return error.into_response(),
            Self::Query(error) => error,
        };
        let status = error.http_status();
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            tactus_telemetry::log_limited!(warn, error = %error, status = %status, "zipkin query failed");
        }
        text(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use ::http::header::LOCATION;

    use super::*;

    #[tokio::test]
    async fn slashes_too_many_lead_to_the_path_without_them() {
        for (path, expected) in [
            ("//api/v2/services?a=b//", Some("/api/v2/services?a=b//")),
            ("/zipkin//api/v2/services/", Some("/zipkin/api/v2/services")),
            ("//", Some("/")),
            ("/nowhere", None),
            ("/", None),
            ("//\\host", Some("/%5Chost")),
        ] {
            let answer = at_plain_path(path.parse().unwrap()).await;
            let location = answer.headers().get(LOCATION).map(|value| value.to_str().unwrap());
            assert_eq!(location, expected, "{path}");
            let status = if expected.is_some() { 301 } else { 404 };
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}
