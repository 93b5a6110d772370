//! What Zipkin's UI asks about the server itself.

use ::http::HeaderValue;
use ::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

/// The settings that the UI starts with: as those of a Zipkin server.
const CONFIG: &str = r#"{"environment":"","queryLimit":10,"defaultLookback":900000,"searchEnabled":true,"dependency":{"enabled":true,"lowErrorRate":0.5,"highErrorRate":0.75}}"#;

const HEALTH: &str = r#"{"status":"UP","zipkin":{"status":"UP"}}"#;

pub(super) async fn config() -> Response {
    json(CONFIG)
}

pub(super) async fn health() -> Response {
    json(HEALTH)
}

fn json(text: &'static str) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], text).into_response()
}
