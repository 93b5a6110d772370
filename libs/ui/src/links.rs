//! Redirects links to the UIs of Jaeger and Zipkin, as dashboards and chats contain them, to our page that shows the same.
//!
//! Redirects are relative to the request, so that they work below any prefix.

mod conditions;
mod jaeger;
mod zipkin;

use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

/// Jaeger's `/search`, `/trace/{id}`, `/trace/{a}...{b}`, `/compare`, `/dependencies`, `/deep-dependencies`, `/monitor` and
/// `/quality-metrics`, and the file that its UI is.
/// `to_root`: the relative path from the folder of `/search` to that of `/ui/`, such as `""` or `"../"`.
pub fn jaeger_links(to_root: &'static str) -> Router {
    let page = |target: fn(&str) -> Option<String>| page(to_root, target);
    let trace = get(async move |Path(ids): Path<String>, RawQuery(query): RawQuery| {
        let target = jaeger::trace(&ids, query.as_deref().unwrap_or_default());
        redirect(&format!("../{to_root}"), target)
    });
    Router::new()
        .route("/search", page(|query| Some(jaeger::search(query))))
        .route("/trace/{ids}", trace.clone())
        .route("/compare/{ids}", trace)
        .route("/compare", page(|query| Some(jaeger::compare(query))))
        .route("/dependencies", page(|_| Some("map".to_owned())))
        .route("/deep-dependencies", page(|query| Some(jaeger::dependencies_of_one(query))))
        .route("/monitor", page(|query| Some(jaeger::monitor(query))))
        .route("/quality-metrics", page(|_| Some("services".to_owned())))
        .route("/index.html", page(|_| Some("search".to_owned())))
}

/// `/jaeger` and `/jaeger/`: Jaeger's start page, on a port that serves other pages as well.
pub fn jaeger_folder() -> Router {
    let first = |_: &str| Some("search".to_owned());
    Router::new().route("/jaeger", page("", first)).route("/jaeger/", page("../", first))
}

/// Zipkin's `/traces/{id}`, `/dependency` and `/traceViewer`; `to_root` as for [`jaeger_links`].
pub fn zipkin_links(to_root: &'static str) -> Router {
    let trace =
        async move |Path(id): Path<String>| redirect(&format!("../{to_root}"), zipkin::trace(&id));
    Router::new()
        .route("/traces/{id}", get(trace))
        .route("/dependency", page(to_root, |query| Some(zipkin::dependency(query))))
        .route("/traceViewer", page(to_root, |_| Some("file".to_owned())))
}

/// `/zipkin` and `/zipkin/`: Zipkin's start page, which is the search.
pub fn zipkin_folder() -> Router {
    let search = |query: &str| Some(zipkin::search(query));
    Router::new().route("/zipkin", page("", search)).route("/zipkin/", page("../", search))
}

/// A redirect to the path that `target` makes of the request's query string.
fn page(to_root: &'static str, target: fn(&str) -> Option<String>) -> axum::routing::MethodRouter {
    get(async move |RawQuery(query): RawQuery| {
        redirect(to_root, target(query.as_deref().unwrap_or_default()))
    })
}

/// Redirects to a path below `/ui/`; returns 404 if there is none.
fn redirect(to_root: &str, target: Option<String>) -> Response {
    let Some(target) = target else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    match HeaderValue::from_str(&format!("{to_root}ui/{target}")) {
        Ok(location) => (StatusCode::FOUND, [(LOCATION, location)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// True for the id of a trace as both UIs write it: 1 to 32 hexadecimal digits.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    /// The location that a request is redirected to, or its status.
    async fn led(router: Router, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        match response.headers().get(LOCATION) {
            Some(location) => location.to_str().unwrap().to_owned(),
            None => response.status().as_u16().to_string(),
        }
    }

    #[tokio::test]
    async fn pages_of_jaeger_lead_to_ours() {
        for (path, expected) in [
            ("/search", "ui/search"),
            ("/trace/1F?uiFind=a", "../ui/trace/1F?find=a"),
            ("/trace/1f...2e", "../ui/compare/1f...2e"),
            ("/compare/1f...2e", "../ui/compare/1f...2e"),
            ("/compare?cohort=1f&cohort=2e", "ui/compare/1f...2e"),
            ("/dependencies", "ui/map"),
            ("/deep-dependencies?service=a%20b", "ui/map?focus=a+b"),
            ("/monitor?service=a", "ui/services?service=a"),
            ("/quality-metrics?service=a", "ui/services"),
            ("/index.html", "ui/search"),
            ("/trace/x", "404"),
            ("/other", "404"),
        ] {
            assert_eq!(led(jaeger_links(""), path).await, expected, "{path}");
        }
        let below = Router::new().nest("/jaeger", jaeger_links("../"));
        assert_eq!(led(below.clone(), "/jaeger/search").await, "../ui/search");
        assert_eq!(led(below, "/jaeger/trace/1f").await, "../../ui/trace/1f");
        assert_eq!(led(jaeger_folder(), "/jaeger").await, "ui/search");
        assert_eq!(led(jaeger_folder(), "/jaeger/").await, "../ui/search");
    }

    #[tokio::test]
    async fn pages_of_zipkin_lead_to_ours() {
        let below = || Router::new().nest("/zipkin", zipkin_links("../")).merge(zipkin_folder());
        for (path, expected) in [
            ("/zipkin", "ui/search"),
            ("/zipkin/", "../ui/search"),
            ("/zipkin/?lookback=15m", "../ui/search?range=15m&q=%7B+%7D"),
            ("/zipkin/traces/1f", "../../ui/trace/1f"),
            ("/zipkin/traces/x", "404"),
            ("/zipkin/dependency", "../ui/map"),
            ("/zipkin/traceViewer", "../ui/file"),
        ] {
            assert_eq!(led(below(), path).await, expected, "{path}");
        }
        assert_eq!(led(zipkin_links(""), "/traces/1f").await, "../ui/trace/1f");
        assert_eq!(led(zipkin_links(""), "/dependency").await, "ui/map");
    }
}
