//! The configuration as YAML for `/status/config`, with secrets masked, and the list of all keys.

use crate::field::{Field, MASK, Row, Section, without_passwords};
use crate::idle::idle_meaning;
use crate::sections::overrides::Limits;
use crate::sections::root::Config;
use crate::yaml::{Value, emit};
use std::collections::HashMap;

/// The whole configuration as it is in effect.
pub fn to_yaml(config: &Config) -> String {
    emit(&shown(config))
}

/// Only what differs from the defaults (`?mode=diff`); `{}` when nothing does.
pub fn to_yaml_diff(config: &Config) -> String {
    let difference = shown(config).difference(&Config::default().show());
    emit(&difference.unwrap_or(Value::Map(Vec::new())))
}

/// The defaults (`?mode=defaults`).
pub fn defaults_yaml() -> String {
    to_yaml(&Config::default())
}

/// The configuration with its secrets masked. Receivers of metrics, and servers of tokens, may take keys in the query of their
/// address.
fn shown(config: &Config) -> Value {
    let mut config = config.clone();
    for remote in &mut config.metrics_generator.storage.remote_write {
        remote.url = without_query(&remote.url);
        if let Some(oauth2) = &mut remote.oauth2 {
            oauth2.token_url = without_query(&oauth2.token_url);
        }
    }
    config.show()
}

fn without_query(url: &str) -> String {
    // First: a password may have the character as well.
    let url = without_passwords(url);
    match url.split_once('?') {
        Some((address, query)) if !query.is_empty() => format!("{address}?{MASK}"),
        _ => url,
    }
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
