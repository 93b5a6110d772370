//! Paths with percent-encoded slashes and letters, as some clients and proxies write them.
//!
//! The path is first matched as it came, so that a name in it may contain an encoded slash. If there is no such route,
//! the decoded path is matched, as in Tempo: `/api%2Fsearch` is `/api/search`.

use std::convert::Infallible;

use ::http::uri::PathAndQuery;
use ::http::{Request, Uri};
use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::Response;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use tower::{Service as _, service_fn};

use super::{clean_path, moved_to};

/// Characters that a path cannot contain as they are.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The router, with its routes looked for by decoded paths too. Its fallback answers when there is none. A request passes the
/// layers of the router once, with the path that decides.
pub(super) fn or_decoded(router: Router) -> Router {
    let routes = router.clone();
    router.fallback_service(service_fn(move |request| answer(routes.clone(), request)))
}

async fn answer(mut routes: Router, mut request: Request<Body>) -> Result<Response, Infallible> {
    if let Some(decoded) = decoded_path(request.uri().path()) {
        let path = clean_path(&decoded).unwrap_or_else(|| decoded.clone());
        let path_and_query = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        if path != decoded {
            if let Some(redirect) = moved_to(&path, request.uri().query()) {
                return Ok(redirect);
            }
        } else if let Some(uri) = with_path(request.uri(), &path_and_query) {
            *request.uri_mut() = uri;
            // Permissions depend on the path, which is the decoded one from here on.
            request.extensions_mut().remove::<OriginalUri>();
        }
    }
    routes.call(request).await
}

fn with_path(uri: &Uri, path_and_query: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// The path with nothing encoded that need not be; `None` if it is so already.
fn decoded_path(path: &str) -> Option<String> {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let shortest = percent_encode(&bytes, ENCODED).to_string();
    (path.contains('%') && shortest.starts_with('/') && shortest != path).then_some(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_need_not_be_encoded_is_decoded() {
        for (path, decoded) in [
            ("/api/search", None),
            ("/api%2Fsearch", Some("/api/search")),
            ("/%61pi/tag/a%20b", Some("/api/tag/a%20b")),
            ("/api/a%20b", None),
            // A remaining escape would change its meaning if it were decoded again.
            ("/api/%2525", None),
            ("/api/%3Fq%23", None),
            ("/api/%E2%82%AC", None),
            ("/api/%e2%82%ac", Some("/api/%E2%82%AC")),
            ("/api/%2fa%2E%2E", Some("/api//a..")),
            ("/api/%zz", Some("/api/%25zz")),
            ("*", None),
        ] {
            assert_eq!(decoded_path(path).as_deref(), decoded, "{path}");
            assert_eq!(decoded.and_then(decoded_path), None, "{path}");
        }
    }
}
