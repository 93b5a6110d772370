//! The metadata of a Jaeger that has its storage here.
//!
//! It names the tenant as `x-tenant`, or as tempo-query has it, by the bearer token of the user. What is behind this
//! knows `x-scope-orgid` and `authorization`.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use tactus_server::tenancy::TENANT_HEADER;

const ORGANIZATION: HeaderName = HeaderName::from_static(TENANT_HEADER);
const TENANT: HeaderName = HeaderName::from_static("x-tenant");
const BEARER: HeaderName = HeaderName::from_static("bearer.token");

/// What the user's bearer token is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BearerToken {
    /// The tenant: nobody has to say who they are.
    Tenant,
    /// What it is called: authentication is on.
    Credential,
}

/// Middleware that moves the tenant, and the credentials, to where they are looked for.
pub(super) async fn translate(
    State(bearer): State<BearerToken>,
    mut request: Request,
    next: Next,
) -> Response {
    translate_headers(request.headers_mut(), bearer);
    next.run(request).await
}

fn translate_headers(headers: &mut HeaderMap, bearer: BearerToken) {
    let token = take(headers, &BEARER);
    if let Some(tenants) = take(headers, &TENANT)
        && !headers.contains_key(ORGANIZATION)
    {
        put(headers, &ORGANIZATION, tenants);
    }
    let Some(token) = token else { return };
    match bearer {
        BearerToken::Tenant if !headers.contains_key(ORGANIZATION) => {
            put(headers, &ORGANIZATION, token);
        }
        BearerToken::Credential if !headers.contains_key(AUTHORIZATION) => {
            let credentials = token.into_iter().filter_map(|token| {
                HeaderValue::from_bytes(&[b"Bearer ", token.as_bytes()].concat()).ok()
            });
            let credentials = credentials.map(|mut value| {
                value.set_sensitive(true);
                value
            });
            put(headers, &AUTHORIZATION, credentials.collect());
        }
        _ => {}
    }
}

/// All values of a key: more than one is an error, which is told by who reads them.
fn take(headers: &mut HeaderMap, name: &HeaderName) -> Option<Vec<HeaderValue>> {
    let values: Vec<_> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    (!values.is_empty()).then_some(values)
}

fn put(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    for value in values {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers after the translation, sorted.
    fn translated(headers: &[(&'static str, &'static str)], bearer: BearerToken) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        translate_headers(&mut map, bearer);
        let mut lines: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn tenant_is_that_of_the_first_key_that_names_one() {
        let keys = [("x-scope-orgid", "a"), ("x-tenant", "b"), ("bearer.token", "c")];
        for (from, tenant) in [(0, "a"), (1, "b"), (2, "c")] {
            let found = translated(&keys[from..], BearerToken::Tenant);
            assert_eq!(found, [format!("x-scope-orgid: {tenant}")]);
        }
        assert!(translated(&[], BearerToken::Tenant).is_empty());
    }

    #[test]
    fn several_tenants_stay_several() {
        let found = translated(&[("x-tenant", "a"), ("x-tenant", "b")], BearerToken::Tenant);
        assert_eq!(found, ["x-scope-orgid: a", "x-scope-orgid: b"]);
    }

    #[test]
    fn bearer_token_is_a_credential_where_those_are_asked_for() {
        let found = translated(&[("bearer.token", "s")], BearerToken::Credential);
        assert_eq!(found, ["authorization: Bearer s"]);
        let own = [("bearer.token", "s"), ("authorization", "Basic eA=="), ("x-tenant", "a")];
        let found = translated(&own, BearerToken::Credential);
        assert_eq!(found, ["authorization: Basic eA==", "x-scope-orgid: a"]);
    }
}
