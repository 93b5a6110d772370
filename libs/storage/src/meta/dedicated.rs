//! Dedicated columns: attributes that have a column of their own in a block.

use std::collections::HashMap;
use std::hash::Hasher;

use serde::de::{Deserializer, MapAccess};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh64::Xxh64;

use super::lenient::{LenientObject, take};
use super::{BlockVersion, is_default};
use crate::error::{Error, Result};

tactus_model::words! {
    /// Where the attribute sits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ColumnScope: as_str {
        /// On the span.
        #[default]
        Span = "span",
        /// On the resource.
        Resource = "resource",
        /// On an event of a span; vParquet5 only.
        Event = "event",
    }
}

tactus_model::words! {
    /// The type of the values that go to the column; others stay generic attributes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ColumnType: as_str {
        /// Strings.
        #[default]
        String = "string",
        /// 64-bit integers; vParquet5 only.
        Int = "int",
    }
}

impl ColumnType {
    /// Columns of this type that one scope has in the newest block version.
    pub fn slots(self) -> usize {
        match self {
            Self::String => 20,
            Self::Int => 5,
        }
    }
}

tactus_model::words! {
    /// How the column is stored; vParquet5 only.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ColumnOption: as_str {
        /// Accepted, no effect.
        Array = "array",
        /// Long or unique values: no dictionary, stronger compression.
        Blob = "blob",
    }
}

/// One dedicated column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DedicatedColumn {
    /// Scope of the attribute.
    #[serde(rename = "s", skip_serializing_if = "is_default")]
    pub scope: ColumnScope,
    /// Attribute name.
    #[serde(rename = "n")]
    pub name: String,
    /// Type of the values.
    #[serde(rename = "t", skip_serializing_if = "is_default")]
    pub column_type: ColumnType,
    /// Storage options, in the order they were configured.
    #[serde(rename = "o", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<ColumnOption>,
}

impl DedicatedColumn {
    /// Memory of the column in a list, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.options.len()
    }
}

impl DedicatedColumn {
    /// A string column without options.
    pub fn string(scope: ColumnScope, name: &str) -> Self {
        Self { scope, name: name.into(), column_type: ColumnType::String, options: Vec::new() }
    }

    /// An integer column without options.
    pub fn int(scope: ColumnScope, name: &str) -> Self {
        Self { column_type: ColumnType::Int, ..Self::string(scope, name) }
    }

    /// True for a `blob` column.
    pub fn is_blob(&self) -> bool {
        self.options.contains(&ColumnOption::Blob)
    }
}

impl LenientObject for DedicatedColumn {
    const NAME: &'static str = "a dedicated column";

    fn empty() -> Self {
        Self::string(ColumnScope::Span, "")
    }

    fn set<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "s" => take(&mut self.scope, map)?,
            "n" => take(&mut self.name, map)?,
            "t" => take(&mut self.column_type, map)?,
            "o" => take(&mut self.options, map)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de> Deserialize<'de> for DedicatedColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_lenient(deserializer)
    }
}

/// The columns that both Tempo versions configure by default, in order.
pub fn default_columns() -> Vec<DedicatedColumn> {
    use ColumnScope::{Resource, Span};
    let mut columns: Vec<_> =
        ["k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name"]
            .iter()
            .map(|name| DedicatedColumn::string(Resource, name))
            .collect();
    columns.extend([
        DedicatedColumn::string(Span, "http.request.method"),
        DedicatedColumn::int(Span, "http.response.status_code"),
        DedicatedColumn::string(Span, "url.path"),
        DedicatedColumn::string(Span, "url.route"),
        DedicatedColumn::string(Span, "server.address"),
        DedicatedColumn::int(Span, "server.port"),
        DedicatedColumn::string(Span, "http.method"),
        DedicatedColumn::string(Span, "http.url"),
        DedicatedColumn::string(Span, "http.route"),
        DedicatedColumn::int(Span, "http.status_code"),
    ]);
    columns
}

/// Columns of a scope that a vParquet3 or vParquet4 block has room for.
pub const SLOTS_OF_VPARQUET4: usize = 10;

/// The columns that a vParquet3 or vParquet4 block can have: strings of resource and span without
/// options, and none that the schema already has a column for; of each scope the first ten.
///
/// A block's meta must hold the filtered list, and columns are assigned from it: assigning first
/// would put values in other columns than readers look at.
pub fn filter_for_vparquet4(columns: &[DedicatedColumn]) -> Vec<DedicatedColumn> {
    let mut taken: HashMap<ColumnScope, usize> = HashMap::new();
    let has_slot = |column: &&DedicatedColumn| {
        let count = taken.entry(column.scope).or_default();
        *count += 1;
        *count <= SLOTS_OF_VPARQUET4
    };
    columns.iter().filter(|column| fits_vparquet4(column)).filter(has_slot).cloned().collect()
}

/// Those of the columns that a block of this version can have; see [`filter_for_vparquet4`].
pub fn columns_of_version(
    version: BlockVersion,
    columns: &[DedicatedColumn],
) -> Vec<DedicatedColumn> {
    match version {
        BlockVersion::VParquet5 => columns.to_vec(),
        _ => filter_for_vparquet4(columns),
    }
}

fn fits_vparquet4(column: &DedicatedColumn) -> bool {
    let has_static_column = match column.scope {
        ColumnScope::Resource => matches!(
            column.name.as_str(),
            "service.name"
                | "cluster"
                | "namespace"
                | "pod"
                | "container"
                | "k8s.cluster.name"
                | "k8s.namespace.name"
                | "k8s.pod.name"
                | "k8s.container.name"
        ),
        ColumnScope::Span => matches!(column.name.as_str(), "http.method" | "http.url"),
        ColumnScope::Event => true,
    };
    column.column_type == ColumnType::String && column.options.is_empty() && !has_static_column
}

/// Refuses empty names, a name twice in a scope, and more columns of a type and scope than there
/// are slots (20 strings, 5 integers), as `Error::Invalid`.
pub fn validate_columns(columns: &[DedicatedColumn]) -> Result<()> {
    let refuse = |reason: String| Err(Error::invalid("dedicated attribute columns", reason));
    let mut names = HashMap::new();
    let mut counts: HashMap<_, usize> = HashMap::new();
    for column in columns {
        let (scope, kind) = (column.scope, column.column_type);
        if column.name.is_empty() {
            return refuse(format!("empty name in scope {}", scope.as_str()));
        }
        if names.insert((scope, column.name.as_str()), ()).is_some() {
            return refuse(format!("duplicate name {} in scope {}", column.name, scope.as_str()));
        }
        let count = counts.entry((scope, kind)).or_default();
        *count += 1;
        if *count > kind.slots() {
            let (scope, slots) = (scope.as_str(), kind.slots());
            return refuse(format!("more than {slots} {} columns for {scope}", kind.as_str()));
        }
    }
    Ok(())
}

/// Groups blocks for compaction: 0 without columns, else XXH64 over the words of each column.
pub fn columns_hash(columns: &[DedicatedColumn]) -> u64 {
    if columns.is_empty() {
        return 0;
    }
    let mut hasher = Xxh64::new(0);
    for column in columns {
        hasher.write(column.scope.as_str().as_bytes());
        hasher.write(&[0xff]);
        hasher.write(column.name.as_bytes());
        hasher.write(&[0xff]);
        hasher.write(column.column_type.as_str().as_bytes());
        for option in &column.options {
            hasher.write(&[0xff]);
            hasher.write(option.as_str().as_bytes());
        }
    }
    hasher.finish()
}
