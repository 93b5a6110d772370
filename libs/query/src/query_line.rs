//! The log line of a query, with the request headers that operators chose.

use std::time::Instant;

use ::http::HeaderMap;
use tactus_model::TenantId;
use tactus_server::request_log::shown_headers;

use crate::current_query::joined;

/// A query of which a line is written when it ends: when this is dropped.
#[derive(Debug)]
pub(crate) struct QueryLine {
    tenants: String,
    url: String,
    headers: String,
    began: Instant,
}

impl QueryLine {
    /// `None` if no headers are wanted: then queries have no lines. `url`: path and query of the request, or of the same
    /// query over HTTP.
    pub(crate) fn begin(
        wanted: &[String],
        tenants: &[TenantId],
        url: &str,
        headers: &HeaderMap,
    ) -> Option<Self> {
        if wanted.is_empty() {
            return None;
        }
        let is_wanted =
            |name: &str| wanted.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name));
        Some(Self {
            tenants: joined(tenants),
            url: url.to_owned(),
            headers: shown_headers(headers, is_wanted),
            began: Instant::now(),
        })
    }
}

impl Drop for QueryLine {
    fn drop(&mut self) {
        let (tenant, url, headers) = (&*self.tenants, &*self.url, &*self.headers);
        let duration_seconds = self.began.elapsed().as_secs_f64();
        tracing::info!(parent: None, tenant, url, duration_seconds, headers, "query");
    }
}
