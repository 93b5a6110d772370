//! Sampling over HTTP.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE};
use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use tactus_sampling::{EnumForm, to_json};
use tactus_server::{
    http::{error_line, not_found},
    listener::ConnectionInfo,
};

use super::Answers;

const SERVICE_TEXT: &str = "'service' parameter must be provided once";

type Connection = Option<Extension<ConnectionInfo>>;

/// What is served where Jaeger's agent and its sampling extension were: `/sampling`, the older `/`, and
/// `/baggageRestrictions`; also `/api/sampling`, as the collector had it.
pub fn sampling_router(answers: Arc<Answers>) -> Router {
    Router::new()
        .route("/", get(numbers))
        .route("/sampling", get(names))
        .route("/baggageRestrictions", get(baggage_restrictions))
        .with_state(Arc::clone(&answers))
        .merge(collector_router(answers))
}

/// What Jaeger's collector had on its HTTP port.
pub fn collector_router(answers: Arc<Answers>) -> Router {
    Router::new().route("/api/sampling", get(names)).fallback(not_found).with_state(answers)
}

async fn names(
    State(answers): State<Arc<Answers>>,
    RawQuery(query): RawQuery,
    connection: Connection,
    headers: HeaderMap,
) -> Response {
    answer(&answers, query, connection, &headers, EnumForm::Text).await
}

async fn numbers(
    State(answers): State<Arc<Answers>>,
    RawQuery(query): RawQuery,
    connection: Connection,
    headers: HeaderMap,
) -> Response {
    answer(&answers, query, connection, &headers, EnumForm::Number).await
}

/// Nothing is restricted.
async fn baggage_restrictions(RawQuery(query): RawQuery) -> Response {
    match service(query.as_deref()) {
        Some(_) => json("[]".to_owned()),
        None => error_line(StatusCode::BAD_REQUEST, SERVICE_TEXT),
    }
}

async fn answer(
    answers: &Answers,
    query: Option<String>,
    connection: Connection,
    headers: &HeaderMap,
    form: EnumForm,
) -> Response {
    let Some(service) = service(query.as_deref()) else {
        return error_line(StatusCode::BAD_REQUEST, SERVICE_TEXT);
    };
    let connection = connection.as_ref().map(|Extension(connection)| connection);
    match answers.strategy(headers, connection, &service).await {
        Ok(strategy) => json(to_json(&strategy, form)),
        Err(error) => error.into_response(),
    }
}

/// The service that is asked for; `None` if it is not there exactly once.
fn service(query: Option<&str>) -> Option<String> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut services = pairs.filter(|(key, _)| key == "service").map(|(_, value)| value);
    match (services.next(), services.next()) {
        (Some(service), None) => Some(service.into_owned()),
        _ => None,
    }
}

fn json(body: String) -> Response {
    let mut response = body.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
