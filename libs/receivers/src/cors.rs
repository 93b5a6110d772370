//! Cross-origin requests: browsers that send spans themselves.

use ::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use ::http::{HeaderMap, HeaderValue, Method};

/// Methods that a page of an allowed origin may use.
const ALLOWED_METHODS: [&str; 3] = ["GET", "POST", "HEAD"];

/// Headers that are always allowed.
const DEFAULT_HEADERS: [&str; 4] = ["accept", "content-type", "x-requested-with", "origin"];

/// Headers of the answer to a preflight request depend on these of the request.
const PREFLIGHT_VARY: &str =
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// The method of the request, or that of the one which a preflight request asks for.
pub(crate) fn method_meant(method: &Method, headers: &HeaderMap) -> Method {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).map(HeaderValue::as_bytes);
    match asked.map(Method::from_bytes) {
        Some(Ok(asked)) if method == Method::OPTIONS => asked,
        _ => method.clone(),
    }
}

/// Which pages may send spans.
#[derive(Debug, Clone, Default)]
pub struct CorsSettings {
    /// Origins, any case, with at most one `*` each: `https://*.example.com`, `*`. None: CORS off.
    pub allowed_origins: Vec<String>,
    /// Headers beyond the usual ones; `*` allows all.
    pub allowed_headers: Vec<String>,
    /// Seconds for which browsers may remember the answer; 0: their own default.
    pub max_age_seconds: u64,
}

/// Compiled settings.
#[derive(Debug, Clone)]
pub(crate) struct Cors {
    /// Lower case; before and after the `*`, if there is one.
    origins: Vec<(String, Option<String>)>,
    any_origin: bool,
    headers: Vec<String>,
    any_header: bool,
    max_age_seconds: u64,
}

impl Cors {
    /// `None` if CORS is off.
    pub(crate) fn new(settings: &CorsSettings) -> Option<Self> {
        if settings.allowed_origins.is_empty() {
            return None;
        }
        let origins = settings.allowed_origins.iter().map(|origin| {
            let origin = origin.to_ascii_lowercase();
            match origin.split_once('*') {
                Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
                None => (origin, None),
            }
        });
        let configured = settings.allowed_headers.iter().map(|name| name.to_ascii_lowercase());
        Some(Self {
            origins: origins.collect(),
            any_origin: settings.allowed_origins.iter().any(|origin| origin == "*"),
            headers: DEFAULT_HEADERS.map(str::to_owned).into_iter().chain(configured).collect(),
            any_header: settings.allowed_headers.iter().any(|name| name == "*"),
            max_age_seconds: settings.max_age_seconds,
        })
    }

    /// Response headers if this is a preflight request; it is answered with 204 and nothing else.
    pub(crate) fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<HeaderMap> {
        let asked_method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if method != Method::OPTIONS || !request.contains_key(ORIGIN) {
            return None;
        }
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static(PREFLIGHT_VARY));
        let asked_headers = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let method_allowed = ALLOWED_METHODS.iter().any(|allowed| asked_method == allowed);
        let allowed = method_allowed && self.headers_allowed(asked_headers);
        if let Some(origin) = self.allowed_origin(request)
            && allowed
        {
            self.allow(&mut headers, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, asked_method.clone());
            if let Some(asked) = asked_headers {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
            if self.max_age_seconds > 0 {
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age_seconds));
            }
        }
        Some(headers)
    }

    /// Adds the headers of an ordinary response.
    pub(crate) fn decorate(&self, origin: Option<HeaderValue>, response: &mut HeaderMap) {
        response.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            self.allow(response, origin);
        }
    }

    /// The value of `Access-Control-Allow-Origin`, if the request's origin is allowed.
    pub(crate) fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        if self.any_origin {
            return Some(HeaderValue::from_static("*"));
        }
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        let matches = |(before, after): &(String, Option<String>)| match after {
            None => text == *before,
            Some(after) => {
                text.len() >= before.len() + after.len()
                    && text.starts_with(before)
                    && text.ends_with(after)
            }
        };
        self.origins.iter().any(matches).then(|| origin.clone())
    }

    fn allow(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }

    fn headers_allowed(&self, asked: Option<&HeaderValue>) -> bool {
        let Some(asked) = asked else { return true };
        let Ok(asked) = asked.to_str() else { return false };
        let mut names = asked.split(',').map(|name| name.trim().to_ascii_lowercase());
        self.any_header || names.all(|name| name.is_empty() || self.headers.contains(&name))
    }
}

#[cfg(test)]
mod tests;
