//! The settings for writing blocks, from the configuration.

use tactus_config::sections::{
    overrides::Limits,
    storage::{DedicatedColumn, TraceStorage},
};
use tactus_storage::meta::{self, BlockVersion, ColumnOption, ColumnScope, ColumnType};
use tactus_telemetry::{error_text, log_limited};

use crate::Error;

/// The version of the blocks that are written. Errors: one that nobody writes.
pub fn block_version(trace: &TraceStorage) -> Result<BlockVersion, Error> {
    let invalid = |error| Error::Setup(format!("storage.trace.block.version: {error}"));
    trace.block.version.parse().map_err(invalid)
}

/// The columns as a block of that version lists them. Errors: a scope, type or option that there is not.
pub fn dedicated_columns(
    columns: &[DedicatedColumn],
    version: BlockVersion,
) -> Result<Vec<meta::DedicatedColumn>, Error> {
    let invalid = |text: String| {
        Error::Setup(format!("storage.trace.block.parquet_dedicated_columns: {text}"))
    };
    let mut known = Vec::with_capacity(columns.len());
    for column in columns {
        let unknown = |what: &str, word: &str| invalid(format!("unknown {what} {word}"));
        let option =
            |word: &String| ColumnOption::from_text(word).ok_or_else(|| unknown("option", word));
        let DedicatedColumn { name, scope, type_, options } = column;
        known.push(meta::DedicatedColumn {
            scope: ColumnScope::from_text(scope).ok_or_else(|| unknown("scope", scope))?,
            name: name.clone(),
            column_type: match type_.as_str() {
                "" => ColumnType::String,
                word => ColumnType::from_text(word).ok_or_else(|| unknown("type", word))?,
            },
            options: options.iter().map(option).collect::<Result<_, _>>()?,
        });
    }
    meta::validate_columns(&known).map_err(|error| invalid(error.to_string()))?;
    Ok(meta::columns_of_version(version, &known))
}

/// A tenant's own dedicated columns, if it has valid ones. Others are logged: a file of limits with such columns is
/// refused, so they come from elsewhere.
pub fn own_columns(
    tenant: &str,
    limits: &Limits,
    version: BlockVersion,
) -> Option<Vec<meta::DedicatedColumn>> {
    let columns = dedicated_columns(limits.storage.parquet_dedicated_columns.as_deref()?, version);
    let invalid = |error: &Error| {
        let error = error_text(error);
        log_limited!(error, %tenant, error, "a tenant's dedicated columns are invalid, those of all tenants are used");
    };
    columns.inspect_err(invalid).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(columns: &str) -> Option<Vec<String>> {
        let yaml = format!("overrides: {{defaults: {{storage: {{{columns}}}}}}}");
        let limits = tactus_config::from_yaml(&yaml).unwrap().overrides.defaults.clone();
        let own = own_columns("t1", &limits, BlockVersion::VParquet4)?;
        Some(own.into_iter().map(|column| column.name).collect())
    }

    #[test]
    fn own_columns_are_used_if_there_are_any_and_they_are_valid() {
        let columns = |scope| format!("parquet_dedicated_columns: [{{scope: {scope}, name: a}}]");
        assert_eq!(own(&columns("span")), Some(vec!["a".to_owned()]));
        assert_eq!(own("parquet_dedicated_columns: []"), Some(Vec::new()));
        assert_eq!(own(&columns("nowhere")), None);
        assert_eq!(own(""), None);
    }
}
