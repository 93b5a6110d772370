//! Parses, checks and compiles queries on threads that do not serve connections, unless that takes almost no time.

use tactus_api::request::parse_traceql;
use tactus_api::{QueryParams, Result};
use tactus_model::TenantId;
use tactus_traceql::{RootExpr, is_short};

use crate::frontend::Frontend;
use crate::offload::offload;

impl Frontend {
    /// Runs what parses a query of these tenants: here if `query` is short, else on another thread when it is the tenants'
    /// turn, within the time and the processor time that a query may take.
    ///
    /// Errors: what `parse` says, [`QueueFull`](tactus_api::Error::QueueFull), and those of a query that takes more than it may.
    pub(crate) async fn parse<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        query: &str,
        parse: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if is_short(query) {
            return parse();
        }
        self.within_limits(tenants, async { offload(true, parse).await? }).await
    }

    /// Parses a TraceQL query as [`Self::parse`] does.
    pub async fn parse_traceql(&self, tenants: &[TenantId], query: &str) -> Result<RootExpr> {
        let max_bytes = self.settings.section.max_query_expression_size_bytes;
        let text = query.to_owned();
        self.parse(tenants, query, move || parse_traceql(&text, max_bytes)).await
    }

    /// As [`Self::parse`], for the parameters of a URL: the text after its `?`.
    pub(crate) async fn parse_params<T: Send + 'static>(
        &self,
        tenants: &[TenantId],
        params: &str,
        parse: impl FnOnce(&QueryParams<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let decoded = QueryParams::parse(params);
        if decoded.iter().all(|(_, value)| is_short(value)) {
            return parse(&decoded);
        }
        let params = params.to_owned();
        self.parse(tenants, LONG, move || parse(&QueryParams::parse(&params))).await
    }
}

/// A text that [`is_short`] takes for a long query.
pub(crate) const LONG: &str = "~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_that_compile_patterns_or_are_long_are_not_short() {
        assert!(is_short("") && is_short("{ .a = 1 }"));
        assert!(!is_short("{ .a =~ `x` }") && !is_short("{ .a !~ `x` }") && !is_short(LONG));
        assert!(!is_short(&" ".repeat(tactus_traceql::SHORT_QUERY_BYTES + 1)));
    }
}
