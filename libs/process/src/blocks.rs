//! The settings for writing blocks, from the configuration.

use tactus_config::sections::storage::{DedicatedColumn, TraceStorage};
use tactus_storage::meta::{self, BlockVersion, ColumnOption, ColumnScope, ColumnType};

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
    Ok(match version {
        BlockVersion::VParquet5 => known,
        _ => meta::filter_for_vparquet4(&known),
    })
}
