//! The older, flat layout of limits: `max_traces_per_user` instead of
//! `ingestion.max_traces_per_user`.

use super::{Rewritten, ignored, keys, put};
use crate::field::{Problem, ProblemKind, Reader, Section};
use crate::sections::overrides::{Limits, Overrides};
use crate::suggest::any_of;
use crate::yaml::{Key, Node};

/// Keys of the section that are the same in both layouts.
const SECTION_KEYS: [&str; 4] = [
    "per_tenant_override_config",
    "per_tenant_override_period",
    "user_configurable_overrides",
    "enable_legacy_overrides",
];

/// Limits of Tempo 2.0 that have no effect since 2.1.
const REMOVED: [&str; 3] =
    ["max_search_bytes_per_trace", "search_tags_allow_list", "search_tags_deny_list"];

/// The type name in error texts.
const FLAT_TYPE: &str = "overrides.legacyConfig";

/// How the `overrides` section of the main file is laid out.
#[derive(Debug)]
pub(crate) enum Layout {
    /// As Tempo 2.3 and later document it.
    Scoped,
    /// As before; the tree has the scoped layout now.
    Flat,
    /// Neither: the problems of the reading that has fewer. The tree has that reading without what is wrong in it.
    Broken(Vec<Problem>),
}

/// Turns a flat `overrides` section into the scoped one.
///
/// The layouts cannot be mixed: the section is read as scoped first, and any error there makes it flat. An error in both
/// is one problem with both texts.
pub(crate) fn rewrite_main(
    root: &mut Node,
    problems: &mut Vec<Problem>,
    rewritten: &mut Vec<Rewritten>,
) -> Layout {
    let Some(section) = root.get_mut("overrides") else { return Layout::Scoped };
    if section.is_null() {
        return Layout::Scoped;
    }
    let scoped = reading(section);
    let Some(scoped_error) = scoped.report() else { return Layout::Scoped };
    let mut moved = Vec::new();
    let (flat, mut flat_reader) = to_scoped_section(section, &mut moved);
    if flat_reader.problems.is_empty() {
        flat_reader.problems = reading(&flat).problems;
    }
    let Some(flat_error) = flat_reader.report() else {
        *section = flat;
        rewritten.append(&mut moved);
        return Layout::Flat;
    };
    let text = format!(
        "failed to unmarshal config: {scoped_error}; also failed in legacy format: {flat_error}"
    );
    let key = "overrides".to_owned();
    problems.push(Problem::new(section.line, text, key, ProblemKind::Type));
    if flat_reader.problems.len() < scoped.problems.len() {
        *section = flat;
        rewritten.append(&mut moved);
        return Layout::Broken(flat_reader.problems);
    }
    Layout::Broken(scoped.problems)
}

/// What reading `section` in the scoped layout finds.
fn reading(section: &Node) -> Reader {
    let mut reader = Reader::default();
    reader.entry("overrides", section, &mut Overrides::default());
    name_right_places(&mut reader.problems);
    reader
}

/// Adds to problems with unknown keys where published examples have them and they belong here.
pub(crate) fn name_right_places(problems: &mut [Problem]) {
    for problem in problems.iter_mut().filter(|problem| problem.kind == ProblemKind::Unknown) {
        let place = problem.key.rsplit_once('.');
        if let Some(place) = place.and_then(|(section, key)| right_place(section, key)) {
            problem.hint = format!("did you mean {place}?");
        }
    }
}

/// Adds to problems with unknown keys of the main file the paths at which there are such keys.
pub(crate) fn name_other_places(problems: &mut [Problem]) {
    const MOST: usize = 3;
    let unknown = |problem: &&mut Problem| problem.kind == ProblemKind::Unknown;
    if !problems.iter().any(|problem| problem.kind == ProblemKind::Unknown) {
        return;
    }
    let rows = crate::show::rows();
    for problem in problems.iter_mut().filter(unknown).filter(|problem| problem.hint.is_empty()) {
        let key = problem.key.rsplit('.').next().unwrap_or_default();
        let mut places: Vec<&str> = rows
            .iter()
            .filter(|row| !row.meaning.starts_with("no effect") && !row.path.contains(['[', '<']))
            // Sections of other architectures, and a second section of the same keys.
            .filter(|row| {
                !["backend_", "live_", "internal_"].iter().any(|of| row.path.starts_with(of))
            })
            .filter_map(|row| {
                let at = format!(".{}.", row.path).find(&format!(".{key}."))?;
                row.path.get(..at + key.len())
            })
            .collect();
        places.dedup();
        if (1..=MOST).contains(&places.len()) {
            problem.hint = format!("did you mean {}?", any_of(&places));
        }
    }
}

fn to_scoped_section(section: &Node, rewritten: &mut Vec<Rewritten>) -> (Node, Reader) {
    let Some(entries) = section.entries() else {
        let mut reader = Reader { path: "overrides".to_owned(), ..Reader::default() };
        reader.mismatch(section, FLAT_TYPE);
        return (section.clone(), reader);
    };
    let (kept, limits): (Vec<_>, Vec<_>) =
        entries.iter().cloned().partition(|(key, _)| SECTION_KEYS.contains(&key.text.as_str()));
    let places = (keys("overrides"), keys("overrides.defaults"));
    let limits = Node::map(section.line, limits);
    let (defaults, reader) = flat_to_scoped(&limits, &places.0, &places.1, rewritten);
    let mut scoped = Node::map(section.line, kept);
    put(&mut scoped, &["defaults"], defaults, section.line);
    (scoped, reader)
}

/// The limits of one tenant that stand at `from`, flat to scoped, without what the flat layout does not have: the reader
/// notes that. Each key is noted as moved to below `to`.
pub(crate) fn flat_to_scoped(
    limits: &Node,
    from: &[String],
    to: &[String],
    rewritten: &mut Vec<Rewritten>,
) -> (Node, Reader) {
    let mut reader = Reader { path: from.join("."), ..Reader::default() };
    let mut scoped = Node::map(limits.line, Vec::new());
    let Some(entries) = limits.entries() else {
        reader.mismatch(limits, FLAT_TYPE);
        return (scoped, reader);
    };
    let names = flat_names();
    for (key, value) in entries {
        if REMOVED.contains(&key.text.as_str()) {
            let from: Vec<_> = from.iter().cloned().chain([key.text.clone()]).collect();
            let warning = Some(ignored(&from.join(".")));
            rewritten.push(Rewritten { from, to: None, warning });
            continue;
        }
        let Some((_, path)) = names.iter().find(|(flat, _)| *flat == key.text) else {
            let text = format!("field {} not found in type {FLAT_TYPE}", key.text);
            reader.problem(key, text, ProblemKind::Unknown);
            continue;
        };
        let parts: Vec<&str> = path.split('.').collect();
        if put(&mut scoped, &parts, value.clone(), key.line) {
            let from = from.iter().cloned().chain([key.text.clone()]).collect();
            let to = to.iter().cloned().chain(keys(path)).collect();
            rewritten.push(Rewritten { from, to: Some(to), warning: None });
        } else {
            let text = format!("field {} already set in type {FLAT_TYPE}", key.text);
            reader.problem(key, text, ProblemKind::Duplicate);
        }
    }
    // Keys carry the line of the flat key, so problems of the scoped reading point to the file.
    restore_lines(&mut scoped);
    (scoped, reader)
}

/// A mapping that was made on the way starts where its first entry stands.
fn restore_lines(node: &mut Node) {
    if let Some((Key { line, .. }, _)) = node.entries().and_then(|entries| entries.first()) {
        node.line = *line;
    }
}

/// Every flat name with the scoped path that it stands for.
fn flat_names() -> Vec<(String, String)> {
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

/// The section of limits as an error calls it.
const DEFAULTS: &str = "overrides.defaults";

/// The path of the key that `key`, unknown in the section `section`, was meant to be.
fn right_place(section: &str, key: &str) -> Option<String> {
    match (section, key) {
        ("overrides.defaults.metrics_generator", "storage") => {
            Some("metrics_generator.storage".to_owned())
        }
        ("overrides.defaults.metrics_generator", "remote_write") => {
            Some("metrics_generator.storage.remote_write".to_owned())
        }
        (DEFAULTS | "overrides.defaults.metrics_generator", flat) => {
            let names = flat_names();
            let (_, path) = names.iter().find(|(name, _)| name == flat)?;
            Some(format!("{DEFAULTS}.{path}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_yaml;

    #[test]
    fn every_misplaced_key_is_named_with_its_place() {
        let file = "
overrides:
  defaults:
    metrics_generator:
      storage: {path: /x}
      remote_write: []
      ingestion_burst_size_bytes: 1
    ingestion_rate_limit_bytes: 1
";
        let error = from_yaml(file).unwrap_err();
        for hint in [
            "field storage not found in type overrides.defaults.metrics_generator: did you mean metrics_generator.storage?",
            "did you mean metrics_generator.storage.remote_write?",
            "did you mean overrides.defaults.ingestion.burst_size_bytes?",
            "did you mean overrides.defaults.ingestion.rate_limit_bytes?",
        ] {
            assert!(error.contains(hint), "{hint} in {error}");
        }
    }

    #[test]
    fn other_unknown_keys_have_no_hint() {
        assert_eq!(right_place("server", "ingestion_rate_limit_bytes"), None);
        assert_eq!(right_place(DEFAULTS, "nothing"), None);
    }
}
