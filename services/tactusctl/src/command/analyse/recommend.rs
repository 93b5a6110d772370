//! Recommends attributes for columns of their own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use tactus_storage::meta::{
    BlockVersion, ColumnOption, ColumnScope, ColumnType, DedicatedColumn, filter_for_vparquet4,
};

use super::count::{column_type, is_fixed};
use super::{Attribute, is_newest};

/// String columns of a scope that every reader of either version accepts.
const STRING_SLOTS: usize = 10;
const INT_SLOTS: usize = 5;
/// An attribute with a smaller share of the generic bytes of all scopes is not worth a column.
const LEAST_SHARE_PERCENT: u64 = 1;
/// Values of this mean length that hardly repeat are stored as blobs.
const BLOB_MEAN_BYTES: u64 = 64;
/// Values of a blob are used fewer times than this, on average.
const BLOB_USES: u64 = 2;

/// A column to configure.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    scope: &'static str,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<&'static str>,
    /// True if the newest block does not have it.
    is_new: bool,
    /// Percent of the generic bytes of its scope, for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_percent: Option<f64>,
}

/// The columns of the newest block that are used, in their order, then the largest generic attributes while there is
/// room. `attributes` has the largest of a scope first.
pub(super) fn columns(
    attributes: &[Attribute],
    configured: &[DedicatedColumn],
    version: BlockVersion,
) -> Vec<Column> {
    let mut used: BTreeMap<(ColumnScope, ColumnType), usize> = BTreeMap::new();
    let mut take = |column: &DedicatedColumn| {
        let slots = if column.column_type == ColumnType::Int { INT_SLOTS } else { STRING_SLOTS };
        let count = used.entry((column.scope, column.column_type)).or_default();
        let fits = *count < slots
            && (is_newest(version)
                || !filter_for_vparquet4(std::slice::from_ref(column)).is_empty());
        *count += usize::from(fits);
        fits
    };
    let is_used = |column: &DedicatedColumn| {
        attributes.iter().any(|attribute| {
            attribute.scope.column_scope() == Some(column.scope) && attribute.key == column.name
        })
    };
    let generic = || attributes.iter().filter(|attribute| attribute.column == "generic");
    let all_bytes: u64 = generic().map(|attribute| attribute.bytes).sum();
    let mut columns = Vec::new();
    for column in configured.iter().filter(|column| is_used(column)) {
        if take(column) {
            columns.push(describe(column, None));
        }
    }
    for attribute in generic() {
        let Some(scope) = attribute.scope.column_scope() else { continue };
        let Some(column_type) = column_type(attribute.kind) else { continue };
        if attribute.bytes.saturating_mul(100) < all_bytes.saturating_mul(LEAST_SHARE_PERCENT)
            || is_fixed(scope, &attribute.key, version)
            || attribute.key.is_empty()
        {
            continue;
        }
        let options = if is_newest(version) && is_blob(attribute) {
            vec![ColumnOption::Blob]
        } else {
            Vec::new()
        };
        let name = attribute.key.clone();
        let column = DedicatedColumn { scope, name, column_type, options };
        if !configured.iter().any(|known| known.scope == scope && known.name == column.name)
            && take(&column)
        {
            columns.push(describe(&column, Some(attribute.share_percent)));
        }
    }
    columns
}

/// True for long values that rarely repeat.
fn is_blob(attribute: &Attribute) -> bool {
    attribute.kind == "string"
        && attribute.count < attribute.distinct.saturating_mul(BLOB_USES)
        && attribute.bytes / attribute.distinct.max(1) >= BLOB_MEAN_BYTES
}

fn describe(column: &DedicatedColumn, share_percent: Option<f64>) -> Column {
    Column {
        scope: column.scope.as_str(),
        name: column.name.clone(),
        kind: column.column_type.as_str(),
        options: column.options.iter().map(|option| option.as_str()).collect(),
        is_new: share_percent.is_some(),
        share_percent,
    }
}

/// The columns as a configuration of the server.
pub(super) fn yaml(columns: &[Column], version: BlockVersion) -> String {
    let mut text = String::from("storage:\n  trace:\n    block:\n");
    let _ = writeln!(text, "      version: {version}");
    if columns.is_empty() {
        text.push_str("      parquet_dedicated_columns: []\n");
        return text;
    }
    text.push_str("      parquet_dedicated_columns:\n");
    for column in columns {
        // A JSON string is also a YAML string.
        let name = serde_json::Value::from(column.name.as_str());
        let _ = write!(
            text,
            "        - {{scope: {}, name: {name}, type: {}",
            column.scope, column.kind
        );
        if !column.options.is_empty() {
            let _ = write!(text, ", options: [{}]", column.options.join(", "));
        }
        match column.share_percent {
            Some(share) => {
                let _ = writeln!(text, "}}  # new: {share:.1} %");
            }
            None => text.push_str("}\n"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::count::Scope;
    use super::*;

    fn attribute(scope: Scope, key: &str, kind: &'static str, share: f64) -> Attribute {
        Attribute {
            scope,
            key: key.to_owned(),
            kind,
            column: "generic",
            count: 1_000,
            distinct: 10,
            bytes: 5_000,
            share_percent: share,
        }
    }

    fn sample() -> Vec<Attribute> {
        let mut log = attribute(Scope::Event, "log", "string", 60.0);
        (log.count, log.distinct, log.bytes) = (1_000, 999, 100_000);
        let mut kept = attribute(Scope::Span, "kept", "string", 0.0);
        kept.column = "dedicated";
        vec![
            attribute(Scope::Span, "db.statement", "string", 50.0),
            attribute(Scope::Span, "rows", "int", 30.0),
            attribute(Scope::Span, "http.method", "string", 9.0),
            attribute(Scope::Span, "ratio", "double", 9.0),
            Attribute { bytes: 50, ..attribute(Scope::Span, "rare", "string", 50.0) },
            kept,
            log,
            attribute(Scope::Link, "x", "string", 99.0),
        ]
    }

    fn configured() -> Vec<DedicatedColumn> {
        ["unused", "kept"].map(|name| DedicatedColumn::string(ColumnScope::Span, name)).to_vec()
    }

    #[test]
    fn newest_version_has_integers_and_blobs() {
        let found = columns(&sample(), &configured(), BlockVersion::VParquet5);
        assert_eq!(
            yaml(&found, BlockVersion::VParquet5),
            concat!(
                "storage:\n  trace:\n    block:\n      version: vParquet5\n      parquet_dedicated_columns:\n",
                "        - {scope: span, name: \"kept\", type: string}\n",
                "        - {scope: span, name: \"db.statement\", type: string}  # new: 50.0 %\n",
                "        - {scope: span, name: \"rows\", type: int}  # new: 30.0 %\n",
                "        - {scope: span, name: \"http.method\", type: string}  # new: 9.0 %\n",
                "        - {scope: event, name: \"log\", type: string, options: [blob]}  # new: 60.0 %\n",
            )
        );
    }

    #[test]
    fn older_version_has_strings_without_a_column_only() {
        let found = columns(&sample(), &configured(), BlockVersion::VParquet4);
        let names: Vec<_> = found.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["kept", "db.statement"]);
    }

    #[test]
    fn slots_are_limited() {
        let many: Vec<_> = (0..30)
            .map(|number| attribute(Scope::Resource, &format!("a{number}"), "string", 3.0))
            .collect();
        assert_eq!(columns(&many, &[], BlockVersion::VParquet5).len(), STRING_SLOTS);
        assert!(yaml(&[], BlockVersion::VParquet4).contains("columns: []"));
    }
}
