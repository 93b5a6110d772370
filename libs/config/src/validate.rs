//! Rules that stop the start and need nothing but the configuration itself.

mod caches;
mod components;
mod forwarders;
mod links;
pub(crate) mod paths;
mod receivers;
mod storage;
mod tenant;

pub(crate) use components::{LOG_LEVELS, foreign_store};
pub use storage::MAX_BLOOM_SHARD_BYTES;
pub use tenant::{
    PROCESSORS, increasing_buckets, is_trace_id_label, label_of_attribute, sanitized_label,
};
pub(crate) use tenant::{
    dedicated_columns, ignored_by_generator, limits, rate_strategy, shard_size,
};

use crate::{
    sections::root::Config,
    suggest::any_of,
    target::{BACKEND_SCHEDULER, SERVICES, services_of},
};

/// Targets of other architectures and of parts that are no process here, each with what does its job: to start and do
/// nothing would lose data without a word.
const OTHER_TARGETS: &[(&str, &str)] = &[
    ("block-builder", "target ingester writes blocks"),
    ("live-store", "target ingester answers for recent data"),
    ("overrides-api", "target query-frontend serves /api/overrides"),
    ("usage-report", "no usage is reported"),
];

/// A value that stops the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Dotted path of the key or section that it is about.
    pub(crate) key: String,
    /// For the operator.
    pub(crate) text: String,
}

impl Invalid {
    fn new(key: &str, text: impl Into<String>) -> Self {
        Self { key: key.to_owned(), text: text.into() }
    }

    /// The text, with the key if it does not have it. Many texts are those that others know from Tempo.
    fn with_key(self) -> String {
        let Self { key, text } = self;
        if text.contains(&key) { text } else { format!("{text} ({key})") }
    }
}

/// Checks a configuration after the adjustments for its target; the error is for the operator.
pub(crate) fn validate(config: &Config) -> Result<(), String> {
    match invalid(config).into_iter().next() {
        None => Ok(()),
        Some(invalid) => Err(invalid.with_key()),
    }
}

/// What stops the start: of each component the first, in the order in which the start meets them.
pub(crate) fn invalid(config: &Config) -> Vec<Invalid> {
    let results = [
        target(&config.target).map_err(|text| Invalid::new("target", text)),
        components::server(config),
        paths::validate(config),
        components::clients(config),
        components::rings(config),
        components::memberlist(config),
        receivers::validate(&config.distributor.receivers),
        forwarders::validate(&config.distributor.forwarders),
        storage::user_overrides(config),
        components::overrides(config),
        components::frontend(config),
        links::validate(&config.query_frontend.links)
            .map_err(|text| Invalid::new("query_frontend.links", text)),
        components::querier(config),
        storage::storage(config),
        components::compaction(config),
        components::ingester(config),
        components::generator(config),
        config.sampling.check().map_err(|text| Invalid::new("sampling", text)),
        caches::validate(config).map_err(|text| Invalid::new("cache", text)),
    ];
    results.into_iter().filter_map(Result::err).collect()
}

fn target(target: &str) -> Result<(), String> {
    if !services_of(target).is_empty() || target == BACKEND_SCHEDULER {
        return Ok(());
    }
    if let Some((_, instead)) = OTHER_TARGETS.iter().find(|(name, _)| *name == target) {
        return Err(format!("target {target} does not exist here: {instead}"));
    }
    let targets = any_of(&[&["all"][..], &SERVICES, &["scalable-single-binary"]].concat());
    Err(format!(
        "failed to init module services: unrecognised module name: {target}: expecting {targets}"
    ))
}

#[cfg(test)]
mod tests;
