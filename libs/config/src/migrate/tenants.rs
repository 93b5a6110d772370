//! The file with limits by tenant.

use super::*;
use crate::per_tenant::{self, PerTenantOverrides};

/// Looks at a file of limits by tenant (`overrides.per_tenant_override_config`), flat or scoped, that goes with a
/// configuration. Otherwise as `migrate_config`.
pub fn migrate_overrides(
    text: &str,
    config: &Config,
    env: Option<Environment<'_>>,
) -> Result<Migration, MigrateError> {
    let source = Source::read(text, env)?;
    let mut reading = per_tenant::read_scoped(&source.root);
    if !reading.reader.problems.is_empty() {
        let flat = per_tenant::read_flat(&source.root);
        if flat.reader.problems.len() < reading.reader.problems.len() {
            reading = flat;
        }
    }
    let mut notes = of_reader(&reading.reader);
    for (tenant, limits) in &mut reading.tenants {
        let place = format!("overrides.{tenant}");
        if let Err(text) = per_tenant::check(tenant, limits, config) {
            notes.push(Note {
                key: place.clone(),
                verdict: Verdict::Refused,
                text,
                remedy: Remedy::Decide,
                spreads: false,
            });
        }
        notes.extend(differences::of_limits(limits, &place).into_iter().map(Note::from));
        let entry = reading.root.get("overrides").and_then(|tenants| tenants.get(tenant));
        for left_out in per_tenant::fall_back(limits, entry, config) {
            notes.push(Note {
                key: format!("{place}.ingestion.{}", left_out.key),
                verdict: Verdict::Changed,
                text: format!(
                    "left out: {} of overrides.defaults holds, where Tempo takes 0 and refuses every push",
                    left_out.default
                ),
                remedy: Remedy::Set(left_out.default.to_string()),
                spreads: false,
            });
        }
    }
    let per_tenant::Reading { root, rewritten, .. } = reading;
    let judge = Judge { source: &source, root, rewritten, notes, tenants: true };
    Ok(judge.migration(env, |document| {
        let file =
            PerTenantOverrides::parse(document, config).map_err(|error| error.to_string())?;
        Ok(file.warnings)
    }))
}
