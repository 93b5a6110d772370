//! Refuses requests that a page of another site makes a browser send.
//!
//! A browser adds to such requests what it has for our site: a certificate, a password that somebody typed, and its
//! position inside of our network. So requests that change something are refused if they come from a page that is not
//! ours. Programs other than browsers are not affected, even if they use GET where Tempo's paths allow it.

use ::http::header::{HOST, ORIGIN, USER_AGENT};
use ::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::text_answer::text;

/// The header in which a browser says where a request comes from. Browsers send it only over HTTPS, and to their own
/// machine.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The host that a proxy was asked for.
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What requests to some routes change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Each of them changes something, by GET too.
    Always,
    /// GET, HEAD and OPTIONS only show something.
    ByMethod,
}

/// Refuses requests with 403 that change something and come from a browser that shows a page of another site, before
/// the routes that `router` has so far.
pub fn refuse_cross_site(router: Router, changes: Changes) -> Router {
    if !router.has_routes() {
        return router;
    }
    router.route_layer(middleware::from_fn_with_state(changes, check))
}

async fn check(State(changes): State<Changes>, request: Request, next: Next) -> Response {
    let shows = changes == Changes::ByMethod
        && matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if shows || !is_cross_site(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let reason = "requests that change something are not taken from pages of another site; ask by a \
                  program, such as curl\n";
    text(StatusCode::FORBIDDEN, reason)
}

/// True if a browser sent this for a page of another site, or may have: without TLS it says nothing with a GET.
fn is_cross_site(headers: &HeaderMap, uri: &Uri) -> bool {
    let value = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    if let Some(site) = value(&SEC_FETCH_SITE) {
        // "none": somebody typed the address.
        return !matches!(site, b"same-origin" | b"none");
    }
    if let Some(origin) = value(&ORIGIN) {
        let host = std::str::from_utf8(origin).ok().and_then(|it| it.split_once("://"));
        let Some((_, host)) = host else { return true };
        let asked = uri.authority().map(|authority| authority.as_str().as_bytes());
        let asked = [asked, value(&HOST), value(&X_FORWARDED_HOST)];
        return !asked.into_iter().flatten().any(|it| it.eq_ignore_ascii_case(host.as_bytes()));
    }
    // All browsers begin like this, and no page can have them say anything else. So does PowerShell, which no page is shown in.
    value(&USER_AGENT).is_some_and(|agent| {
        agent.starts_with(b"Mozilla/") && !agent.windows(11).any(|part| part == b"PowerShell/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::any;
    use tower::ServiceExt as _;

    const BROWSER: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");

    async fn ask(changes: Changes, method: Method, headers: &[(&str, &str)]) -> StatusCode {
        let router = Router::new().route("/shutdown", any(|| async { "done" }));
        let router = refuse_cross_site(router, changes);
        let mut request = Request::builder().method(method).uri("/shutdown");
        request = request.header("host", "tactus:3200");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        router.oneshot(request).await.expect("an answer").status()
    }

    #[tokio::test]
    async fn programs_and_our_own_pages_may_change_something() {
        for headers in [
            &[] as &[_],
            &[("user-agent", "curl/8.5.0")],
            &[("user-agent", "Mozilla/5.0 (Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041")],
            &[BROWSER, ("sec-fetch-site", "same-origin"), ("origin", "http://elsewhere")],
            &[BROWSER, ("sec-fetch-site", "none")],
            &[BROWSER, ("origin", "http://Tactus:3200")],
            &[
                BROWSER,
                ("origin", "https://traces.example"),
                ("x-forwarded-host", "traces.example"),
            ],
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let status = ask(Changes::Always, method, headers).await;
                assert_eq!(status, StatusCode::OK, "{headers:?}");
            }
        }
    }

    #[tokio::test]
    async fn pages_of_other_sites_may_only_look() {
        for headers in [
            &[BROWSER] as &[_],
            &[BROWSER, ("sec-fetch-site", "cross-site")],
            &[BROWSER, ("sec-fetch-site", "same-site"), ("origin", "http://tactus:3200")],
            &[("sec-fetch-site", "cross-site")],
            &[BROWSER, ("origin", "http://evil.example")],
            &[BROWSER, ("origin", "http://tactus:3201")],
            &[BROWSER, ("origin", "null")],
        ] {
            for method in [Method::GET, Method::POST] {
                let status = ask(Changes::Always, method, headers).await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{headers:?}");
            }
            assert_eq!(ask(Changes::ByMethod, Method::GET, headers).await, StatusCode::OK);
            assert_eq!(ask(Changes::ByMethod, Method::PUT, headers).await, StatusCode::FORBIDDEN);
        }
    }
}
