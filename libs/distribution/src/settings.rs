//! The settings of a distributor.

use std::{sync::Arc, time::Duration};

use tactus_model::TenantId;
use tactus_ring::Ring;
use tactus_rpc::IngesterOf;

use crate::usage::{UsageLimits, UsageSettings};

/// The current limits of a tenant. Called once for each request, so it must be cheap.
pub type LimitsOf = Arc<dyn Fn(&TenantId) -> Limits + Send + Sync>;

/// The attributes by which a tenant's usage is counted. Called once for each request if usage is tracked.
pub type UsageLimitsOf = Arc<dyn Fn(&TenantId) -> UsageLimits + Send + Sync>;

/// What an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a refused client is told to wait. Zero: no hint, and then OTLP clients drop the spans.
    pub retry_after: Duration,
    /// The time a push to an ingester may take.
    pub remote_timeout: Duration,
    /// If a replica has not answered after this time, and too few others have stored its spans, they are also sent to
    /// the next ingester on the ring. Zero: only if a replica failed.
    pub hedging_delay: Duration,
    /// Bytes of requests in flight, including the copies for replicas. Beyond that, requests are refused.
    pub max_inflight_bytes: u64,
    /// True if each push is compressed for itself. Otherwise replicas with the same push share its bytes.
    pub compresses_pushes: bool,
    /// Tenants that are served at a time; 0: no limit.
    pub max_tenants: usize,
    /// Write to the next ingester if one is not active.
    pub extend_writes: bool,
    /// Whether bytes are counted by attribute.
    pub usage: Option<UsageSettings>,
}

impl Settings {
    /// After this time another ingester is asked instead of one that has not answered.
    pub(crate) fn late_after(&self) -> Duration {
        if self.hedging_delay.is_zero() { self.remote_timeout } else { self.hedging_delay }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry_after: Duration::from_secs(5),
            remote_timeout: Duration::from_secs(5),
            hedging_delay: Duration::from_millis(250),
            max_inflight_bytes: 256 << 20,
            compresses_pushes: false,
            max_tenants: 10_000,
            extend_writes: true,
            usage: None,
        }
    }
}

/// The limits of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second that the tenant may send. 0: no limit, unless `burst_size_bytes` is 0 as well, which refuses
    /// everything.
    pub rate_limit_bytes: u64,
    /// Bytes that the tenant may send at once.
    pub burst_size_bytes: u64,
    /// The distributors share the rate.
    pub global_rate: bool,
    /// Refused clients are told when to try again.
    pub retry_info_enabled: bool,
    /// Ingesters of the tenant; 0: all.
    pub tenant_shard_size: usize,
    /// The least time that an answer takes.
    pub artificial_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate_limit_bytes: 15_000_000,
            burst_size_bytes: 20_000_000,
            global_rate: false,
            retry_info_enabled: true,
            tenant_shard_size: 0,
            artificial_delay: Duration::ZERO,
        }
    }
}

/// The settings of a distributor.
#[derive(Clone)]
pub struct Parts {
    /// What an operator can set.
    pub settings: Settings,
    /// Limits of tenants.
    pub limits: LimitsOf,
    /// Not called unless usage is tracked.
    pub usage_limits: UsageLimitsOf,
    /// The ring of ingesters. Its settings determine how many copies of each span there are.
    pub ingesters: Arc<Ring>,
    /// Reaches the ingesters.
    pub ingester_of: IngesterOf,
    /// The ring of distributors, which share a global rate limit.
    pub distributors: Option<Arc<Ring>>,
}

tactus_telemetry::debug_of!(Parts { settings });
