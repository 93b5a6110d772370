//! A request over HTTP and its answer, for all versions of Jaeger's API and for Zipkin's.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use ::http::request::Parts;
use ::http::{HeaderName, HeaderValue, Uri};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tactus_api::{Error, QueryParams, Result};
use tactus_model::TenantId;
use tactus_query::{Frontend, TraceMemory, WholeTrace, as_part_of_query};
use tactus_server::tenancy::TenancyError;

use crate::indent::Indenter;
use crate::sending::ToSend;

/// More edges of a service graph are counted on a thread that may block.
pub(crate) const MANY_EDGES: usize = 1_000;

/// Set on answers that lack something because it could not be read or did not fit.
const PARTIAL: HeaderName = HeaderName::from_static("x-tactus-partial");

/// Has what takes long of the answers of these routes done when it is the turn of the tenants.
pub(crate) fn in_turns<S>(routes: Router<S>, frontend: &Arc<Frontend>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes.route_layer(from_fn_with_state(Arc::clone(frontend), in_turn))
}

async fn in_turn(State(frontend): State<Arc<Frontend>>, request: Request, next: Next) -> Response {
    match frontend.tenancy.read_tenants(request.headers()) {
        Ok(tenants) => as_part_of_query(&tenants, next.run(request)).await,
        // The handler says why, if it needs to know.
        Err(_) => next.run(request).await,
    }
}

/// Refuses more traces than one answer may have.
pub(crate) fn check_limit(limit: u32, max_limit: u32, frontend: &Frontend) -> Result<()> {
    match most_traces(max_limit, frontend) {
        Some(max) if limit > max => {
            Err(Error::Invalid(format!("limit {limit} exceeds max limit {max}")))
        }
        _ => Ok(()),
    }
}

/// How many traces a search finds at most: as many as it asks for, or `usual` if it does not say, which is 0.
///
/// Errors: it asks for more than one answer may have.
pub(crate) fn limit_of(asked: u32, usual: u32, max_limit: u32, frontend: &Frontend) -> Result<u32> {
    if asked == 0 {
        return Ok(most_traces(max_limit, frontend).map_or(usual, |max| max.min(usual)));
    }
    check_limit(asked, max_limit, frontend).map(|()| asked)
}

/// Most traces of an answer, as this API says, and the query-frontend.
fn most_traces(max_limit: u32, frontend: &Frontend) -> Option<u32> {
    let limits = [max_limit, frontend.settings.section.search.max_result_limit];
    limits.into_iter().filter(|&max| max != 0).min()
}

/// The time that a search covers that does not say so: `usual`, or the longest that it may.
pub(crate) fn usual_length(usual: Duration, frontend: &Frontend, tenants: &[TenantId]) -> Duration {
    frontend.longest_search(tenants).map_or(usual, |longest| longest.min(usual))
}

/// A question: who asks, and for what. `S`: what handlers share. `R`: how the API says that it refuses.
pub(crate) struct Call<S, R> {
    pub(crate) shared: S,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) uri: Uri,
    refused: PhantomData<fn() -> R>,
}

impl<S, R> Call<S, R> {
    pub(crate) fn params(&self) -> QueryParams<'_> {
        QueryParams::parse(self.uri.query().unwrap_or_default())
    }
}

impl<S: AsRef<Frontend>, R> Call<S, R> {
    /// What it takes to send these traces. Errors: there is no memory.
    pub(crate) async fn to_send(
        &self,
        traces: &[WholeTrace],
        decoding: TraceMemory,
    ) -> Result<ToSend> {
        let memory = &self.shared.as_ref().memory;
        ToSend::new(memory, self.tenants.clone(), traces, decoding).await
    }
}

impl<S, R> FromRequestParts<S> for Call<S, R>
where
    S: AsRef<Frontend> + Clone + Send + Sync,
    R: From<Error> + From<TenancyError> + IntoResponse,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &S) -> Result<Self, Response> {
        let frontend = shared.as_ref();
        let tenants = frontend.tenancy.read_tenants(&parts.headers);
        let tenants = tenants.map_err(|error| R::from(error).into_response())?;
        let refused = frontend.check_request(&parts.uri, &parts.extensions);
        refused.map_err(|error| R::from(error).into_response())?;
        Ok(Self { shared: shared.clone(), tenants, uri: parts.uri.clone(), refused: PhantomData })
    }
}

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Body,
    partial: bool,
    may_be_kept: bool,
}

impl Answer {
    /// A message as JSON.
    pub(crate) fn json(message: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(message);
        body.map(Self::of_json).map_err(|error| Error::Internal(error.to_string()))
    }

    /// A message as JSON, with indentation.
    pub(crate) fn indented_json(message: &impl Serialize) -> Result<Self> {
        let json =
            serde_json::to_vec(message).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::of_json(Indenter::default().indent(&json)))
    }

    /// The answer with this JSON.
    pub(crate) fn of_json(json: impl Into<Body>) -> Self {
        Self { body: json.into(), partial: false, may_be_kept: false }
    }

    /// Says whether something is missing.
    pub(crate) fn partial(self, partial: bool) -> Self {
        Self { partial, ..self }
    }

    /// Says whether browsers may keep the answer for a while, if nothing is missing.
    pub(crate) fn kept(self, may_be_kept: bool) -> Self {
        Self { may_be_kept, ..self }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.partial {
            headers.insert(PARTIAL, HeaderValue::from_static("true"));
        } else if self.may_be_kept {
            let kept = HeaderValue::from_static("max-age=300, must-revalidate");
            headers.insert(CACHE_CONTROL, kept);
            // Names of one tenant are not for another.
            headers.insert(VARY, HeaderValue::from_static("X-Scope-OrgID, Authorization"));
        }
        response
    }
}
