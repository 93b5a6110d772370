//! The API of the pages, below `/ui/api/`: the query API, and what only pages ask.

mod check;
mod config;
mod find;
mod layout;
mod skeleton;
mod tail;
mod traces;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::router;
use crate::frontend::Frontend;
use crate::live_tail::LiveTails;
use traces::OpenTraces;

/// The routes of the pages' API. Put behind authentication; it has no fallback.
pub fn ui_router(frontend: Arc<Frontend>, tails: LiveTails) -> Router {
    let shared = Shared { frontend: Arc::clone(&frontend), open: OpenTraces::new(), tails };
    let own = Router::new()
        .route("/api/config", get(config::config))
        .route("/api/check", get(check::check))
        .route("/api/tail", get(tail::tail))
        .route("/api/traces/{id}/skeleton", get(traces::skeleton))
        .route("/api/traces/{id}/spans", get(traces::spans))
        .route("/api/traces/{id}/find", get(traces::find))
        .route("/api/traces/{id}/jaeger", get(traces::jaeger))
        .with_state(shared);
    Router::new().nest("/ui", router(frontend).merge(own))
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    frontend: Arc<Frontend>,
    open: OpenTraces,
    tails: LiveTails,
}

/// JSON that a page asks for.
fn json(value: &serde_json::Value) -> super::Answer {
    let body = value.to_string().into_bytes();
    super::Answer { body, encoding: tactus_api::Encoding::Json, partial: false }
}
