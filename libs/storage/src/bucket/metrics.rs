//! Metrics of requests to a remote store.

use std::sync::LazyLock;
use std::time::Duration;

use tactus_telemetry::metrics::{Counter, HistogramVec, Registry, exponential_buckets};

static REQUESTS: LazyLock<HistogramVec<2>> = LazyLock::new(|| {
    Registry::global().histogram_vec(
        "tempodb_backend_request_duration_seconds",
        "Time of requests to object storage until the head of the answer, by HTTP verb.",
        ["operation", "status_code"],
        &exponential_buckets(0.005, 4.0, 6),
    )
});

static HEDGED: LazyLock<Counter> = LazyLock::new(|| {
    Registry::global().counter(
        "tempodb_backend_hedged_roundtrips_total",
        "Reads from object storage that were sent again because the first had not been answered.",
    )
});

/// One request; no status when no answer came.
pub(super) fn request(operation: &str, status: Option<u16>, duration: Duration) {
    let status = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
    REQUESTS.with([operation, &status]).observe_duration(duration);
}

/// One more read for the same bytes.
pub(super) fn hedged() {
    HEDGED.inc();
}

/// Makes the metrics exist before anything happens.
pub(super) fn register() {
    LazyLock::force(&HEDGED);
}
