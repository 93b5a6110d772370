//! Attributes with a column of their own.

use crate::sections::storage::DedicatedColumn;

/// Columns of one type that a block has for a scope: string, then int.
const LIMITS: [(&str, usize); 2] = [("string", 10), ("int", 5)];

/// Checks names, scopes, types and numbers of columns.
pub(crate) fn dedicated_columns(columns: &[DedicatedColumn]) -> Result<(), String> {
    let invalid = |cause: String| Err(format!("invalid dedicated attribute columns: {cause}"));
    for (index, column) in columns.iter().enumerate() {
        let DedicatedColumn { scope, name, type_, options } = column;
        if name.is_empty() {
            return invalid("empty name".to_owned());
        }
        if !matches!(scope.as_str(), "resource" | "span" | "event") {
            return invalid(format!("{name:?} has unknown scope {scope:?}"));
        }
        if !LIMITS.iter().any(|(known, _)| known == type_) {
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
        for (type_, limit) in LIMITS {
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
