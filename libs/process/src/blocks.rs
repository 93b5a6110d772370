//! The settings for writing blocks, from the configuration.

use tactus_config::sections::storage::{DedicatedColumn, TraceStorage};
use tactus_storage::meta::{self, BlockVersion, ColumnOption, ColumnScope};

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
        let scope = match column.scope.as_str() {
            "span" => ColumnScope::Span,
            "resource" => ColumnScope::Resource,
            "event" => ColumnScope::Event,
            other => return Err(invalid(format!("unknown scope {other}"))),
        };
        let plain = match column.type_.as_str() {
            "" | "string" => meta::DedicatedColumn::string(scope, &column.name),
            "int" => meta::DedicatedColumn::int(scope, &column.name),
            other => return Err(invalid(format!("unknown type {other}"))),
        };
        let options = column.options.iter().map(|option| match option.as_str() {
            "array" => Ok(ColumnOption::Array),
            "blob" => Ok(ColumnOption::Blob),
            other => Err(invalid(format!("unknown option {other}"))),
        });
        let options = options.collect::<Result<_, _>>()?;
        known.push(meta::DedicatedColumn { options, ..plain });
    }
    meta::validate_columns(&known).map_err(|error| invalid(error.to_string()))?;
    Ok(match version {
        BlockVersion::VParquet5 => known,
        _ => meta::filter_for_vparquet4(&known),
    })
}
