//! The file with limits of tenants, `overrides.per_tenant_override_config`.

use crate::duration::GoDuration;
use crate::field::{Field, Reader, already_set};
use crate::rewrite::flat_to_scoped;
use crate::sections::overrides::Limits;
use crate::sections::root::Config;
use crate::validate;
use crate::yaml::{Node, Value, parse};
use std::collections::BTreeMap;

/// The entry that stands for every tenant without one of its own.
const EVERY_TENANT: &str = "*";

/// Limits by tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerTenantOverrides {
    tenants: BTreeMap<String, Limits>,
}

/// A file that was read, with what is worth a log line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerTenantFile {
    /// The limits.
    pub overrides: PerTenantOverrides,
    /// To be logged, one line each.
    pub warnings: Vec<String>,
}

/// Why a file is refused as a whole; the limits in effect should stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PerTenantError(String);

impl PerTenantOverrides {
    /// Reads the text of a file (variables already expanded) for a configuration.
    ///
    /// A tenant's entry replaces the defaults, it is not merged with them: what it leaves out is
    /// zero, which mostly means "no limit". Two keys differ from that: a rate limit or burst size
    /// that is left out is the default's, since zero would refuse every push, and the three
    /// `native_histogram_*` keys fall back when zero.
    ///
    /// Errors: not YAML, unknown keys, limits that make no sense for one tenant.
    pub fn parse(text: &str, config: &Config) -> Result<PerTenantFile, PerTenantError> {
        let mut root = parse(text).map_err(|error| PerTenantError(error.to_string()))?;
        remove_null_tenants(&mut root);
        let mut file = PerTenantFile::default();
        let (root, tenants) = match read(&root, &mut file.warnings) {
            Ok(tenants) => (root, tenants),
            Err(scoped_error) => read_flat(&root, &mut file.warnings).map_err(|flat_error| {
                PerTenantError(format!(
                    "failed to unmarshal config: {scoped_error}; also failed in legacy format: {flat_error}"
                ))
            })?,
        };
        for (tenant, mut limits) in tenants {
            check(&tenant, &limits, config).map_err(PerTenantError)?;
            let entry = root.get("overrides").and_then(|tenants| tenants.get(&tenant));
            fall_back(&tenant, &mut limits, entry, config, &mut file.warnings);
            file.overrides.tenants.insert(tenant, limits);
        }
        Ok(file)
    }

    /// The limits of a tenant: its own entry, else the entry `*`, else nothing (then
    /// `overrides.defaults` holds). `ingestion.rate_strategy` always comes from the defaults.
    pub fn get(&self, tenant: &str) -> Option<&Limits> {
        self.tenants.get(tenant).or_else(|| self.tenants.get(EVERY_TENANT))
    }

    /// All entries by tenant, `*` among them.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Limits)> {
        self.tenants.iter().map(|(tenant, limits)| (tenant.as_str(), limits))
    }

    /// The entries as YAML, for status pages; secrets are masked.
    pub fn to_yaml(&self) -> String {
        crate::yaml::emit(&Value::Map(vec![("overrides".to_owned(), self.tenants.show())]))
    }
}

/// Checks limits of one tenant that came by another way than the file, in the words of the file.
pub fn check_limits(limits: &Limits) -> Result<(), PerTenantError> {
    validate::limits(limits).map_err(PerTenantError)
}

/// An entry with nothing after the colon is no entry.
fn remove_null_tenants(root: &mut Node) {
    if let Some(tenants) = root.get_mut("overrides").and_then(Node::entries_mut) {
        tenants.retain(|(_, limits)| !limits.is_null());
    }
}

fn read(root: &Node, warnings: &mut Vec<String>) -> Result<BTreeMap<String, Limits>, String> {
    if root.is_null() {
        return Ok(BTreeMap::new());
    }
    let mut reader = Reader::default();
    let mut tenants = BTreeMap::new();
    for (key, value) in reader.entries(root, already_set) {
        match key.text.as_str() {
            "overrides" => reader.entry("overrides", value, &mut tenants),
            _ => reader.unknown(key),
        }
    }
    if let Some(report) = reader.report() {
        return Err(report);
    }
    warnings.append(&mut reader.warnings);
    Ok(tenants)
}

/// Turns every tenant's entry into the scoped layout and reads that.
fn read_flat(
    root: &Node,
    warnings: &mut Vec<String>,
) -> Result<(Node, BTreeMap<String, Limits>), String> {
    let mut scoped = root.clone();
    let tenants = scoped.get_mut("overrides").and_then(Node::entries_mut);
    for (_, limits) in tenants.into_iter().flatten() {
        *limits = flat_to_scoped(limits)?;
    }
    let tenants = read(&scoped, warnings)?;
    Ok((scoped, tenants))
}

fn check(tenant: &str, limits: &Limits, config: &Config) -> Result<(), String> {
    let shard_size = limits.ingestion.tenant_shard_size;
    let copies = config.ingester.lifecycler.ring.replication_factor;
    let result = if shard_size > 0 && shard_size < copies {
        Err(format!(
            "ingester.tenant.shard_size is lower than replication factor ({shard_size} < {copies})"
        ))
    } else {
        let columns = limits.storage.parquet_dedicated_columns.as_deref().unwrap_or_default();
        validate::dedicated_columns(&config.storage.trace.block.version, columns)
            .and_then(|()| validate::limits(limits))
    };
    result.map_err(|cause| format!("validating overrides for {tenant} failed: {cause}"))
}

fn fall_back(
    tenant: &str,
    limits: &mut Limits,
    entry: Option<&Node>,
    config: &Config,
    warnings: &mut Vec<String>,
) {
    let defaults = &config.overrides.defaults;
    limits.ingestion.rate_strategy.clone_from(&defaults.ingestion.rate_strategy);
    let written = |key: &str| {
        entry
            .and_then(|entry| entry.get("ingestion"))
            .and_then(|ingestion| ingestion.get(key))
            .is_some_and(|value| !value.is_null())
    };
    for (key, limit, default) in [
        (
            "rate_limit_bytes",
            &mut limits.ingestion.rate_limit_bytes,
            defaults.ingestion.rate_limit_bytes,
        ),
        (
            "burst_size_bytes",
            &mut limits.ingestion.burst_size_bytes,
            defaults.ingestion.burst_size_bytes,
        ),
    ] {
        if !written(key) {
            *limit = default;
            warnings.push(format!(
                "overrides of tenant {tenant} leave out ingestion.{key}: {default} of the defaults holds, \
                 not 0, which would refuse every push"
            ));
        }
    }
    let (ours, theirs) = (&mut limits.metrics_generator, &defaults.metrics_generator);
    if ours.native_histogram_bucket_factor == 0.0 {
        ours.native_histogram_bucket_factor = theirs.native_histogram_bucket_factor;
    }
    if ours.native_histogram_max_bucket_number == 0 {
        ours.native_histogram_max_bucket_number = theirs.native_histogram_max_bucket_number;
    }
    if ours.native_histogram_min_reset_duration == GoDuration::ZERO {
        ours.native_histogram_min_reset_duration = theirs.native_histogram_min_reset_duration;
    }
}

#[cfg(test)]
mod tests;
