//! Pages that show limits: `/status/overrides`, `/status/overrides/{tenant}`, `/status/runtime_config`.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::http::header::{ACCEPT, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::json;
use tactus_server::operational::{ConfigSource, ConfigView};
use tactus_telemetry::html_escaped;

use crate::overrides::Overrides;
use crate::snapshot::Snapshot;

const NOT_SET: &str = "No user-configurable overrides set";
const NOT_ENABLED: &str = "User-configurable overrides are not enabled";

/// The pages `/status/overrides` and `/status/overrides/{tenant}`; they belong beside the other
/// status pages, without the API prefix.
pub fn router(overrides: Arc<Overrides>) -> Router {
    Router::new()
        .route("/status/overrides", any(tenants))
        .route("/status/overrides/{tenant}", any(tenant))
        .with_state(overrides)
}

/// The page `/status/runtime_config`, for [`tactus_server::operational::Operational`].
pub fn runtime_config(overrides: Arc<Overrides>) -> ConfigSource {
    Arc::new(move |view| text(&overrides.snapshot(), view))
}

/// The defaults and the file; without the defaults if only differences are shown.
fn text(snapshot: &Snapshot, view: ConfigView) -> String {
    let defaults =
        || format!("defaults:\n{}", indented(&tactus_config::limits_yaml(&snapshot.defaults)));
    let mut parts = match view {
        ConfigView::Defaults => return defaults(),
        ConfigView::Effective => vec![defaults()],
        ConfigView::Diff => Vec::new(),
    };
    parts.push(snapshot.file.to_yaml());
    if !snapshot.user.is_empty() {
        let mut user = "user_configurable_overrides:\n".to_owned();
        for (tenant, stored) in &snapshot.user {
            // A JSON text is YAML.
            user.push_str(&format!("  {}: {}\n", json!(tenant), stored.limits.to_json()));
        }
        parts.push(user);
    }
    parts.concat()
}

fn indented(yaml: &str) -> String {
    yaml.lines().map(|line| format!("  {line}\n")).collect()
}

async fn tenants(State(overrides): State<Arc<Overrides>>, headers: HeaderMap) -> Response {
    let snapshot = overrides.snapshot();
    let names: BTreeSet<&str> = snapshot
        .file
        .entries()
        .map(|(tenant, _)| tenant)
        .chain(snapshot.user.keys().map(String::as_str))
        .collect();
    let rows: Vec<(&str, bool, bool)> = names
        .into_iter()
        .map(|name| (name, snapshot.own_entry(name).is_some(), snapshot.user.contains_key(name)))
        .collect();
    if wants_json(&headers) {
        let tenants: Vec<_> = rows
            .iter()
            .map(|(name, runtime, user)| {
                json!({
                    "name": name,
                    "has_runtime_overrides": runtime,
                    "has_user_configurable_overrides": user,
                })
            })
            .collect();
        return json_answer(&json!({ "now": now(), "tenants": tenants }));
    }
    let mut table = "<table><tr><th>Tenant</th><th>Runtime overrides</th>\
                     <th>User-configurable overrides</th></tr>\n"
        .to_owned();
    for (name, runtime, user) in rows {
        let name = html_escaped(name);
        table.push_str(&format!(
            "<tr><td><a href=\"/status/overrides/{name}\">{name}</a></td><td>{}</td><td>{}</td></tr>\n",
            mark(runtime),
            mark(user)
        ));
    }
    page("Tenants with overrides", &format!("<p>{}</p>\n{table}</table>\n", now()))
}

async fn tenant(
    State(overrides): State<Arc<Overrides>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
) -> Response {
    let snapshot = overrides.snapshot();
    let user = match (&overrides.store, snapshot.user.get(&tenant)) {
        (None, _) => NOT_ENABLED.to_owned(),
        (Some(_), None) => NOT_SET.to_owned(),
        // One line of JSON, which is YAML.
        (Some(_), Some(stored)) => stored.limits.to_json(),
    };
    let runtime = tactus_config::limits_yaml(snapshot.runtime(&tenant));
    let source = if snapshot.own_entry(&tenant).is_some() {
        tenant.as_str()
    } else if snapshot.own_entry("*").is_some() {
        "*"
    } else {
        "default overrides"
    };
    if wants_json(&headers) {
        return json_answer(&json!({
            "now": now(),
            "tenant": tenant,
            "user_configurable_overrides": user,
            "runtime_overrides": runtime,
            "using_default_or_wildcard_runtime_overrides": source,
        }));
    }
    let effective = tactus_config::limits_yaml(snapshot.of(&tenant));
    let body = format!(
        "<p>{}</p>\n<h2>In effect</h2><pre>{}</pre>\n<h2>Set by the tenant</h2><pre>{}</pre>\n\
         <h2>Runtime overrides, from: {}</h2><pre>{}</pre>\n",
        now(),
        html_escaped(&effective),
        html_escaped(&user),
        html_escaped(source),
        html_escaped(&runtime)
    );
    page(&format!("Overrides of {}", html_escaped(&tenant)), &body)
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.into_iter().any(|value| value.contains("application/json"))
}

fn json_answer(value: &serde_json::Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], format!("{value}\n")).into_response()
}

fn page(title: &str, body: &str) -> Response {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let text = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>\n{body}</body></html>\n"
    );
    ([(CONTENT_TYPE, html)], text).into_response()
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn mark(set: bool) -> &'static str {
    if set { "yes" } else { "" }
}

#[cfg(test)]
mod tests;
