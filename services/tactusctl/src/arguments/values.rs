//! Values on the command line. Errors say which form is expected.

use tactus_config::{parse_go, parse_prometheus};
use tactus_storage::meta::{
    BlockVersion, ColumnOption, ColumnScope, DedicatedColumn, validate_columns,
};
use tactus_storage::{Timestamp, Uuid};

/// Dedicated columns, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns(pub(crate) Vec<DedicatedColumn>);

/// The id of a block.
pub(super) fn block_id(text: &str) -> Result<Uuid, String> {
    let form = "expecting the UUID of a block, such as 11111111-1111-4111-8111-111111111111";
    text.parse().map_err(|_| form.to_owned())
}

/// A block version that can be written.
pub(super) fn written_version(text: &str) -> Result<BlockVersion, String> {
    let versions = [BlockVersion::VParquet4, BlockVersion::VParquet5];
    versions
        .into_iter()
        .find(|version| version.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| "vParquet4 or vParquet5".to_owned())
}

/// Dedicated columns as `scope.name`, with `:int` or `:blob` after it.
pub(super) fn columns(text: &str) -> Result<Columns, String> {
    let mut columns = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (path, kind) = item.rsplit_once(':').unwrap_or((item, "string"));
        let form = "expecting a scope and a name, such as span.db.statement or span.rows:int";
        let (scope, name) = path.split_once('.').ok_or_else(|| format!("{item}: {form}"))?;
        let scope = [ColumnScope::Resource, ColumnScope::Span, ColumnScope::Event]
            .into_iter()
            .find(|known| known.as_str() == scope)
            .ok_or_else(|| format!("{item}: the scope is resource, span or event"))?;
        columns.push(match kind {
            "string" => DedicatedColumn::string(scope, name),
            "int" => DedicatedColumn::int(scope, name),
            "blob" => DedicatedColumn {
                options: vec![ColumnOption::Blob],
                ..DedicatedColumn::string(scope, name)
            },
            other => return Err(format!("{item}: {other} is not string, int or blob")),
        });
    }
    validate_columns(&columns).map_err(|error| error.to_string())?;
    Ok(Columns(columns))
}

/// A duration of at most a hundred years: `15m`, `1h30m`, `7d`.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed = parse_prometheus(text).map(|duration| duration.as_std());
    let parsed = parsed.or_else(|error| {
        let go = parse_go(text).ok().filter(|go| go.as_nanos() >= 0);
        go.map(|go| go.as_std()).ok_or(error)
    });
    parsed.map_err(|error| error.to_string())
}

/// A time as unix seconds. It is given in this form or as RFC 3339.
pub(super) fn unix_seconds(text: &str) -> Result<String, String> {
    if text.parse::<u32>().is_ok() {
        return Ok(text.to_owned());
    }
    let form =
        "expecting RFC 3339, such as 2023-11-14T22:13:20Z, or Unix seconds, such as 1700000000";
    let time: Timestamp = text.parse().map_err(|_| form.to_owned())?;
    if time.subsec_nanosecond() != 0 {
        return Err("expecting whole seconds, without a fraction".to_owned());
    }
    let seconds = u32::try_from(time.as_second())
        .map_err(|_| "expecting a time from 1970 to 2106".to_owned())?;
    Ok(seconds.to_string())
}

/// A valid duration, as it was written.
pub(super) fn duration_text(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}
