//! `/api/overrides`: a tenant reads and changes its own limits.

use std::sync::Arc;

use ::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::Value;
use tactus_config::{parse_bool, sections::overrides::Limits};
use tactus_model::TenantId;
use tactus_server::http::error_line;
use tactus_server::tenancy::{Tenancy, TenancyError};
use tactus_telemetry::error_text;

use crate::overrides::Overrides;
use crate::snapshot::Stored;
use crate::user::store::{MAX_DOCUMENT_BYTES, Store, StoreError};
use crate::user::{UserLimits, conflicts, merge, validate};

/// How often a patch is tried if others change the document meanwhile.
const PATCH_TRIES: usize = 3;

const CONFLICT: &str = "tenant has conflicting overrides set in runtime config, contact your system \
                        administrator to perform changes through the API";

#[derive(Clone)]
struct Api {
    overrides: Arc<Overrides>,
    tenancy: Tenancy,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Tenancy(#[from] TenancyError),
    #[error("{0}")]
    Bad(String),
    #[error(
        "tenants have set as much as they may (limit: overrides.user_configurable_overrides.max_bytes)"
    )]
    Full,
    #[error("must specify If-Match header")]
    NoVersion,
    #[error("overrides have been modified during request processing, try again")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = error_text(&self);
        let status = match self {
            Self::Tenancy(error) => return error.into_response(),
            Self::Store(StoreError::NotFound) => return StatusCode::NOT_FOUND.into_response(),
            Self::Bad(_) | Self::Store(StoreError::TooLarge) => StatusCode::BAD_REQUEST,
            Self::Full => StatusCode::TOO_MANY_REQUESTS,
            Self::NoVersion => StatusCode::PRECONDITION_REQUIRED,
            Self::Store(StoreError::Version) => StatusCode::PRECONDITION_FAILED,
            Self::Overtaken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Store(_) => {
                tracing::error!(error = text, "request for overrides failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        error_line(status, &text)
    }
}

/// The methods of `/api/overrides` that show limits, to be mounted below the API prefix. There are no routes if the
/// section `overrides.user_configurable_overrides` is not enabled, so that the settings have no bucket.
pub fn read_router(overrides: Arc<Overrides>, tenancy: Tenancy) -> Router {
    route(overrides, tenancy, get(read))
}

/// The methods that change limits, as [`read_router`].
pub fn change_router(overrides: Arc<Overrides>, tenancy: Tenancy) -> Router {
    route(overrides, tenancy, post(replace).patch(patch).delete(delete))
}

fn route(overrides: Arc<Overrides>, tenancy: Tenancy, methods: MethodRouter<Api>) -> Router {
    if overrides.store.is_none() {
        return Router::new();
    }
    Router::new().route("/api/overrides", methods).with_state(Api { overrides, tenancy })
}

async fn read(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (tenant, store) = api.find(&headers)?;
    let scope = parameter(query.as_deref(), "scope").unwrap_or_else(|| "api".to_owned());
    if !matches!(scope.as_str(), "api" | "merged") {
        return Err(Refusal::Bad(format!(
            "unknown scope {scope:?}, valid options are api and merged"
        )));
    }
    let stored = store.read(tenant.as_str()).await?;
    let shown = if scope == "merged" {
        let snapshot = api.overrides.snapshot();
        UserLimits::of(&merge(snapshot.runtime(tenant.as_str()), &stored.limits))
    } else {
        stored.limits
    };
    Ok(document(&shown, &stored.version))
}

async fn replace(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (tenant, store) = api.find(&headers)?;
    let expected = expected_version(&headers)?;
    check_size(&body)?;
    let limits = UserLimits::read_strict(&body).map_err(Refusal::Bad)?;
    api.check(&tenant, &limits, query.as_deref())?;
    let _turn = store.turn().await;
    api.check_room(&tenant, &limits)?;
    let stored = store.write(tenant.as_str(), limits, expected.as_deref()).await?;
    let answer = [(ETAG, header(&stored.version))].into_response();
    api.changed(&tenant, store, Some(stored));
    Ok(answer)
}

async fn patch(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (tenant, store) = api.find(&headers)?;
    check_size(&body)?;
    let change: Value =
        serde_json::from_slice(&body).map_err(|error| Refusal::Bad(error.to_string()))?;
    for _ in 0..PATCH_TRIES {
        let _turn = store.turn().await;
        let before = match store.read(tenant.as_str()).await {
            Ok(stored) => Some(stored),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let limits = before.as_ref().map(|stored| stored.limits.clone()).unwrap_or_default();
        let limits = patched(&limits, &change)?;
        api.check(&tenant, &limits, query.as_deref())?;
        api.check_room(&tenant, &limits)?;
        let expected = before.as_ref().map(|stored| stored.version.as_str());
        match store.write(tenant.as_str(), limits, expected).await {
            Ok(stored) => {
                let answer = document(&stored.limits, &stored.version);
                api.changed(&tenant, store, Some(stored));
                return Ok(answer);
            }
            Err(StoreError::Version) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Refusal::Overtaken)
}

async fn delete(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (tenant, store) = api.find(&headers)?;
    // Version "0" stands for no document, so there is nothing to delete.
    let expected = expected_version(&headers)?.unwrap_or_default();
    let _turn = store.turn().await;
    store.delete(tenant.as_str(), &expected).await?;
    api.changed(&tenant, store, None);
    Ok(StatusCode::OK.into_response())
}

impl Api {
    fn find(&self, headers: &HeaderMap) -> Result<(TenantId, &Store), Refusal> {
        let tenant = self.tenancy.read_tenant(headers)?;
        // The route exists only with a store.
        let store = self.overrides.store.as_ref().ok_or(StoreError::NotFound)?;
        Ok((tenant, store))
    }

    /// Refuses limits that break a rule, and limits that the operator's file sets as well.
    fn check(
        &self,
        tenant: &TenantId,
        limits: &UserLimits,
        query: Option<&str>,
    ) -> Result<(), Refusal> {
        let config = &self.overrides.settings.config;
        let forwarders: Vec<&str> =
            config.distributor.forwarders.iter().map(|forwarder| forwarder.name.as_str()).collect();
        validate(limits, &forwarders).map_err(Refusal::Bad)?;
        // What only the services know. Otherwise a tenant would be left with limits that cannot be applied.
        let fits = &self.overrides.settings.fits;
        fits(&merge(&Limits::default(), limits)).map_err(Refusal::Bad)?;
        let snapshot = self.overrides.snapshot();
        let operators = snapshot.runtime(tenant.as_str());
        // What is wrong without the tenant's limits is not the tenant's to mend.
        if fits(operators).is_ok() {
            fits(&merge(operators, limits)).map_err(Refusal::Bad)?;
        }
        let skip = match parameter(query, "skip-conflicting-overrides-check").as_deref() {
            None => false,
            Some(text) => parse_bool(text).ok_or_else(|| {
                let key = "skip-conflicting-overrides-check";
                Refusal::Bad(format!("could not parse {key}, must be a boolean value"))
            })?,
        };
        let section = &config.overrides.user_configurable_overrides;
        if skip || !section.api.check_for_conflicting_runtime_overrides {
            return Ok(());
        }
        let entry = snapshot.own_entry(tenant.as_str());
        if entry.is_some_and(|entry| conflicts(entry, &snapshot.defaults)) {
            return Err(Refusal::Bad(CONFLICT.to_owned()));
        }
        Ok(())
    }

    /// Rejects limits that do not fit next to those of other tenants. Call it while holding the turn in which they are
    /// written.
    fn check_room(&self, tenant: &TenantId, limits: &UserLimits) -> Result<(), Refusal> {
        let config = &self.overrides.settings.config;
        let max_bytes = config.overrides.user_configurable_overrides.max_bytes;
        let snapshot = self.overrides.snapshot();
        let others = snapshot.user.iter().filter(|(name, _)| **name != tenant.as_str());
        let others = others.map(|(_, stored)| stored.cost()).fold(0, u64::saturating_add);
        let bytes = limits.to_json().len() as u64;
        let own = Stored { limits: UserLimits::default(), version: String::new(), bytes }.cost();
        let before = snapshot.user.get(tenant.as_str()).map_or(0, |stored| stored.cost());
        // A tenant that has limits may replace them by smaller ones at any time.
        match max_bytes == 0 || own <= before || others.saturating_add(own) <= max_bytes {
            true => Ok(()),
            false => Err(Refusal::Full),
        }
    }

    /// Applies a change in this process. Other processes find it when they poll.
    fn changed(&self, tenant: &TenantId, store: &Store, stored: Option<Stored>) {
        self.overrides.change_user(store, tenant.as_str(), stored);
        tracing::info!(%tenant, "limits were changed by the API");
    }
}

/// Checked before parsing, because parsing a body of brackets takes a hundred times its size.
fn check_size(body: &[u8]) -> Result<(), Refusal> {
    match body.len() <= MAX_DOCUMENT_BYTES {
        true => Ok(()),
        false => Err(StoreError::TooLarge.into()),
    }
}

/// `limits` with a JSON merge patch (RFC 7396) applied.
fn patched(limits: &UserLimits, change: &Value) -> Result<UserLimits, Refusal> {
    let bad = |error: serde_json::Error| Refusal::Bad(error.to_string());
    let mut document = serde_json::to_value(limits).map_err(bad)?;
    apply(&mut document, change);
    let text = serde_json::to_vec(&document).map_err(bad)?;
    let patched = UserLimits::read(&text).map_err(Refusal::Bad)?;
    // Unknown keys that the document had before may stay.
    let known = limits.unknown_keys();
    match patched.unknown_keys().into_iter().find(|key| !known.contains(key)) {
        Some(key) => Err(Refusal::Bad(format!("json: unknown field \"{key}\""))),
        None => Ok(patched),
    }
}

fn apply(target: &mut Value, change: &Value) {
    let Value::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(entries) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            entries.remove(key);
        } else {
            apply(entries.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// The version in `If-Match`; `None` for `0`, which means that there is no document yet.
fn expected_version(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let value = headers.get(IF_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let version = value.trim().trim_start_matches("W/").trim_matches('"');
    match version {
        "" => Err(Refusal::NoVersion),
        "0" => Ok(None),
        version => Ok(Some(version.to_owned())),
    }
}

fn document(limits: &UserLimits, version: &str) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json), (ETAG, header(version))], limits.to_json()).into_response()
}

fn header(version: &str) -> HeaderValue {
    HeaderValue::from_str(version).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    // An empty value is none, as in queries.
    let (_, value) = pairs.find(|(key, _)| key == name).filter(|(_, value)| !value.is_empty())?;
    Some(value.into_owned())
}

#[cfg(test)]
mod tests;
