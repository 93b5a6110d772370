//! Limits by tenant: the defaults of the configuration, and the file that replaces them for single tenants.
//!
//! The file is read again when it changes. One that is refused leaves the limits as they are.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use tactus_compactor::RetentionPolicy;
use tactus_config::{
    Config, PerTenantOverrides,
    sections::overrides::{CompactionLimits, Limits},
};
use tactus_telemetry::{error_text, metrics::Registry};
use tokio_util::sync::CancellationToken;

use crate::app::Error;

/// The limits in effect.
#[derive(Debug)]
pub(crate) struct Overrides {
    config: Config,
    path: String,
    current: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    tenants: PerTenantOverrides,
    read: Option<SystemTime>,
}

impl Overrides {
    /// Reads the file, if one is configured. Errors: it is missing or refused; names what is wrong.
    pub(crate) fn load(config: &Config) -> Result<Arc<Self>, Error> {
        let path = config.overrides.per_tenant_override_config.clone();
        check(&config.overrides.defaults.compaction)
            .map_err(|reason| Error::Setup(format!("overrides.defaults.{reason}")))?;
        let overrides = Self { config: config.clone(), path, current: RwLock::default() };
        if !overrides.path.is_empty() {
            overrides.read().map_err(|reason| {
                Error::Setup(format!(
                    "overrides.per_tenant_override_config {}: {reason}",
                    overrides.path
                ))
            })?;
        }
        Ok(Arc::new(overrides))
    }

    /// The limits of a tenant.
    pub(crate) fn of(&self, tenant: &str) -> Limits {
        let state = self.current.read().unwrap_or_else(PoisonError::into_inner);
        state.tenants.get(tenant).unwrap_or(&self.config.overrides.defaults).clone()
    }

    /// Looks at the file once each period.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let failures = Registry::global().gauge(
            "tempo_runtime_config_last_reload_successful",
            "1 if the per-tenant overrides could be read.",
        );
        let period = self.config.overrides.per_tenant_override_period.as_std();
        if self.path.is_empty() || period.is_zero() {
            return;
        }
        failures.set(1.0);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
            let overrides = Arc::clone(&self);
            let result = tokio::task::spawn_blocking(move || overrides.read()).await;
            match result {
                Ok(Ok(changed)) => {
                    failures.set(1.0);
                    if changed {
                        tracing::info!(file = self.path, "per-tenant overrides are read again");
                    }
                }
                Ok(Err(reason)) => {
                    failures.set(0.0);
                    tracing::error!(
                        file = self.path,
                        reason,
                        "per-tenant overrides are refused, the old ones stay"
                    );
                }
                Err(error) => tracing::error!(error = error_text(&error), "overrides task failed"),
            }
        }
    }

    /// Reads the file if it is newer than what was read. True if it was.
    fn read(&self) -> Result<bool, String> {
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        let modified = modified.map_err(|error| error.to_string())?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).read == Some(modified) {
            return Ok(false);
        }
        let text = std::fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let file = PerTenantOverrides::parse(&text, &self.config).map_err(|e| e.to_string())?;
        for (tenant, limits) in file.overrides.entries() {
            check(&limits.compaction).map_err(|reason| format!("tenant {tenant}: {reason}"))?;
        }
        for warning in &file.warnings {
            tracing::warn!(file = self.path, "{warning}");
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            State { tenants: file.overrides, read: Some(modified) };
        Ok(true)
    }
}

/// The retention policies of a tenant.
pub(crate) fn policies(limits: &CompactionLimits) -> Vec<RetentionPolicy> {
    let policy = |policy: &tactus_config::sections::overrides::RetentionPolicy| RetentionPolicy {
        query: policy.query.clone(),
        retention: policy.retention.as_std(),
    };
    limits.retention_policies.iter().map(policy).collect()
}

/// What the configuration cannot know: the queries must be TraceQL.
fn check(limits: &CompactionLimits) -> Result<(), String> {
    tactus_compactor::check_policies(&policies(limits))
        .map_err(|error| format!("compaction.retention_policies: {}", error_text(&error)))
}
