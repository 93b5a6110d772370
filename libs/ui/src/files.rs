//! Embedded files over HTTP.

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Path};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

/// Scripts come only from this origin, and text never becomes markup. So the content of a span can become neither.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; worker-src 'self'; base-uri 'self'; form-action 'none'; \
     frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types tactus";

/// Names of these files contain a hash of their content.
const HASHED: &str = "assets/";

const INDEX: &str = "index.html";

struct File {
    path: &'static str,
    /// Hash of the content.
    tag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The pages at `/ui/`, and redirects there from `/` and `/ui`. They contain no data of tenants, so everyone may read them.
pub fn router() -> Router {
    // The location is relative to the request, so that it works below any prefix.
    let redirect = |location: String| (StatusCode::FOUND, [(LOCATION, location)]);
    // Below a prefix, the path of the root has no slash at its end: `/tempo`.
    let root = async move |OriginalUri(uri): OriginalUri| match uri.path().rsplit('/').next() {
        None | Some("") => redirect("ui/".to_owned()),
        Some(folder) => redirect(format!("{folder}/ui/")),
    };
    Router::new()
        .route("/", get(root))
        .route("/ui", get(async move || redirect("ui/".to_owned())))
        .route("/ui/", get(async |headers: HeaderMap| serve("", 0, &headers)))
        .route(
            "/ui/{*path}",
            get(async |Path(path): Path<String>, uri: Uri, headers: HeaderMap| {
                serve(&path, depth(&uri), &headers)
            }),
        )
}

/// How many folders below `/ui/` a path is for a browser, to which a `%2F` is no slash.
fn depth(uri: &Uri) -> usize {
    let below = uri.path().strip_prefix("/ui/").unwrap_or_default();
    below.matches('/').count()
}

/// Serves a path below `/ui/`, `depth` folders below it: the file with this name, or else the index, which shows every page.
fn serve(path: &str, depth: usize, headers: &HeaderMap) -> Response {
    if let Some(file) = find(path).filter(|file| file.path != INDEX) {
        return with_common_headers(asset(file, headers));
    }
    if path.starts_with(HASHED) || path == "api" || path.starts_with("api/") {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    match find(INDEX) {
        Some(file) => with_common_headers(index(file, depth, headers)),
        None => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

fn asset(file: &'static File, headers: &HeaderMap) -> Response {
    let (body, encoding) =
        match (accepts(headers, "br"), file.brotli, accepts(headers, "gzip"), file.gzip) {
            (true, Some(brotli), _, _) => (brotli, Some("br")),
            (_, _, true, Some(gzip)) => (gzip, Some("gzip")),
            _ => (file.plain, None),
        };
    let tag = format!("\"{}-{}\"", file.tag, encoding.unwrap_or("plain"));
    let mut response = unless_known(&tag, headers, || Body::from(body));
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(file.path)));
    set.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(encoding) = encoding {
        set.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let age = if file.path.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    set.insert(CACHE_CONTROL, HeaderValue::from_static(age));
    response
}

/// The index with a `<base>`: the relative path to the folder to which all addresses are relative, from `depth` folders
/// below it.
fn index(file: &'static File, depth: usize, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}-{depth}\"", file.tag);
    let mut response = unless_known(&tag, headers, || {
        let base = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
        let page = String::from_utf8_lossy(file.plain);
        Body::from(page.replacen("<head>", &format!("<head><base href=\"{base}\">"), 1))
    });
    let set = response.headers_mut();
    set.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(INDEX)));
    set.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Returns 304 to a client that already has the content with this tag.
fn unless_known(tag: &str, headers: &HeaderMap, body: impl FnOnce() -> Body) -> Response {
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|list| list.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*");
    let mut response = Response::new(if is_known { Body::empty() } else { body() });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn with_common_headers(mut response: Response) -> Response {
    let set = response.headers_mut();
    set.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    set.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| {
        let (name, parameter) = item.split_once(';').unwrap_or((item, ""));
        let quality = parameter.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim() == encoding && quality.is_ok_and(|quality| quality > 0.0)
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("md") => "text/markdown; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn get_page(path: &str, header: Option<(&str, &str)>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let response = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn page_finds_its_base_by_its_depth() {
        for (path, base) in [
            ("/ui/", "./"),
            ("/ui/search?q=a/b", "./"),
            ("/ui/trace/1f", "../"),
            ("/ui/trace%2F1f", "./"),
            ("/ui/a%2Fb/c%2fd", "../"),
        ] {
            let (status, headers, body) = get_page(path, None).await;
            assert_eq!(status, StatusCode::OK);
            assert!(body.contains(&format!("<head><base href=\"{base}\">")), "{path}: {body}");
            assert_eq!(headers[CACHE_CONTROL], "no-cache");
            assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        }
    }

    #[tokio::test]
    async fn page_that_is_known_is_not_sent_again() {
        let (_, headers, _) = get_page("/ui/", None).await;
        let tag = headers[ETAG].to_str().unwrap();
        let (status, _, body) = get_page("/ui/", Some(("if-none-match", tag))).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        let (status, ..) = get_page("/ui/trace/1f", Some(("if-none-match", tag))).await;
        assert_eq!(status, StatusCode::OK, "the base is another there");
    }

    #[tokio::test]
    async fn roots_lead_to_the_pages() {
        for path in ["/", "/ui"] {
            let (status, headers, _) = get_page(path, None).await;
            assert_eq!(
                (status, &headers[LOCATION]),
                (StatusCode::FOUND, &HeaderValue::from_static("ui/"))
            );
        }
    }

    #[tokio::test]
    async fn root_below_a_prefix_leads_to_the_pages_below_it() {
        let below = Router::new().nest("/tools/traces", router());
        for (path, location) in [("/tools/traces", "traces/ui/"), ("/tools/traces/ui", "ui/")] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = below.clone().oneshot(request).await.unwrap();
            assert_eq!(response.headers()[LOCATION], HeaderValue::from_static(location), "{path}");
        }
    }

    #[tokio::test]
    async fn base_below_a_prefix_leads_to_the_pages_below_it() {
        let below = Router::new().nest("/tools/traces", router());
        for (path, base) in [("trace/1f", "../"), ("a%2Fb%2Fc", "./")] {
            let path = format!("/tools/traces/ui/{path}");
            let request = Request::get(&path).body(Body::empty()).unwrap();
            let response = below.clone().oneshot(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let page = String::from_utf8_lossy(&body);
            assert!(page.contains(&format!("<base href=\"{base}\">")), "{path}: {page}");
        }
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_the_index() {
        for path in ["/ui/assets/none.js", "/ui/api/none", "/ui/api"] {
            assert_eq!(get_page(path, None).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn each_file_has_both_encodings_or_is_the_only_one() {
        assert!(find(INDEX).is_some());
        for file in FILES.iter().filter(|file| file.path.starts_with(HASHED)) {
            let mut headers = HeaderMap::new();
            for (accepted, encoding) in
                [("gzip, br", Some("br")), ("gzip, br;q=0", Some("gzip")), ("", None)]
            {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
                let response = asset(file, &headers);
                let got =
                    response.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
                assert_eq!(got, encoding, "{} {accepted}", file.path);
                assert!(response.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
            }
        }
    }
}
