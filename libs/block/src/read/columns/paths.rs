//! Finds leaf columns by path.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use parquet::basic::Type as PhysicalType;
use parquet::schema::types::SchemaDescriptor;
use tactus_storage::meta::{ColumnScope, ColumnType, DedicatedColumn, SLOTS_OF_VPARQUET4};

use crate::schema::RESOURCE_STATICS;
use crate::{Error, Result};

use super::{
    AttributeColumns, EVENT, FixedColumn, LINK, Leaf, RESOURCE, SCOPE, SPAN, ServiceStatsColumns,
};

/// The leaves of a file by path without `list.element`.
pub(super) struct Paths<'s> {
    schema: &'s SchemaDescriptor,
    by_path: HashMap<String, usize>,
    /// Leaves that were asked for and found.
    found: RefCell<HashSet<usize>>,
    /// The first column that files of this version have and this one has not.
    missing: RefCell<Option<String>>,
}

impl<'s> Paths<'s> {
    /// Errors: two columns have the same name.
    pub(super) fn new(schema: &'s SchemaDescriptor) -> Result<Self> {
        let by_path = schema.columns().iter().enumerate();
        let by_path = by_path.map(|(index, column)| {
            let path = column.path().string() + ".";
            let path = path.replace(".list.element.", ".");
            // Twice: neighbouring matches share a dot.
            let path = path.replace(".list.element.", ".");
            (path.trim_end_matches('.').to_owned(), index)
        });
        let by_path: HashMap<_, _> = by_path.collect();
        if by_path.len() != schema.num_columns() {
            return Err(Error::Corrupt { what: "two columns have the same name".to_owned() });
        }
        Ok(Self { schema, by_path, found: RefCell::default(), missing: RefCell::default() })
    }

    /// The leaf of a path, if there is one.
    pub(super) fn find(
        &self,
        path: &str,
        physical: PhysicalType,
        max_rep: u8,
        max_def: u8,
    ) -> Result<Option<Leaf>> {
        let Some(&index) = self.by_path.get(path) else { return Ok(None) };
        let column = self.schema.column(index);
        let levels = (column.max_rep_level(), column.max_def_level());
        if column.physical_type() != physical || levels != (max_rep.into(), max_def.into()) {
            let what =
                format!("column {path} has type {} and levels {levels:?}", column.physical_type());
            return Err(Error::Corrupt { what });
        }
        self.found.borrow_mut().insert(index);
        Ok(Some(Leaf { index, max_rep, max_def }))
    }

    /// As [`Self::find`], of a column that files of this version have.
    pub(super) fn expected(
        &self,
        path: &str,
        physical: PhysicalType,
        max_rep: u8,
        max_def: u8,
    ) -> Result<Option<Leaf>> {
        let found = self.find(path, physical, max_rep, max_def)?;
        if found.is_none() {
            self.missing.borrow_mut().get_or_insert_with(|| path.to_owned());
        }
        Ok(found)
    }

    /// Rejects a file that lacks an expected column and has one that no version has: a name is damaged, because footers
    /// have no checksum, and the values of the column would be missing from answers. Either alone is no damage: early files
    /// have fewer columns, and later ones may have more.
    pub(super) fn check_names(&self) -> Result<()> {
        let (found, missing) = (self.found.borrow(), self.missing.borrow());
        let Some(missing) = &*missing else { return Ok(()) };
        let others = self.by_path.iter().filter(|(_, index)| !found.contains(*index));
        match others.map(|(path, _)| path).filter(|path| !is_unread(path)).min() {
            None => Ok(()),
            Some(other) => {
                let what = format!("column {missing} is missing, and {other} is in no version");
                Err(Error::Corrupt { what })
            }
        }
    }

    /// Positions of all leaves below a group, which are consecutive.
    pub(super) fn below(&self, group: &str) -> Range<usize> {
        let is_below = |path: &str| path.strip_prefix(group).is_some_and(|it| it.starts_with('.'));
        let found = self.by_path.iter().filter(|(path, _)| is_below(path)).map(|(_, &index)| index);
        let (first, end) = found
            .fold((usize::MAX, 0), |(first, end), index| (first.min(index), end.max(index + 1)));
        first.min(end)..end
    }

    /// The leaf of a column that every block has, whose maximum definition level equals its maximum repetition level.
    pub(super) fn required(&self, path: &str, physical: PhysicalType, level: u8) -> Result<Leaf> {
        let found = self.find(path, physical, level, level)?;
        found.ok_or_else(|| Error::Corrupt { what: format!("column {path} is missing") })
    }

    /// The columns of the service statistics; `None` if the file has none that can be used, like files of pre-release
    /// versions.
    pub(super) fn service_stats(&self, is_v5: bool) -> Option<ServiceStatsColumns> {
        let (service, counts) = match is_v5 {
            true => ("ServiceStats.ServiceName", "ServiceStats"),
            false => ("ServiceStats.key_value.key", "ServiceStats.key_value.value"),
        };
        let find = |path: &str, physical| self.find(path, physical, 1, 1).ok().flatten();
        let count = |name| find(&format!("{counts}.{name}"), PhysicalType::INT32);
        Some(ServiceStatsColumns {
            service: find(service, PhysicalType::BYTE_ARRAY)?,
            spans: count("SpanCount")?,
            errors: count("ErrorCount")?,
        })
    }

    /// The generic attributes of owners at a level; `None` if the file has none.
    pub(super) fn attributes(
        &self,
        parent: &str,
        owner_level: u8,
        is_v3: bool,
    ) -> Result<Option<AttributeColumns>> {
        if is_v3 && [SCOPE, LINK].contains(&parent) {
            return Ok(None);
        }
        let level = owner_level + 1;
        let path = |name: &str| format!("{parent}.Attrs.{name}");
        let find = |name: &str, physical, max_rep, max_def| {
            self.expected(&path(name), physical, max_rep, max_def)
        };
        use PhysicalType::{BOOLEAN, BYTE_ARRAY, DOUBLE, INT64};
        let Some(key) = find("Key", BYTE_ARRAY, level, level)? else { return Ok(None) };
        let optional = |name: &str, physical| find(name, physical, level, level + 1);
        let listed = |name: &str, physical| find(name, physical, level + 1, level + 1);
        let mut columns = AttributeColumns {
            key,
            is_array: None,
            string: None,
            int: None,
            double: None,
            bool: None,
            unsupported: None,
            key_values: None,
            array: None,
            message: None,
        };
        if is_v3 && parent == EVENT {
            columns.message = find("Value", BYTE_ARRAY, level, level)?;
            return Ok(Some(columns));
        }
        if is_v3 {
            columns.string = optional("Value", BYTE_ARRAY)?;
            columns.int = optional("ValueInt", INT64)?;
            columns.double = optional("ValueDouble", DOUBLE)?;
            columns.bool = optional("ValueBool", BOOLEAN)?;
            columns.key_values = optional("ValueKVList", BYTE_ARRAY)?;
            columns.array = optional("ValueArray", BYTE_ARRAY)?;
            return Ok(Some(columns));
        }
        let is_pre_release = self.by_path.contains_key(&path(PRE_RELEASE[0]));
        let in_release = |name: &str, physical, max_def| match is_pre_release {
            true => self.find(&path(name), physical, level, max_def),
            false => find(name, physical, level, max_def),
        };
        columns.is_array = in_release("IsArray", BOOLEAN, level)?;
        columns.string = listed("Value", BYTE_ARRAY)?;
        columns.int = listed("ValueInt", INT64)?;
        columns.double = listed("ValueDouble", DOUBLE)?;
        columns.bool = listed("ValueBool", BOOLEAN)?;
        columns.unsupported = in_release("ValueUnsupported", BYTE_ARRAY, level + 1)?;
        Ok(Some(columns))
    }

    /// Rejects a file whose dedicated columns differ from those in its meta, because without it nobody knows what the
    /// columns mean.
    pub(super) fn check_dedicated(&self, columns: &[DedicatedColumn]) -> Result<()> {
        let mut expected = BTreeSet::new();
        for (scope, parent) in SCOPES {
            let columns = columns.iter().filter(|column| column.scope == scope);
            let slots = dedicated_slots(columns).map(|(_, slot)| dedicated_path(parent, &slot));
            expected.extend(slots);
        }
        let is_dedicated = |path: &&String| path.contains(".DedicatedAttributes.");
        let found: BTreeSet<_> = self.by_path.keys().filter(is_dedicated).cloned().collect();
        match expected.symmetric_difference(&found).next() {
            None => Ok(()),
            Some(path) if found.contains(path) => {
                Err(Error::Corrupt { what: format!("the meta does not say what {path} holds") })
            }
            Some(path) => Err(Error::Corrupt { what: format!("column {path} is missing") }),
        }
    }

    /// The dedicated columns of a scope that the file has. `repeated`: with repeated columns as in vParquet5.
    pub(super) fn dedicated(
        &self,
        scope: ColumnScope,
        parent: &str,
        level: u8,
        repeated: bool,
        columns: &[DedicatedColumn],
    ) -> Result<Vec<FixedColumn>> {
        let mut fixed = Vec::new();
        for (column, slot) in dedicated_slots(columns.iter().filter(|column| column.scope == scope))
        {
            let physical = match column.column_type {
                ColumnType::String => PhysicalType::BYTE_ARRAY,
                ColumnType::Int => PhysicalType::INT64,
            };
            let path = dedicated_path(parent, &slot);
            let max_rep = level + u8::from(repeated);
            let leaf = match is_slot_of_every_file(&slot) {
                true => self.expected(&path, physical, max_rep, level + 1)?,
                false => self.find(&path, physical, max_rep, level + 1)?,
            };
            if let Some(leaf) = leaf {
                fixed.push(FixedColumn {
                    key: column.name.clone().into_bytes(),
                    leaf,
                    column_type: column.column_type,
                    omit_empty: false,
                });
            }
        }
        Ok(fixed)
    }

    pub(super) fn resource_columns(
        &self,
        is_v5: bool,
        dedicated: &[DedicatedColumn],
    ) -> Result<Vec<FixedColumn>> {
        let string = |key: &str, leaf, omit_empty| FixedColumn {
            key: key.into(),
            leaf,
            column_type: ColumnType::String,
            omit_empty,
        };
        let fixed = self.dedicated(ColumnScope::Resource, RESOURCE, 1, is_v5, dedicated)?;
        let service_name = self.required("rs.Resource.ServiceName", PhysicalType::BYTE_ARRAY, 1)?;
        let mut statics = vec![string("service.name", service_name, true)];
        if is_v5 {
            return Ok([fixed, statics].concat());
        }
        for (key, name) in RESOURCE_STATICS {
            let path = format!("{RESOURCE}.{name}");
            let leaf = self.expected(&path, PhysicalType::BYTE_ARRAY, 1, 2)?;
            statics.extend(leaf.map(|leaf| string(key, leaf, false)));
        }
        Ok(beside_statics(fixed, statics))
    }

    pub(super) fn span_columns(
        &self,
        is_v5: bool,
        dedicated: &[DedicatedColumn],
    ) -> Result<Vec<FixedColumn>> {
        if is_v5 {
            return self.dedicated(ColumnScope::Span, SPAN, 3, true, dedicated);
        }
        let fixed = self.dedicated(ColumnScope::Span, SPAN, 3, false, dedicated)?;
        let named = [
            ("http.method", "HttpMethod", ColumnType::String, PhysicalType::BYTE_ARRAY),
            ("http.url", "HttpUrl", ColumnType::String, PhysicalType::BYTE_ARRAY),
            ("http.status_code", "HttpStatusCode", ColumnType::Int, PhysicalType::INT64),
        ];
        let mut statics = Vec::new();
        for (key, name, column_type, physical) in named {
            let leaf = self.expected(&format!("{SPAN}.{name}"), physical, 3, 4)?;
            statics.extend(leaf.map(|leaf| FixedColumn {
                key: key.into(),
                leaf,
                column_type,
                omit_empty: false,
            }));
        }
        Ok(beside_statics(fixed, statics))
    }
}

/// The dedicated columns of vParquet3 or 4, then the static ones. Metas of Tempo before 2.10 also list attributes that have
/// a static column: their dedicated ones have slots, but no values.
fn beside_statics(mut dedicated: Vec<FixedColumn>, statics: Vec<FixedColumn>) -> Vec<FixedColumn> {
    let is_of = |column: &FixedColumn, other: &FixedColumn| {
        column.key == other.key && column.column_type == other.column_type
    };
    dedicated.retain(|column| !statics.iter().any(|known| is_of(known, column)));
    dedicated.extend(statics);
    dedicated
}

/// The owners that have dedicated columns.
const SCOPES: [(ColumnScope, &str); 3] =
    [(ColumnScope::Resource, RESOURCE), (ColumnScope::Span, SPAN), (ColumnScope::Event, EVENT)];

/// The columns of one scope with their slots, `String01`, `Int01` and so on. Columns beyond the number of slots have
/// none: they are among the generic attributes.
fn dedicated_slots<'c>(
    columns: impl Iterator<Item = &'c DedicatedColumn>,
) -> impl Iterator<Item = (&'c DedicatedColumn, String)> {
    let (mut strings, mut ints) = (0, 0);
    columns.filter_map(move |column| {
        let (prefix, slot) = match column.column_type {
            ColumnType::String => ("String", &mut strings),
            ColumnType::Int => ("Int", &mut ints),
        };
        *slot += 1;
        (*slot <= column.column_type.slots()).then(|| (column, format!("{prefix}{slot:02}")))
    })
}

/// True for the slots that vParquet3 and 4 have, used or not.
fn is_slot_of_every_file(slot: &str) -> bool {
    (1..=SLOTS_OF_VPARQUET4).any(|number| slot == format!("String{number:02}"))
}

/// Columns of attributes in a pre-release of vParquet4, instead of `IsArray` and `ValueUnsupported`. One of vParquet3 has
/// the second instead of `ValueKVList` and `ValueArray`.
const PRE_RELEASE: [&str; 2] = ["ValueType", "ValueDropped"];

/// Columns that are not read.
const UNREAD: [&str; 8] = [
    "TraceIDText",
    "DurationNano",
    "rs.ss.SpanCount",
    "rs.ss.Spans.ChildCount",
    "rs.ss.Spans.StartTimeRounded15",
    "rs.ss.Spans.StartTimeRounded60",
    "rs.ss.Spans.StartTimeRounded300",
    "rs.ss.Spans.StartTimeRounded3600",
];

/// True for a column that a version has and that is not read, or not of every file. What service statistics say can be
/// counted.
fn is_unread(path: &str) -> bool {
    let (parent, name) = path.rsplit_once('.').unwrap_or_default();
    UNREAD.contains(&path)
        || path.starts_with("ServiceStats.")
        || parent.ends_with(".Attrs") && PRE_RELEASE.contains(&name)
        || parent.ends_with(".DedicatedAttributes") && is_slot_of_every_file(name)
}

fn dedicated_path(parent: &str, slot: &str) -> String {
    format!("{parent}.DedicatedAttributes.{slot}")
}
