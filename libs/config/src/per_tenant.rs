//! The file with limits of tenants, `overrides.per_tenant_override_config`.

use crate::check::series_beyond_memory;
use crate::differences;
use crate::duration::GoDuration;
use crate::field::{Field, Reader, already_set};
use crate::rewrite::{Rewritten, flat_to_scoped};
use crate::sections::overrides::Limits;
use crate::sections::root::Config;
use crate::validate;
use crate::yaml::{Node, SECOND_DOCUMENT, Value, has_second_document, parse};
use std::collections::{BTreeMap, HashMap};
use tactus_model::TenantId;

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
    /// Mistakes; to be logged, one line each.
    pub warnings: Vec<String>,
    /// What is no mistake by itself, such as settings without effect; to be logged, too.
    pub advice: Vec<String>,
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
    /// An entry whose name no request can have is left out, with a warning.
    ///
    /// Errors: not YAML, unknown keys, limits that make no sense for one tenant.
    pub fn parse(text: &str, config: &Config) -> Result<PerTenantFile, PerTenantError> {
        let root = parse(text).map_err(|error| PerTenantError(error.to_string()))?;
        let mut file = PerTenantFile::default();
        if has_second_document(text) {
            file.warnings.push(SECOND_DOCUMENT.to_owned());
        }
        let mut reading = read_scoped(&root);
        if let Some(scoped_error) = reading.reader.report() {
            reading = read_flat(&root);
            if let Some(flat_error) = reading.reader.report() {
                return Err(PerTenantError(format!(
                    "failed to unmarshal config: {scoped_error}; also failed in legacy format: {flat_error}"
                )));
            }
        }
        file.warnings.extend(reading.reader.unitless());
        file.warnings.extend(reading.reader.doubtful());
        let tenants = reading.root.get("overrides").and_then(Node::entries);
        let entries: HashMap<&str, &Node> =
            tenants.into_iter().flatten().map(|(key, node)| (key.text.as_str(), node)).collect();
        let mut left_out: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let (mut idle, mut beyond, mut of_defaults) = (Vec::new(), Vec::new(), Vec::new());
        for (tenant, mut limits) in reading.tenants {
            if let Err(reason) = check_name(&tenant) {
                file.warnings.push(format!("overrides of tenant {tenant} are ignored: {reason}"));
                continue;
            }
            check(&tenant, &limits, config).map_err(PerTenantError)?;
            let place = format!("overrides.{tenant}");
            of_defaults.extend(differences::of_defaults_only(&limits, &place));
            let entry = entries.get(tenant.as_str()).copied();
            for limit in fall_back(&mut limits, entry, config) {
                left_out.entry(limit.key).or_default().push(limit.warning(&tenant));
            }
            let ignored = validate::ignored_by_generator(&limits.metrics_generator);
            let warning = |(key, text): (&str, _)| {
                let key = key.trim_start_matches("overrides.defaults.");
                format!("overrides of tenant {tenant}: {key}: {text}")
            };
            file.warnings.extend(ignored.map(warning));
            idle.extend(differences::without_effect(&limits, &place));
            let key = format!("{place}.metrics_generator.max_active_series");
            beyond.extend(series_beyond_memory(&limits.metrics_generator, &key, config));
            file.overrides.tenants.insert(tenant, limits);
        }
        for (warning, more) in left_out.into_values().filter_map(first_of) {
            file.advice.push(warning + &more);
        }
        for (idle, more) in [first_of(of_defaults), first_of(idle)].into_iter().flatten() {
            file.advice.push(format!("{}{more}: {}", idle.key, idle.text));
        }
        if let Some((warning, more)) = first_of(beyond) {
            file.advice.push(warning + &more);
        }
        let ignored = reading.rewritten.into_iter().filter_map(|key| key.warning);
        if let Some((warning, more)) = first_of(ignored) {
            file.advice.push(warning + &more);
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

/// The first, and how many there are besides: a file that was Tempo's may have the same for each tenant.
fn first_of<T>(all: impl IntoIterator<Item = T>) -> Option<(T, String)> {
    let mut all = all.into_iter();
    let first = all.next()?;
    let more = match all.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some((first, more))
}

/// Checks limits of one tenant that came by another way than the file, in the words of the file.
pub fn check_limits(limits: &Limits) -> Result<(), PerTenantError> {
    validate::limits(limits).map_err(PerTenantError)
}

/// What one layout makes of a file.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The tree in the scoped layout, entries with nothing after the colon left out.
    pub(crate) root: Node,
    pub(crate) tenants: BTreeMap<String, Limits>,
    pub(crate) reader: Reader,
    pub(crate) rewritten: Vec<Rewritten>,
}

/// Reads the file in today's layout.
pub(crate) fn read_scoped(root: &Node) -> Reading {
    let mut root = root.clone();
    // An entry with nothing after the colon is no entry.
    if let Some(tenants) = root.get_mut("overrides").and_then(Node::entries_mut) {
        tenants.retain(|(_, limits)| !limits.is_null());
    }
    let mut reader = Reader::default();
    let mut tenants = BTreeMap::new();
    if !root.is_null() {
        for (key, value) in reader.entries(&root, already_set) {
            match key.text.as_str() {
                "overrides" => reader.entry("overrides", value, &mut tenants),
                _ => reader.unknown(key, &["overrides"]),
            }
        }
    }
    Reading { root, tenants, reader, rewritten: Vec::new() }
}

/// Turns every tenant's entry into the scoped layout and reads that.
pub(crate) fn read_flat(root: &Node) -> Reading {
    let mut scoped = root.clone();
    let mut problems = Vec::new();
    let mut rewritten = Vec::new();
    let tenants = scoped.get_mut("overrides").and_then(Node::entries_mut);
    for (tenant, limits) in tenants.into_iter().flatten().filter(|(_, limits)| !limits.is_null()) {
        let place = ["overrides".to_owned(), tenant.text.clone()];
        let (converted, mut reader) = flat_to_scoped(limits, &place, &place, &mut rewritten);
        problems.append(&mut reader.problems);
        *limits = converted;
    }
    let mut reading = read_scoped(&scoped);
    reading.reader.problems.append(&mut problems);
    reading.rewritten = rewritten;
    reading
}

/// A limit that a tenant's entry leaves out, and that is not 0 all the same.
#[derive(Debug)]
pub(crate) struct LeftOut {
    pub(crate) key: &'static str,
    pub(crate) default: u64,
}

impl LeftOut {
    pub(crate) fn warning(&self, tenant: &str) -> String {
        let Self { key, default } = self;
        format!(
            "overrides of tenant {tenant} leave out ingestion.{key}: {default} of the defaults holds, \
             not 0, which would refuse every push"
        )
    }
}

/// Whether the entry of this name is that of a tenant. One of another name never holds, which is no reason to hold back all others.
pub(crate) fn check_name(tenant: &str) -> Result<(), String> {
    if tenant == EVERY_TENANT {
        return Ok(());
    }
    TenantId::check(tenant).map_err(|error| format!("no request can name this tenant: {error}"))
}

/// What makes no sense for one tenant.
pub(crate) fn check(tenant: &str, limits: &Limits, config: &Config) -> Result<(), String> {
    let failed = |cause| format!("validating overrides for {tenant} failed: {cause}");
    let columns = limits.storage.parquet_dedicated_columns.as_deref().unwrap_or_default();
    validate::shard_size(limits, config)
        .and_then(|()| validate::dedicated_columns(&config.storage.trace.block.version, columns))
        .and_then(|()| validate::limits(limits))
        .map_err(failed)
}

/// Fills in what is not 0 where a tenant's entry leaves it out.
pub(crate) fn fall_back(
    limits: &mut Limits,
    entry: Option<&Node>,
    config: &Config,
) -> Vec<LeftOut> {
    let mut left_out = Vec::new();
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
            left_out.push(LeftOut { key, default });
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
    left_out
}

#[cfg(test)]
mod tests;
