//! The settings of an ingester, from the configuration.

use std::sync::Arc;

use tactus_config::{Config, sections::overrides};
use tactus_model::OfTenant;
use tactus_overrides::Overrides;
use tactus_process::{
    Error,
    blocks::{block_version, dedicated_columns, own_columns},
    settings::max_condition_groups,
};
use tactus_recent_data::{Limits, Settings};
use tactus_ring::Ring;
use tactus_storage::meta::DedicatedColumn;

mod tail_sampling;

pub use tail_sampling::check_limits;

/// The settings of an ingester that belongs to `ring`.
///
/// Errors: an invalid block version, dedicated column or tail sampling policy.
pub fn settings(
    config: &Config,
    overrides: &Arc<Overrides>,
    ring: Arc<Ring>,
) -> Result<Settings, Error> {
    let trace = &config.storage.trace;
    Ok(Settings {
        block_version: block_version(trace)?,
        dedicated_columns: columns(config, Arc::clone(overrides))?,
        value_filters: {
            let overrides = Arc::clone(overrides);
            OfTenant::new(move |tenant| !overrides.of(tenant).storage.value_filters_disabled)
        },
        limits: limits(config, Arc::clone(overrides), ring),
        max_condition_groups: max_condition_groups(config, overrides),
        tail_sampling: tail_sampling::of_tenants(config, Arc::clone(overrides))?,
        ..Settings::of(&config.ingester, trace)
    })
}

/// The dedicated columns of each tenant: its own, or those of all tenants.
fn columns(
    config: &Config,
    overrides: Arc<Overrides>,
) -> Result<OfTenant<Vec<DedicatedColumn>>, Error> {
    let trace = &config.storage.trace;
    let version = block_version(trace)?;
    let of_all = dedicated_columns(&trace.block.parquet_dedicated_columns, version)?;
    Ok(OfTenant::new(move |tenant| {
        let own = own_columns(tenant.as_str(), &overrides.of(tenant), version);
        own.unwrap_or_else(|| of_all.clone())
    }))
}

fn limits(config: &Config, overrides: Arc<Overrides>, ring: Arc<Ring>) -> OfTenant<Limits> {
    let attribute_bytes = config.distributor.max_attribute_bytes;
    OfTenant::new(move |tenant| {
        let limits = overrides.of(tenant);
        let view = ring.view();
        Limits {
            max_bytes_per_trace: limits.global.max_bytes_per_trace,
            max_live_traces: live_traces(
                &limits.ingestion,
                view.taking_writes(),
                view.replication_factor(),
            ),
            max_attribute_bytes: match limits.ingestion.max_attribute_bytes {
                0 => attribute_bytes,
                bytes => bytes,
            },
        }
    })
}

/// The smaller of the limit per ingester and of this ingester's share of the global limit. `copies` of all `ingesters`
/// that take writes store each trace. 0: no limit.
fn live_traces(limits: &overrides::IngestionLimits, ingesters: usize, copies: usize) -> usize {
    let ingesters = match limits.tenant_shard_size {
        0 => ingesters,
        shard => ingesters.min(shard),
    };
    let global = limits.max_global_traces_per_user.saturating_mul(copies as u64);
    let share = global.div_ceil(ingesters.max(copies).max(1) as u64);
    let limit = match (limits.max_traces_per_user, share) {
        (0, limit) | (limit, 0) => limit,
        (local, share) => local.min(share),
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_traces_are_limited_here_and_in_all_ingesters() {
        let of = |local, global, shard, ingesters| {
            let limits = overrides::IngestionLimits {
                max_traces_per_user: local,
                max_global_traces_per_user: global,
                tenant_shard_size: shard,
                ..overrides::IngestionLimits::default()
            };
            live_traces(&limits, ingesters, 3)
        };
        assert_eq!(of(0, 0, 0, 5), 0);
        assert_eq!(of(10, 0, 0, 5), 10);
        assert_eq!(of(0, 10, 0, 5), 6);
        assert_eq!(of(4, 10, 0, 5), 4);
        assert_eq!(of(0, 10, 3, 5), 10);
        // Fewer ingesters than copies: each has every trace.
        assert_eq!(of(0, 10, 0, 1), 10);
        assert_eq!(of(0, u64::MAX, 0, 0), usize::MAX / 3);
    }
}
