//! Decides what to report about each key of a file, from everything that is known about it.

use super::tree::{Leaf, leaves, node_at};
use super::*;
use crate::field::Row;
use crate::show::rows;

/// How the manual marks a key that another one replaces.
const OLDER_NAME: &str = "older name of ";

/// Keys with the name that replaces them.
pub(super) fn older_names() -> Vec<(String, String)> {
    let name = |row: Row| Some((row.path, row.meaning.strip_prefix(OLDER_NAME)?.to_owned()));
    rows().into_iter().filter_map(name).collect()
}

/// A file with all that is to be said of it.
pub(super) struct Judge<'a> {
    pub(super) source: &'a Source,
    /// The tree as it is read, old keys in their new places.
    pub(super) root: Node,
    pub(super) rewritten: Vec<Rewritten>,
    pub(super) notes: Vec<Note>,
    /// The file has limits by tenant.
    pub(super) tenants: bool,
}

/// Where a key of the file is in the tree.
pub(super) struct Place {
    /// Nothing if it is left out.
    pub(super) path: Option<Vec<String>>,
    pub(super) moved: bool,
    warning: Option<String>,
}

impl Judge<'_> {
    /// All that is said of the file. `said` tells what reading a document gives, its variables expanded, or why it cannot be read.
    pub(super) fn migration(
        &self,
        env: Option<Environment<'_>>,
        said: impl FnOnce(&str) -> Result<Vec<String>, String>,
    ) -> Migration {
        let findings = self.findings();
        let document = self.document(&findings);
        let expanded = |document: &str| match env {
            None => Ok(document.to_owned()),
            Some(env) => expand::expand(document, env).map_err(|error| error.to_string()),
        };
        let mut left = match &document {
            Some(document) => {
                expanded(document).and_then(|text| said(&text)).unwrap_or_else(|error| vec![error])
            }
            None => vec![MORE_THAN_ONE_VALUE.to_owned()],
        };
        if self.source.has_second_document {
            left.push(yaml::SECOND_DOCUMENT.to_owned());
        }
        Migration { findings, document, left }
    }

    /// One finding for each leaf of the file, and for each note that no leaf has.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let rows = rows();
        let mut noted = vec![false; self.notes.len()];
        let mut findings: Vec<Finding> = leaves(&self.source.root)
            .into_iter()
            .map(|leaf| self.finding(&leaf, &rows, &mut noted))
            .collect();
        let alone = self.notes.iter().zip(&noted).filter(|(_, noted)| !**noted);
        findings.extend(alone.map(|(note, _)| Finding {
            key: note.key.clone(),
            line: self.line_of(&note.key),
            verdict: note.verdict,
            now: None,
            why: note.text.clone(),
        }));
        findings.sort_by_key(|finding| finding.line.unwrap_or(usize::MAX));
        findings
    }

    fn finding(&self, leaf: &Leaf, rows: &[Row], noted: &mut [bool]) -> Finding {
        let place = self.place(&leaf.path);
        let finding = |verdict, now, why: &str| Finding {
            key: leaf.path.join("."),
            line: Some(leaf.line),
            verdict,
            now,
            why: why.to_owned(),
        };
        let Some(path) = &place.path else {
            let dropped = "Tempo dropped it before 2.10, and nothing here corresponds to it";
            let why = place
                .warning
                .filter(|warning| warning.contains("since"))
                .unwrap_or_else(|| dropped.to_owned());
            return finding(Verdict::Ignored, None, &why);
        };
        let key = path.join(".");
        let now = place.moved.then(|| key.clone());
        let mut own: Vec<&Note> = Vec::new();
        for (note, noted) in self.notes.iter().zip(noted) {
            let below = is_below(&key, &note.key);
            if key == note.key || (note.spreads && below) || is_below(&note.key, &key) {
                *noted = true;
                own.push(note);
            }
        }
        let with =
            |verdict| own.iter().find(|note| note.verdict == verdict).map(|note| &*note.text);
        if let Some(why) = with(Verdict::Unknown) {
            return finding(Verdict::Unknown, now, why);
        }
        let manual = self.manual_path(path);
        let meaning = meaning(rows, &manual);
        if let Some((_, why)) = unsupported::no_effect(&manual, meaning) {
            return finding(Verdict::Ignored, now, &why);
        }
        for verdict in [Verdict::Refused, Verdict::Changed, Verdict::Ignored] {
            if let Some(why) = with(verdict) {
                return finding(verdict, now, why);
            }
        }
        let why = with(Verdict::Honoured);
        if place.moved {
            return finding(Verdict::Renamed, now, why.unwrap_or_default());
        }
        let is_section = leaf.is_null
            && node_at(&self.root, path).is_some_and(Node::is_null)
            && rows.iter().any(|row| is_below(&row.path, &manual));
        let left_empty = "nothing after the colon: the defaults hold, where Tempo takes zeros";
        let why = why.unwrap_or(if is_section { left_empty } else { "" });
        finding(Verdict::Honoured, None, why)
    }

    /// Follows a key through all rewrites.
    pub(super) fn place(&self, path: &[String]) -> Place {
        let mut place = Place { path: Some(path.to_vec()), moved: false, warning: None };
        for Rewritten { from, to, warning } in &self.rewritten {
            let Some(rest) = place.path.as_ref().and_then(|path| path.strip_prefix(&from[..]))
            else {
                continue;
            };
            place.moved |= to.as_ref() != Some(from);
            place.path = to.as_ref().map(|to| [&to[..], rest].concat());
            place.warning.clone_from(warning);
        }
        place
    }

    /// A path as the manual has it: items of lists as `[]`, receivers without their second name, tenants as the defaults.
    pub(super) fn manual_path(&self, path: &[String]) -> String {
        let mut out: Vec<String> = Vec::new();
        let mut node = Some(&self.root);
        for (depth, key) in path.iter().enumerate() {
            let parent = node;
            node = parent.and_then(|node| node_at(node, std::slice::from_ref(key)));
            if parent.is_some_and(|parent| matches!(parent.content, Content::List(_))) {
                if let Some(list) = out.last_mut() {
                    list.push_str("[]");
                }
            } else if self.tenants && depth == 1 {
                out.push("defaults".to_owned());
            } else if depth == 2 && out == ["distributor", "receivers"] {
                out.push(key.split('/').next().unwrap_or(key).to_owned());
            } else {
                out.push(key.clone());
            }
        }
        out.join(".")
    }

    /// The line of a key, or of what it would stand in; nothing where the file has neither.
    fn line_of(&self, key: &str) -> Option<usize> {
        let path = keys(key);
        (1..=path.len()).rev().find_map(|length| {
            let node = node_at(&self.root, &path[..length])?;
            (node.line > 0 && (length == path.len() || length > 1)).then_some(node.line)
        })
    }
}

/// What the manual says of a key: its own line, or that of the last key above it that has one.
pub(super) fn meaning<'a>(rows: &'a [Row], path: &str) -> &'a str {
    let parts: Vec<&str> = path.split('.').collect();
    let covers = |row: &&Row| {
        let mut count = 0;
        let mut same = row.path.split('.').zip(&parts).inspect(|_| count += 1);
        let all = same.all(|(row, part)| row == *part || row == "<name>" || row == "<name>[]");
        all && count == row.path.split('.').count()
    };
    let longest = rows.iter().filter(covers).max_by_key(|row| row.path.split('.').count());
    longest.map_or("", |row| row.meaning)
}

/// True if a dotted path is truly below another one.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}
