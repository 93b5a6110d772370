//! Rules that stop the start and need nothing but the configuration itself.

mod caches;
mod columns;
mod components;
mod tenant;

pub(crate) use columns::dedicated_columns;
pub(crate) use tenant::limits;

use crate::sections::root::Config;

/// The targets that a process can run as.
const TARGETS: &[&str] = &[
    "all",
    "all-3.0",
    "scalable-single-binary",
    "distributor",
    "ingester",
    "querier",
    "query-frontend",
    "compactor",
    "metrics-generator",
    "metrics-generator-no-local-blocks",
    "backend-scheduler",
    "backend-worker",
    "overrides-api",
    "usage-report",
];

/// Targets of the Kafka architecture, where starting would lose data without a word.
const KAFKA_TARGETS: &[&str] = &["block-builder", "live-store"];

/// Checks a configuration after the adjustments for its target; the error is for the operator.
pub(crate) fn validate(config: &Config) -> Result<(), String> {
    target(&config.target)?;
    components::server(config)?;
    components::receivers(&config.distributor.receivers)?;
    components::forwarders(&config.distributor.forwarders)?;
    components::frontend(config)?;
    components::querier(config)?;
    components::storage(config)?;
    components::generator(config)?;
    caches::validate(config)
}

fn target(target: &str) -> Result<(), String> {
    if TARGETS.contains(&target) {
        return Ok(());
    }
    if KAFKA_TARGETS.contains(&target) {
        return Err(format!(
            "target {target} reads spans from Kafka, which this program does not support"
        ));
    }
    Err(format!("failed to init module services: unrecognised module name: {target}"))
}

#[cfg(test)]
mod tests;
