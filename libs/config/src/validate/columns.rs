//! Attributes with a column of their own.

use crate::sections::storage::DedicatedColumn;

/// Columns of one type that a block of a version has for a scope: string, then int. Tempo 2.10 does not read a
/// vParquet5 block with more than 10 string columns in a scope, 3.0 does.
fn limits(block_version: &str) -> [(&'static str, usize); 2] {
    [("string", if block_version == "vParquet5" { 20 } else { 10 }), ("int", 5)]
}

/// Checks names, scopes, types and numbers of columns of blocks of this version.
pub(crate) fn dedicated_columns(
    block_version: &str,
    columns: &[DedicatedColumn],
) -> Result<(), String> {
    let limits = limits(block_version);
    let invalid = |cause: String| Err(format!("invalid dedicated attribute columns: {cause}"));
    for (index, column) in columns.iter().enumerate() {
        let DedicatedColumn { scope, name, type_, options } = column;
        if name.is_empty() {
            return invalid("empty name".to_owned());
        }
        if !matches!(scope.as_str(), "resource" | "span" | "event") {
            return invalid(format!("{name:?} has unknown scope {scope:?}"));
        }
        if !limits.iter().any(|(known, _)| known == type_) {
            return invalid(format!("{name:?} has unknown type {type_:?}"));
        }
        if let Some(option) = options.iter().find(|o| !matches!(o.as_str(), "array" | "blob")) {
            return invalid(format!("{name:?} has unknown option {option:?}"));
        }
        if columns[..index].iter().any(|other| other.scope == *scope && other.name == *name) {
            return invalid(format!("{name:?} stands twice in scope {scope:?}"));
        }
    }
    for scope in ["resource", "span", "event"] {
        for (type_, limit) in limits {
            let count = columns.iter().filter(|c| c.scope == scope && c.type_ == type_).count();
            if count > limit {
                return invalid(format!(
                    "number of {type_} columns in scope {scope:?} is {count}, at most {limit} fit"
                ));
            }
        }
    }
    Ok(())
}
