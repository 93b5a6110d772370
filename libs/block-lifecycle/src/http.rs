//! Jobs over HTTP: `POST`, `GET /api/jobs`, `GET`, `DELETE /api/jobs/{id}`, each for the tenant of the request.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::future;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tactus_server::http::error_line;
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

/// The largest request for a job. One with ten thousand traces takes a third of that.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// The routes. With the API disabled all of them answer 403 and say which setting turns it on.
pub fn router(compactor: Arc<Compactor>, tenancy: Tenancy) -> Router {
    if !compactor.settings.jobs.api_enabled {
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
    if body.len() > MAX_REQUEST_BYTES {
        let text = format!("job: the request is larger than {MAX_REQUEST_BYTES} bytes");
        return error_line(StatusCode::PAYLOAD_TOO_LARGE, &text);
    }
    let request: JobRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return error_line(StatusCode::BAD_REQUEST, &format!("job: {error}")),
    };
    answer(StatusCode::ACCEPTED, jobs.compactor.create_job(tenant.as_str(), request).await)
}

async fn list(State(jobs): State<Jobs>, headers: HeaderMap) -> Response {
    match jobs.tenancy.read_tenant(&headers) {
        Ok(tenant) => match jobs.compactor.list_jobs(tenant.as_str()).await {
            Ok(ids) => json(StatusCode::OK, list_of(jobs.compactor, tenant.to_string(), ids)),
            Err(error) => refused(&error),
        },
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

/// The jobs as `{"jobs": [...]}`, one in memory at a time.
fn list_of(compactor: Arc<Compactor>, tenant: String, ids: Vec<Uuid>) -> Body {
    let once =
        |text: &'static str| stream::once(async move { Ok(Bytes::from_static(text.as_bytes())) });
    let mut is_first = true;
    let jobs = stream::iter(ids)
        .then(move |id| {
            let (compactor, tenant) = (Arc::clone(&compactor), tenant.clone());
            async move { compactor.load_if_whole(&tenant, id).await }
        })
        .try_filter_map(move |record| {
            let separator = if is_first || record.is_none() { "" } else { "," };
            is_first &= record.is_none();
            future::ready(record.map(|record| part(separator, &record)).transpose())
        });
    Body::from_stream(once("{\"jobs\":[").chain(jobs).chain(once("]}\n")))
}

fn part(separator: &str, record: &JobRecord) -> Result<Bytes> {
    let mut bytes = separator.as_bytes().to_vec();
    serde_json::to_writer(&mut bytes, record).map_err(|error| Error::BadRecord {
        key: record.id.to_string(),
        reason: error.to_string(),
    })?;
    Ok(bytes.into())
}

fn answer(status: StatusCode, result: Result<impl Serialize>) -> Response {
    match result.map(|value| serde_json::to_string(&value)) {
        Ok(Ok(text)) => json(status, (text + "\n").into()),
        Ok(Err(error)) => error_line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => refused(&error),
    }
}

fn json(status: StatusCode, body: Body) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn refused(error: &Error) -> Response {
    let status = match error {
        Error::BadJob { .. } => StatusCode::BAD_REQUEST,
        Error::NoSuchJob(_) => StatusCode::NOT_FOUND,
        Error::TooManyJobs { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Contended(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::Storage(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    error_line(status, &error_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_that_may_answer_later_is_no_fault_of_this_process() {
        let key = || "tactus-clock".to_owned();
        let passing = tactus_storage::Error::Unavailable { key: key(), source: "try later".into() };
        assert_eq!(refused(&passing.into()).status(), StatusCode::SERVICE_UNAVAILABLE);
        let lasting = tactus_storage::Error::Denied { key: key(), source: "no".into() };
        assert_eq!(refused(&lasting.into()).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
