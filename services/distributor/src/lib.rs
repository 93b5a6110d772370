//! The distributor: validates and limits what receivers took in, and hands it to an ingester.
//!
//! It never decodes attributes. A walk over the request finds its spans; the push that goes on refers to the same
//! bytes, each resource and scope once. One bad span costs itself, not its request.
#![warn(missing_docs)]

mod limit;
mod metrics;
mod push;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tactus_model::{TenantId, wire::WireError};
use tactus_proto::tactus::v1::ingester_server::Ingester;
use tactus_receivers::{PushError, PushOutcome, TraceSink};
use tactus_telemetry::metrics::Registry;

use crate::{limit::RateLimiter, metrics::Metrics, push::CheckedExport};

/// What an operator can set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes a second that a tenant may send; 0: no limit.
    pub rate_limit_bytes: u64,
    /// Bytes that a tenant may send at once.
    pub burst_size_bytes: u64,
    /// What a refused client is told to wait; zero: no hint, and OTLP clients drop the spans.
    pub retry_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate_limit_bytes: 15_000_000,
            burst_size_bytes: 20_000_000,
            retry_after: Duration::from_secs(5),
        }
    }
}

/// A distributor in front of one ingester.
pub struct Distributor {
    settings: Settings,
    ingester: Arc<dyn Ingester>,
    limiter: RateLimiter,
    metrics: Metrics,
}

impl std::fmt::Debug for Distributor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distributor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Distributor {
    /// A distributor that pushes to `ingester`.
    pub fn new(settings: Settings, ingester: Arc<dyn Ingester>, registry: &Registry) -> Self {
        Self {
            limiter: RateLimiter::new(settings.rate_limit_bytes, settings.burst_size_bytes),
            metrics: Metrics::new(registry),
            settings,
            ingester,
        }
    }

    fn check_rate(&self, tenant: &TenantId, spans: u64, bytes: u64) -> Result<(), PushError> {
        let Err(limit) = self.limiter.take(tenant, bytes) else { return Ok(()) };
        self.metrics.discard(tenant, "rate_limited", spans);
        let message = limit.message(tenant, bytes);
        if limit.never_passes(bytes) {
            return Err(PushError::TooLarge(message));
        }
        Err(PushError::RateLimited { message, retry_after: self.settings.retry_after })
    }
}

#[async_trait]
impl TraceSink for Distributor {
    async fn push(&self, tenant: TenantId, request: Bytes) -> Result<PushOutcome, PushError> {
        let bytes = request.len() as u64;
        let export = CheckedExport::read(&request).map_err(malformed)?;
        let (received, accepted) = (export.received, export.valid());
        if received == 0 {
            return Ok(PushOutcome::default());
        }
        self.check_rate(&tenant, received, bytes)?;
        self.metrics.received(&tenant, received, bytes);
        self.metrics.discard(&tenant, "invalid_trace_id", export.bad_trace_ids);
        self.metrics.discard(&tenant, "invalid_span_id", export.bad_span_ids);
        let (invalid, first_problem) = (received - accepted, export.first_problem.clone());
        if accepted == 0 {
            return Err(PushError::Invalid(first_problem));
        }
        let request = export.into_push(&tenant).map_err(malformed)?;
        let mut reasons = Vec::new();
        if invalid > 0 {
            reasons.push(format!("INVALID_ID: {invalid} spans, the first: {first_problem}"));
        }
        let response = self.ingester.push(tonic::Request::new(request)).await;
        let response = response.map_err(|status| self.refused(&tenant, accepted, status))?;
        let mut refused = 0;
        for refusal in response.into_inner().refusals {
            self.metrics.discard(&tenant, &refusal.reason, refusal.spans);
            reasons.push(format!("{}: {} spans", refusal.message, refusal.spans));
            refused += refusal.spans;
        }
        Ok(PushOutcome {
            accepted_spans: accepted.saturating_sub(refused),
            rejected_spans: invalid + refused,
            message: reasons.join("; "),
        })
    }
}

impl Distributor {
    /// What the client is told when the ingester refuses a whole push.
    fn refused(&self, tenant: &TenantId, spans: u64, status: tonic::Status) -> PushError {
        let message = status.message().to_owned();
        let retry_after = self.settings.retry_after;
        let (reason, error) = match status.code() {
            tonic::Code::InvalidArgument => ("invalid", PushError::Malformed(message)),
            tonic::Code::ResourceExhausted => {
                ("ingester_full", PushError::RateLimited { message, retry_after })
            }
            tonic::Code::Unavailable => {
                ("unavailable", PushError::Unavailable { message, retry_after })
            }
            _ => ("internal_error", PushError::Unavailable { message, retry_after }),
        };
        self.metrics.discard(tenant, reason, spans);
        error
    }
}

fn malformed(error: WireError) -> PushError {
    PushError::Malformed(format!("malformed export request: {error}"))
}

#[cfg(test)]
mod tests;
