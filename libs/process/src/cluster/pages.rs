//! Pages of the members and the rings.

use std::sync::Arc;

use axum::{
    Router,
    extract::RawQuery,
    response::{Html, IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, LOCATION},
};
use tactus_ring::{Membership, Ring};
use tactus_server::http::error_line;

/// Routes that show, and routes that change: `POST` with `forget=<id>`.
pub(super) fn routers(
    membership: Membership,
    rings: Vec<(&'static str, Arc<Ring>)>,
) -> (Router, Router) {
    let members = move |headers: HeaderMap| async move {
        match membership.gossip_address() {
            // A sentence, whatever is accepted.
            None => membership.page_html().into_response(),
            Some(_) => page(&headers, || membership.page_json(), || membership.page_html()),
        }
    };
    let mut shows = Router::new().route("/memberlist", any(members));
    let mut changes = Router::new();
    for (name, ring) in rings {
        let path = format!("/{name}/ring");
        let shown = Arc::clone(&ring);
        let show = move |headers: HeaderMap, RawQuery(query): RawQuery| async move {
            let tokens =
                query.is_some_and(|query| query.split('&').any(|part| part == "tokens=true"));
            page(&headers, || shown.page_json(), || shown.page_html(tokens))
        };
        shows = shows.route(&path, get(show));
        let change = move |RawQuery(query): RawQuery, body: Bytes| async move {
            forget(&ring, query, &body)
        };
        changes = changes.route(&path, post(change));
    }
    (shows, changes)
}

fn page(
    headers: &HeaderMap,
    json: impl FnOnce() -> String,
    html: impl FnOnce() -> String,
) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("application/json")) {
        return ([(CONTENT_TYPE, "application/json")], json()).into_response();
    }
    Html(html()).into_response()
}

/// The form in the body goes before the query, as in Go.
fn forget(ring: &Ring, query: Option<String>, form: &[u8]) -> Response {
    let query = query.unwrap_or_default();
    let mut fields = form_urlencoded::parse(form).chain(form_urlencoded::parse(query.as_bytes()));
    let Some((_, id)) = fields.find(|(key, _)| key == "forget") else {
        return error_line(StatusCode::BAD_REQUEST, "field forget is missing");
    };
    if !ring.forget(&id) {
        let message = format!("no instance {id} in the ring");
        return error_line(StatusCode::NOT_FOUND, &message);
    }
    tracing::info!(instance = %id, ring = ring.settings().name, "instance removed from the ring by hand");
    (StatusCode::FOUND, [(LOCATION, "#")]).into_response()
}

#[cfg(test)]
mod tests {
    use tactus_ring::RingSettings;

    use super::*;

    #[test]
    fn instance_to_forget_is_named_in_the_form_or_in_the_query() {
        let ring = Ring::fixed(RingSettings::new("ingester"), Vec::new());
        let status = |query: &str, form: &str| {
            forget(&ring, Some(query.to_owned()), form.as_bytes()).status().as_u16()
        };
        // There is no such instance, but one was named.
        assert_eq!((status("", "forget=a"), status("forget=a", "")), (404, 404));
        assert_eq!((status("", ""), status("tokens=true", "other=a")), (400, 400));
    }
}
