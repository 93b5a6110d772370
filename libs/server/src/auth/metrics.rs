//! Decisions, counted.

use tactus_telemetry::metrics::{CounterVec, Registry};

use super::refused::Refused;

/// `tactus_auth_requests_total`.
pub(super) struct AuthMetrics {
    requests: CounterVec<1>,
}

impl std::fmt::Debug for AuthMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthMetrics")
    }
}

impl AuthMetrics {
    pub(super) fn register() -> Self {
        let requests = Registry::global().counter_vec(
            "tactus_auth_requests_total",
            "Requests by what authentication decided: ok, missing, wrong, role, tenant, limited.",
            ["result"],
        );
        Self { requests }
    }

    pub(super) fn count<T>(&self, checked: &Result<T, Refused>) {
        let result = checked.as_ref().map_or_else(Refused::label, |_| "ok");
        self.requests.with([result]).inc();
    }
}
