//! Zipkin's query API: what its UI, its data source in Grafana and its users' scripts ask.
//!
//! A search is a TraceQL query of which one span must satisfy all conditions; the traces that it finds are then read
//! whole. Names are compared without regard to case, as Zipkin does, which shows them in lower case.

mod call;
mod dependencies;
mod matching;
mod names;
mod params;
mod traces;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::routing::get;
use tactus_config::sections::query_apis::ZipkinApi;
use tactus_query::Frontend;

use crate::call::Answer;
use call::Shared;

/// The routes of Zipkin's API, at the root and below `/zipkin`, where its UI looks for them. It has no fallback.
pub fn zipkin_router(frontend: Arc<Frontend>, settings: ZipkinApi) -> Router {
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
        .route("/config.json", get(config))
        .route("/health", get(health))
        .with_state(shared);
    Router::new().nest("/zipkin", api.clone()).merge(api)
}

/// The settings that the UI starts with: as those of a Zipkin server.
const CONFIG: &str = r#"{"environment":"","queryLimit":10,"defaultLookback":900000,"searchEnabled":true,"dependency":{"enabled":true,"lowErrorRate":0.5,"highErrorRate":0.75}}"#;
const HEALTH: &str = r#"{"status":"UP","zipkin":{"status":"UP"}}"#;

async fn config() -> Answer {
    Answer::of_json(CONFIG.into())
}

async fn health() -> Answer {
    Answer::of_json(HEALTH.into())
}
