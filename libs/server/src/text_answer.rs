//! Answers in plain text: errors, and what is said to a person.

use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use tactus_model::error_text::cut_str;

/// Content type of every text answer.
pub(crate) const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// The answer to a path that does not exist.
pub async fn not_found() -> Response {
    error_line(StatusCode::NOT_FOUND, "404 page not found")
}

/// A text answer without a final newline, as the query API gives them.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN_TEXT));
    response
}

/// An error of a helper or admin handler: one line that browsers must not take for HTML.
pub fn error_line(status: StatusCode, message: &str) -> Response {
    let mut response = text(status, format!("{}\n", cut_str(message)));
    forbid_sniffing(&mut response);
    response
}

pub(crate) fn forbid_sniffing(response: &mut Response) {
    let name = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(name, HeaderValue::from_static("nosniff"));
}
