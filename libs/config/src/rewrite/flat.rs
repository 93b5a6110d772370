//! The older, flat layout of limits: `max_traces_per_user` instead of
//! `ingestion.max_traces_per_user`.

use super::put;
use crate::field::{Problem, Reader, Section};
use crate::sections::overrides::{Limits, Overrides};
use crate::yaml::{Key, Node};

/// Keys of the section that are the same in both layouts.
const SECTION_KEYS: [&str; 4] = [
    "per_tenant_override_config",
    "per_tenant_override_period",
    "user_configurable_overrides",
    "enable_legacy_overrides",
];

/// The type name in error texts.
const FLAT_TYPE: &str = "overrides.legacyConfig";

/// Turns a flat `overrides` section into the scoped one; true when it was flat.
///
/// The layouts cannot be mixed: the section is read as scoped first, and any error there makes it
/// flat. An error in both leaves the section out and is one problem with both texts.
pub(crate) fn rewrite_main(root: &mut Node, problems: &mut Vec<Problem>) -> bool {
    let Some(section) = root.get_mut("overrides") else { return false };
    if section.is_null() {
        return false;
    }
    let Some(scoped_error) = error_of(section) else { return false };
    let flat_error = match to_scoped_section(section) {
        Ok(scoped) => match error_of(&scoped) {
            None => {
                *section = scoped;
                return true;
            }
            Some(error) => error,
        },
        Err(error) => error,
    };
    let text = format!(
        "failed to unmarshal config: {scoped_error}; also failed in legacy format: {flat_error}"
    );
    problems.push(Problem { line: section.line, text });
    section.content = Node::map(section.line, Vec::new()).content;
    false
}

/// What is wrong with `section` in the scoped layout.
fn error_of(section: &Node) -> Option<String> {
    let mut reader = Reader::default();
    reader.entry("overrides", section, &mut Overrides::default());
    reader.report()
}

fn to_scoped_section(section: &Node) -> Result<Node, String> {
    let Some(entries) = section.entries() else {
        return Err(format!("cannot unmarshal into {FLAT_TYPE}"));
    };
    let (kept, limits): (Vec<_>, Vec<_>) =
        entries.iter().cloned().partition(|(key, _)| SECTION_KEYS.contains(&key.text.as_str()));
    let defaults = flat_to_scoped(&Node::map(section.line, limits))?;
    let mut scoped = Node::map(section.line, kept);
    put(&mut scoped, &["defaults"], defaults, section.line);
    Ok(scoped)
}

/// The limits of one tenant, flat to scoped.
///
/// Errors: the report of all keys that the flat layout does not have.
pub(crate) fn flat_to_scoped(limits: &Node) -> Result<Node, String> {
    let Some(entries) = limits.entries() else {
        return Err(format!("cannot unmarshal into {FLAT_TYPE}"));
    };
    let names = flat_names();
    let mut reader = Reader::default();
    let mut scoped = Node::map(limits.line, Vec::new());
    for (key, value) in entries {
        let Some((_, path)) = names.iter().find(|(flat, _)| *flat == key.text) else {
            let text = format!("field {} not found in type {FLAT_TYPE}", key.text);
            reader.problems.push(Problem { line: key.line, text });
            continue;
        };
        let path: Vec<&str> = path.split('.').collect();
        if !put(&mut scoped, &path, value.clone(), key.line) {
            let text = format!("field {} already set in type {FLAT_TYPE}", key.text);
            reader.problems.push(Problem { line: key.line, text });
        }
    }
    // Keys carry the line of the flat key, so problems of the scoped reading point to the file.
    restore_lines(&mut scoped);
    match reader.report() {
        Some(report) => Err(report),
        None => Ok(scoped),
    }
}

/// A mapping that was made on the way starts where its first entry stands.
fn restore_lines(node: &mut Node) {
    if let Some((Key { line, .. }, _)) = node.entries().and_then(|entries| entries.first()) {
        node.line = *line;
    }
}

/// Every flat name with the scoped path that it stands for.
pub(crate) fn flat_names() -> Vec<(String, String)> {
    let mut rows = Vec::new();
    Limits::default().outline_entries("", &mut rows);
    let mut names: Vec<(String, String)> = rows
        .into_iter()
        .map(|row| row.path)
        .filter(|path| !path.contains("[]") && !path.contains("<name>"))
        .filter(|path| !path.starts_with("cost_attribution."))
        .map(|path| (flat_name(&path), path))
        .collect();
    names.push(("cost_attribution".to_owned(), "cost_attribution".to_owned()));
    names
}

fn flat_name(path: &str) -> String {
    let Some((scope, key)) = path.split_once('.') else { return path.to_owned() };
    match (scope, key) {
        ("ingestion", "max_traces_per_user" | "max_global_traces_per_user") => key.to_owned(),
        ("ingestion" | "metrics_generator", _) => path.replace('.', "_"),
        _ => key.to_owned(),
    }
}
