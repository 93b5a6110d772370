//! The settings of a distributor.

use std::{sync::Arc, time::Duration};

use tactus_config::sections::distributor::Distributor as Section;
use tactus_overrides::LimitsOf;
use tactus_ring::Ring;
use tactus_rpc::IngesterOf;

/// What an operator can set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The section `distributor`.
    pub section: Section,
    /// The time a push to an ingester may take.
    pub remote_timeout: Duration,
    /// Bytes of requests in flight, including the copies for replicas. Beyond that, requests are refused.
    pub max_inflight_bytes: u64,
    /// True if each push is compressed for itself. Otherwise replicas with the same push share its bytes.
    pub compresses_pushes: bool,
}

impl Settings {
    /// How long a refused client is told to wait. Zero: it is told nothing.
    pub(crate) fn retry_after(&self) -> Duration {
        self.section.retry_after_on_resource_exhausted.as_std()
    }

    /// After this time another ingester is asked instead of one that has not answered. Without `hedging_delay` it is
    /// asked only if a replica failed.
    pub(crate) fn late_after(&self) -> Duration {
        self.section.hedging_delay.non_zero().unwrap_or(self.remote_timeout)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            section: Section::default(),
            remote_timeout: Duration::from_secs(5),
            max_inflight_bytes: 256 << 20,
            compresses_pushes: false,
        }
    }
}

/// What a distributor works with.
#[derive(Clone)]
pub struct Parts {
    /// What an operator can set.
    pub settings: Settings,
    /// Limits of tenants. Called once for each request, so it must be cheap.
    pub limits: LimitsOf,
    /// The ring of ingesters. Its settings determine how many copies of each span there are.
    pub ingesters: Arc<Ring>,
    /// Reaches the ingesters.
    pub ingester_of: IngesterOf,
    /// The ring of distributors, which share a global rate limit.
    pub distributors: Option<Arc<Ring>>,
}

tactus_telemetry::debug_of!(Parts { settings });
