//! Typed fields over the YAML tree: reading over defaults, showing, describing.
//!
//! Reading never stops at an error: problems are collected with their lines, so that one start
//! shows all of them. A field that could not be read keeps its default.

use crate::suggest::nearest;
use crate::yaml::{Content, Key, Node, Resolved, Value, join, resolve};

mod collections;
mod opaque;
mod scalars;
mod section;

pub use opaque::{Opaque, Secret};
pub use scalars::{MatchValue, UnitSize, without_passwords};
pub(crate) use section::{Section, already_set, read_section, section};

/// Unknown keys after so many problems are told without a guess, which takes time.
const MOST_HINTS: usize = 100;
/// A section with no more keys than that has them listed where one is unknown.
const FEW_KEYS: usize = 6;

/// What stands in the place of a secret wherever a configuration is shown.
pub(crate) const MASK: &str = "********";

/// Something that a YAML node can set.
pub(crate) trait Field: Sized {
    /// Sets `self` from `node`, which is not null; what the node leaves out stays as it was.
    fn read(&mut self, node: &Node, reader: &mut Reader);

    /// The value as YAML; secrets come out masked.
    fn show(&self) -> Value;

    /// The type as the manual names it.
    fn kind() -> String;

    /// Adds the rows of the manual for this field; sections add one row for each of their keys.
    fn outline(&self, path: &str, meaning: &'static str, rows: &mut Vec<Row>) {
        rows.push(Row {
            path: path.to_owned(),
            kind: Self::kind(),
            default: crate::yaml::inline(&self.show()),
            meaning,
        });
    }

    /// The list that a comma separated text stands for, for types that allow it.
    fn split(_text: &str) -> Option<Vec<Self>> {
        None
    }
}

/// One key in the manual.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) default: String,
    pub(crate) meaning: &'static str,
}

/// Something wrong at a line of the document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Dotted path of the key that it is about.
    pub(crate) key: String,
    pub(crate) kind: ProblemKind,
    /// What was probably meant; empty if nothing is known.
    pub(crate) hint: String,
}

impl Problem {
    pub(crate) fn new(line: usize, text: String, key: String, kind: ProblemKind) -> Self {
        Self { line, text, key, kind, hint: String::new() }
    }

    /// The text for the operator.
    pub(crate) fn full_text(&self) -> String {
        if self.hint.is_empty() {
            self.text.clone()
        } else {
            format!("{}: {}", self.text, self.hint)
        }
    }
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemKind {
    /// No such key.
    Unknown,
    /// The key stands twice.
    Duplicate,
    /// The value does not have the key's type.
    Type,
}

/// A duration without a unit: legal, and hardly what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unitless {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) nanos: i128,
}

impl Unitless {
    pub(crate) fn warning(&self) -> String {
        let Self { key, line, nanos } = self;
        format!("{key}: {nanos} without a unit is taken as nanoseconds (line {line})")
    }
}

/// Where we are in the document, and what was found on the way.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) path: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) unitless: Vec<Unitless>,
    /// Keys whose value is not taken as it is written: what becomes of it, and the line.
    pub(crate) doubtful: Vec<(String, String, usize)>,
    /// Keys that were written with dashes, and their proper paths.
    pub(crate) dashed: Vec<(String, String)>,
}

impl Reader {
    /// Notes that `node` does not have the type that the current key wants.
    pub(crate) fn mismatch(&mut self, node: &Node, kind: &str) {
        self.mismatch_because(node, kind, "");
    }

    /// As `mismatch`, with a cause that starts with `: `.
    pub(crate) fn mismatch_because(&mut self, node: &Node, kind: &str, mut cause: &str) {
        let found = match &node.content {
            Content::Scalar(scalar) if is_sensitive(&self.path) => {
                format!("{} `{}`", resolve(scalar).tag(), MASK)
            }
            Content::Scalar(scalar) => {
                let shown = without_passwords(&scalar.text);
                if shown != scalar.text {
                    // It may quote the text.
                    cause = "";
                }
                format!("{} `{}`", resolve(scalar).tag(), shortened(&shown))
            }
            Content::List(_) => "!!seq".to_owned(),
            Content::Map(_) => "!!map".to_owned(),
        };
        let place = if self.path.is_empty() { "the document" } else { &self.path };
        let text = format!("cannot unmarshal {found} into {kind} ({place}){cause}");
        let key = self.path.clone();
        self.problems.push(Problem::new(node.line, text, key, ProblemKind::Type));
    }

    /// Reads the value of `key` into `field`; null leaves the field alone.
    pub(crate) fn entry<T: Field>(&mut self, key: &str, node: &Node, field: &mut T) {
        if node.is_null() {
            return;
        }
        let parent = std::mem::take(&mut self.path);
        self.path = join(&parent, key);
        field.read(node, self);
        self.path = parent;
    }

    /// The entries of a mapping without duplicates, which are noted; notes a node of another type.
    pub(crate) fn entries<'a>(
        &mut self,
        node: &'a Node,
        duplicate: impl Fn(&Key, &str) -> String,
    ) -> Vec<&'a (Key, Node)> {
        let Some(entries) = node.entries() else {
            let kind = self.type_name().to_owned();
            self.mismatch(node, &kind);
            return Vec::new();
        };
        let mut seen = std::collections::HashSet::new();
        entries
            .iter()
            .filter(|(key, _)| {
                let first = seen.insert(key.text.as_str());
                if !first && !key.merged {
                    let text = duplicate(key, self.type_name());
                    self.problem(key, text, ProblemKind::Duplicate);
                }
                first
            })
            .collect()
    }

    /// Notes a key that the current section does not have; `known` are the keys that it has.
    pub(crate) fn unknown(&mut self, key: &Key, known: &[&str]) {
        let text = format!("field {} not found in type {}", key.text, self.type_name());
        self.problem(key, text, ProblemKind::Unknown);
        if self.problems.len() > MOST_HINTS {
            return;
        }
        let hint = match (nearest(&key.text, known.iter().copied()), known) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, [only]) => format!("its only key is {only}"),
            (None, [_, .., last]) if known.len() <= FEW_KEYS => {
                format!("its keys are {} and {last}", known[..known.len() - 1].join(", "))
            }
            (None, _) => String::new(),
        };
        if let Some(problem) = self.problems.last_mut() {
            problem.hint = hint;
        }
    }

    /// Notes what is wrong with a key of the current section.
    pub(crate) fn problem(&mut self, key: &Key, text: String, kind: ProblemKind) {
        let path = join(&self.path, &key.text);
        self.problems.push(Problem::new(key.line, text, path, kind));
    }

    /// Notes what becomes of the value of the current key, which is not taken as it is written.
    pub(crate) fn doubt(&mut self, node: &Node, text: String) {
        self.doubtful.push((self.path.clone(), text, node.line));
    }

    /// Durations without a unit, one line each.
    pub(crate) fn unitless(&self) -> impl Iterator<Item = String> {
        self.unitless.iter().map(Unitless::warning)
    }

    /// What becomes of values that are not taken as they are written, one line each.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = String> {
        self.doubtful.iter().map(|(key, text, line)| format!("{key}: {text} (line {line})"))
    }

    /// Published examples spell the keys of these sections with dashes.
    fn dashes_allowed(&self) -> bool {
        self.path.ends_with(".redis") || self.path.ends_with("metrics_generator.processor")
    }

    /// Whether a duration below zero says something of its own at the current key; at others it counts as 0.
    fn takes_below_zero(&self) -> bool {
        self.path.ends_with(".fsync_interval")
    }

    /// The current section as error texts name it.
    pub(crate) fn type_name(&self) -> &str {
        if self.path.is_empty() { "config" } else { &self.path }
    }

    /// All problems in document order, in the form of Go's YAML reader.
    pub(crate) fn report(&self) -> Option<String> {
        if self.problems.is_empty() {
            return None;
        }
        let mut problems = self.problems.clone();
        problems.sort();
        let lines: Vec<_> =
            problems.iter().map(|p| format!("\n  line {}: {}", p.line, p.full_text())).collect();
        Some(format!("yaml: unmarshal errors:{}", lines.concat()))
    }
}

/// The scalar reading of a node; collections resolve to nothing.
pub(crate) fn resolved(node: &Node) -> Option<Resolved> {
    match &node.content {
        Content::Scalar(scalar) => Some(resolve(scalar)),
        Content::List(_) | Content::Map(_) => None,
    }
}

/// Whether what stands at a path may be a secret, even if its type does not say so: a mistake in the
/// indentation puts a password where a section is expected.
fn is_sensitive(path: &str) -> bool {
    let words =
        ["password", "secret", "token", "key", "header", "auth", "credential", "pem", "tls"];
    let path = path.to_ascii_lowercase();
    words.iter().any(|word| path.contains(word))
}

fn shortened(text: &str) -> String {
    const LIMIT: usize = 60;
    if text.chars().count() <= LIMIT {
        return text.to_owned();
    }
    text.chars().take(LIMIT).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
