//! Answers clients that ask for sampling strategies, and serves these over HTTP.

use std::sync::Arc;

use ::http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use tactus_model::{TenantError, TenantId};
use tactus_sampling::{EnumForm, Strategies, Strategy, to_json};
use tactus_server::{
    auth::{Access, Authenticator},
    http::{error_line, not_found},
    listener::ConnectionInfo,
    tenancy::{Tenancy, TenancyError},
};

/// Answers clients on all ports.
///
/// Clients that poll send no credentials, and often no tenant. They get the strategies for everyone: those of the file, or
/// the default ones. A tenant's own strategies are for requests that name the tenant and, with authentication, may write
/// to it.
#[derive(Debug)]
pub(crate) struct Answers {
    strategies: Arc<Strategies>,
    tenancy: Tenancy,
    auth: Option<Arc<Authenticator>>,
}

impl Answers {
    /// `auth`: `None` without authentication.
    pub(crate) fn new(
        strategies: Arc<Strategies>,
        tenancy: Tenancy,
        auth: Option<Arc<Authenticator>>,
    ) -> Self {
        Self { strategies, tenancy, auth }
    }

    /// The strategy of a service, for a request with these headers. Errors: an invalid tenant.
    pub(crate) async fn strategy(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
        service: &str,
    ) -> Result<Arc<Strategy>, TenancyError> {
        let tenant = self.tenant(headers, connection).await?;
        Ok(self.strategies.of(tenant.as_ref(), service).await)
    }

    /// The tenant of a request; `None` if it names none, or has no right to write to it.
    async fn tenant(
        &self,
        headers: &HeaderMap,
        connection: Option<&ConnectionInfo>,
    ) -> Result<Option<TenantId>, TenancyError> {
        let Some(auth) = &self.auth else { return known(self.tenancy.write_tenant(headers)) };
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        // The check sets the tenant in the headers.
        let mut headers = headers.clone();
        match auth.check(Access::Write, &mut headers, connection).await {
            Ok(_) => known(self.tenancy.write_tenant(&headers)),
            Err(_) => Ok(None),
        }
    }
}

fn known(tenant: Result<TenantId, TenancyError>) -> Result<Option<TenantId>, TenancyError> {
    match tenant {
        Ok(tenant) => Ok(Some(tenant)),
        // An empty header counts as missing.
        Err(TenancyError::Missing | TenancyError::Invalid(TenantError::Missing)) => Ok(None),
        Err(error) => Err(error),
    }
}

const SERVICE_TEXT: &str = "'service' parameter must be provided once";

type Connection = Option<Extension<ConnectionInfo>>;

/// The routes of Jaeger's agent and of its sampling extension: `/sampling`, the older `/`, and `/baggageRestrictions`. Also
/// `/api/sampling`, as Jaeger's collector had it.
pub(crate) fn sampling_router(answers: Arc<Answers>) -> Router {
    Router::new()
        .route("/", get(numbers))
        .route("/sampling", get(names))
        .route("/baggageRestrictions", get(baggage_restrictions))
        .with_state(Arc::clone(&answers))
        .merge(collector_router(answers))
}

/// The route of Jaeger's collector, on its HTTP port.
pub(crate) fn collector_router(answers: Arc<Answers>) -> Router {
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

/// No baggage is restricted.
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

/// The value of the parameter `service`; `None` if it is not given exactly once.
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
