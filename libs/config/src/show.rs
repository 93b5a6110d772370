//! The configuration as YAML for `/status/config`, with secrets masked, and the list of all keys.

use crate::field::{Field, Row, Section};
use crate::idle::idle_meaning;
use crate::sections::overrides::Limits;
use crate::sections::root::Config;
use crate::yaml::{Value, emit};
use std::collections::HashMap;

/// The whole configuration as it is in effect.
pub fn to_yaml(config: &Config) -> String {
    emit(&config.show())
}

/// Only what differs from the defaults (`?mode=diff`); `{}` when nothing does.
pub fn to_yaml_diff(config: &Config) -> String {
    let difference = config.show().difference(&Config::default().show());
    emit(&difference.unwrap_or(Value::Map(Vec::new())))
}

/// The defaults (`?mode=defaults`).
pub fn defaults_yaml() -> String {
    to_yaml(&Config::default())
}

/// The limits of one tenant.
pub fn limits_yaml(limits: &Limits) -> String {
    emit(&limits.show())
}

/// Every leaf by its dotted path.
pub(crate) fn leaves(config: &Config) -> HashMap<String, Value> {
    let mut leaves = HashMap::new();
    config.show().leaves("", &mut |path, value| {
        leaves.insert(path.to_owned(), value.clone());
    });
    leaves
}

/// Every key of the file, in the order of the sections.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    Config::default().outline_entries("", &mut rows);
    for row in &mut rows {
        row.meaning = idle_meaning(&row.path).unwrap_or(row.meaning);
    }
    rows
}

#[cfg(test)]
mod tests;
