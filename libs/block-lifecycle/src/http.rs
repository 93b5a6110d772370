//! Jobs over HTTP: `POST`, `GET /api/jobs`, `GET`, `DELETE /api/jobs/{id}`, each for the tenant of the request.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use tactus_server::http::{error_line, text};
use tactus_server::tenancy::Tenancy;
use tactus_storage::Uuid;
use tactus_telemetry::error_text;

use crate::compactor::Compactor;
use crate::error::{Error, Result};
use crate::jobs::{JobRecord, JobRequest};

const DISABLED: &str = "jobs over HTTP are off; set compactor.jobs.api_enabled to true, and mind who can reach this port";

#[derive(Clone)]
struct Jobs {
    compactor: Arc<Compactor>,
    tenancy: Tenancy,
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<JobRecord>,
}

/// The routes. With the API disabled all of them answer 403 and say which setting turns it on.
pub fn router(compactor: Arc<Compactor>, tenancy: Tenancy) -> Router {
    if !compactor.settings.jobs_api_enabled {
        let refuse = || async { error_line(StatusCode::FORBIDDEN, DISABLED) };
        return Router::new()
            .route("/api/jobs", get(refuse).post(refuse))
            .route("/api/jobs/{id}", get(refuse).delete(refuse));
    }
    Router::new()
        .route("/api/jobs", post(create).get(list))
        .route("/api/jobs/{id}", get(show).delete(cancel))
        .with_state(Jobs { compactor, tenancy })
}

async fn create(State(jobs): State<Jobs>, headers: HeaderMap, body: Bytes) -> Response {
    let tenant = match jobs.tenancy.write_tenant(&headers) {
        Ok(tenant) => tenant,
        Err(error) => return error.into_response(),
    };
    let request: JobRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return error_line(StatusCode::BAD_REQUEST, &format!("job: {error}")),
    };
    answer(StatusCode::ACCEPTED, jobs.compactor.create_job(tenant.as_str(), request).await)
}

async fn list(State(jobs): State<Jobs>, headers: HeaderMap) -> Response {
    match jobs.tenancy.read_tenant(&headers) {
        Ok(tenant) => {
            let listed = jobs.compactor.list_jobs(tenant.as_str()).await;
            answer(StatusCode::OK, listed.map(|jobs| JobList { jobs }))
        }
        Err(error) => error.into_response(),
    }
}

async fn show(State(jobs): State<Jobs>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match (jobs.tenancy.read_tenant(&headers), Uuid::try_parse(&id)) {
        (Ok(tenant), Ok(id)) => {
            answer(StatusCode::OK, jobs.compactor.job(tenant.as_str(), id).await)
        }
        (Err(error), _) => error.into_response(),
        (_, Err(_)) => error_line(StatusCode::BAD_REQUEST, "job id: not a UUID"),
    }
}

async fn cancel(State(jobs): State<Jobs>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    match (jobs.tenancy.write_tenant(&headers), Uuid::try_parse(&id)) {
        (Ok(tenant), Ok(id)) => {
            answer(StatusCode::OK, jobs.compactor.cancel_job(tenant.as_str(), id).await)
        }
        (Err(error), _) => error.into_response(),
        (_, Err(_)) => error_line(StatusCode::BAD_REQUEST, "job id: not a UUID"),
    }
}

fn answer(status: StatusCode, result: Result<impl Serialize>) -> Response {
    let refused = |status, error: &Error| error_line(status, &error_text(error));
    match result.map(|value| serde_json::to_string(&value)) {
        Ok(Ok(json)) => {
            let mut response = text(status, json + "\n");
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Ok(Err(error)) => error_line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error @ Error::BadJob { .. }) => refused(StatusCode::BAD_REQUEST, &error),
        Err(error @ Error::NoSuchJob(_)) => refused(StatusCode::NOT_FOUND, &error),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}
