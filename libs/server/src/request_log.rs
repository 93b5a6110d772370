//! A line of the log for each request of a port: at level debug, or at info for operators who ask for it.

mod headers;
mod source_ips;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Method, Request, Uri};
use tracing::Level;

pub use headers::{may_be_secret, shown_headers};
pub use source_ips::SourceIps;

use crate::tenancy::TENANT_HEADER;

/// The settings of the request log.
#[derive(Debug, Clone, Default)]
pub struct RequestLogSettings {
    /// Lines are written at level info.
    pub at_info: bool,
    /// They have the headers of the request, without secrets.
    pub with_headers: bool,
    /// Further headers that they do not have, in any case.
    pub excluded_headers: Vec<String>,
    /// They have addresses of the client.
    pub source_ips: Option<SourceIps>,
}

/// The log of the requests of a port. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RequestLog(Arc<RequestLogSettings>);

/// A request of which a line will be written.
#[derive(Debug)]
pub(crate) struct LoggedRequest {
    at_info: bool,
    method: Method,
    uri: Uri,
    tenant: Option<String>,
    source_ips: Option<String>,
    headers: Option<String>,
}

impl RequestLog {
    /// A request log with these settings.
    pub fn new(settings: RequestLogSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// `None` if no line is wanted of requests that come now.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Option<LoggedRequest> {
        let settings = &*self.0;
        if !settings.at_info && !tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let headers = request.headers();
        let is_wanted = |name: &str| {
            let mut excluded = settings.excluded_headers.iter();
            !excluded.any(|excluded| excluded.trim().eq_ignore_ascii_case(name))
        };
        Some(LoggedRequest {
            at_info: settings.at_info,
            method: request.method().clone(),
            uri: request.uri().clone(),
            tenant: text_of(headers, TENANT_HEADER),
            source_ips: settings.source_ips.as_ref().and_then(|ips| ips.of(request)),
            headers: settings.with_headers.then(|| shown_headers(headers, is_wanted)),
        })
    }
}

/// What a client asks for, as it stands in the first line of a request.
pub fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("", |url| url.as_str())
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

impl LoggedRequest {
    /// It ended like this.
    pub(crate) fn end(&self, status: &str, duration: Duration) {
        let url = path_and_query(&self.uri);
        // An option that is none leaves its field out.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    parent: None,
                    method = self.method.as_str(),
                    url,
                    status,
                    duration_seconds = duration.as_secs_f64(),
                    tenant = self.tenant.as_deref(),
                    sourceIPs = self.source_ips.as_deref(),
                    headers = self.headers.as_deref(),
                    "request"
                )
            };
        }
        if self.at_info { line!(info) } else { line!(debug) }
    }
}
