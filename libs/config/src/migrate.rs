//! Converts a configuration file of Tempo to one of Tactus, and reports what each key means here.

use crate::check::Remedy;
use crate::expand::{ExpandError, Held};
use crate::field::{Field, Problem, ProblemKind, Reader, Unitless};
use crate::note::{Note, Verdict};
use crate::per_tenant::PerTenantOverrides;
use crate::rewrite::{Layout, Rewritten, keys};
use crate::sections::root::Config;
use crate::yaml::{Content, Node};
use crate::{
    check, differences, expand, load, per_tenant, rewrite, target, unsupported, validate, yaml,
};

mod document;
mod judge;
mod tree;

use judge::Judge;

/// How one key is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Dotted path; items of lists by their number from 0.
    pub key: String,
    /// Line in the file, from 1; none for a key that the file leaves out.
    pub line: Option<usize>,
    /// How it is handled.
    pub verdict: Verdict,
    /// Its path here, if that is another.
    pub now: Option<String>,
    /// Why, and what to do. Never shows values that may be secret.
    pub why: String,
}

/// How a file is handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// One for each key of the file and for what it leaves out, in the order of lines.
    pub findings: Vec<Finding>,
    /// The file to start Tactus with; none if a variable holds more than one value, so that its place is not known.
    pub document: Option<String>,
    /// What Tactus would still say about that file; empty when it starts without a warning.
    pub left: Vec<String>,
}

/// Why a file cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The file's variables cannot be expanded.
    #[error("failed to expand variables: {0}")]
    Expand(#[from] ExpandError),
    /// The file is not YAML.
    #[error("{0}")]
    Syntax(String),
}

/// Variables of the environment, where they are to be expanded.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Looks at a configuration file of Tempo 2.x.
///
/// `target` is the process's `-target`, if a flag gives it; `env` is there where variables are to be expanded: they stay
/// variables in what is written. Errors: not YAML, variables that cannot be expanded.
pub fn migrate_config(
    text: &str,
    target: Option<&str>,
    env: Option<Environment<'_>>,
) -> Result<Migration, MigrateError> {
    let source = Source::read(text, env)?;
    let mut root = source.root.clone();
    let mut rewritten = Vec::new();
    rewrite::rewrite(&mut root, &mut rewritten);
    let layout = rewrite::rewrite_main(&mut root, &mut Vec::new(), &mut rewritten);
    let (config, reader) = read(&root, target);
    tree::rename(&mut root, reader.dashed, &mut rewritten);
    tree::rename(&mut root, judge::older_names(), &mut rewritten);
    if config.has_old_cache()
        && let Ok(caches) = config.all_caches()
        && let Some((old, _)) = caches.last()
    {
        rewrite::old_cache(&mut root, &old.roles, &mut rewritten);
    }
    let (config, mut reader) = read(&root, target);
    if let Layout::Broken(problems) = layout {
        let known =
            |problem: &Problem| reader.problems.iter().any(|other| other.key == problem.key);
        let further: Vec<_> = problems.into_iter().filter(|problem| !known(problem)).collect();
        reader.problems.extend(further);
    }
    let mut notes = of_reader(&reader);
    let written = |key: &str| tree::node_at(&root, &keys(key)).is_some();
    let different = differences::differences(&config, written);
    let settled: Vec<String> = different.iter().map(|difference| difference.key.clone()).collect();
    notes.extend(different);
    for suspect in check::suspects(&config) {
        notes.extend(of_suspect(suspect, written));
    }
    let asks_for_gossip = load::asks_for_gossip(&root);
    let mut adjusted = config;
    target::for_target(&mut adjusted, "localhost", asks_for_gossip);
    let invalid = validate::invalid(&adjusted);
    let refused = invalid.into_iter().filter(|invalid| !settled.contains(&invalid.key));
    notes.extend(
        refused
            .map(|invalid| Note::new(invalid.key, Verdict::Refused, invalid.text, Remedy::Decide)),
    );
    let judge = Judge { source: &source, root, rewritten, notes, tenants: false };
    Ok(judge.migration(env, |document| still_said(document, target)))
}

/// Looks at a file of limits by tenant (`overrides.per_tenant_override_config`), flat or scoped, that goes with a
/// configuration. Otherwise as `migrate_config`.
pub fn migrate_overrides(
    text: &str,
    config: &Config,
    env: Option<Environment<'_>>,
) -> Result<Migration, MigrateError> {
    let source = Source::read(text, env)?;
    let mut reading = per_tenant::read_scoped(&source.root);
    if !reading.reader.problems.is_empty() {
        let flat = per_tenant::read_flat(&source.root);
        if flat.reader.problems.len() < reading.reader.problems.len() {
            reading = flat;
        }
    }
    let mut notes = of_reader(&reading.reader);
    for (tenant, limits) in &mut reading.tenants {
        let place = format!("overrides.{tenant}");
        notes.extend(differences::of_defaults_only(limits, &place));
        for (key, text) in validate::ignored_by_generator(&limits.metrics_generator) {
            let key = key.replace("overrides.defaults", &place);
            notes.push(Note::new(key, Verdict::Changed, text, Remedy::Decide));
        }
        if let Err(text) = per_tenant::check_name(tenant) {
            notes.push(Note::new(&place, Verdict::Ignored, text, Remedy::Decide));
        } else if let Err(text) = per_tenant::check(tenant, limits, config) {
            notes.push(Note::new(&place, Verdict::Refused, text, Remedy::Decide));
        }
        notes.extend(differences::of_limits(limits, &place));
        let entry = reading.root.get("overrides").and_then(|tenants| tenants.get(tenant));
        for left_out in per_tenant::fall_back(limits, entry, config) {
            let per_tenant::LeftOut { key, default } = left_out;
            let text = format!(
                "left out: {default} of overrides.defaults holds, where Tempo takes 0 and refuses every push"
            );
            let key = format!("{place}.ingestion.{key}");
            notes.push(Note::new(key, Verdict::Changed, text, Remedy::Set(default.to_string())));
        }
    }
    let per_tenant::Reading { root, rewritten, .. } = reading;
    let judge = Judge { source: &source, root, rewritten, notes, tenants: true };
    Ok(judge.migration(env, |document| {
        let file =
            PerTenantOverrides::parse(document, config).map_err(|error| error.to_string())?;
        Ok(file.warnings)
    }))
}

const MORE_THAN_ONE_VALUE: &str =
    "a variable holds more than one value: nothing can be written that keeps it a variable";

/// A file, and where its variables stand.
struct Source {
    root: Node,
    /// The variables, if there may be any.
    held: Option<Held>,
    /// Each variable is one value, or a part of one.
    is_writable: bool,
    has_second_document: bool,
}

impl Source {
    fn read(text: &str, env: Option<Environment<'_>>) -> Result<Self, MigrateError> {
        let parse =
            |text: &str| yaml::parse(text).map_err(|error| MigrateError::Syntax(error.to_string()));
        let has_second_document = yaml::has_second_document(text);
        let Some(env) = env else {
            let root = parse(text)?;
            return Ok(Self { root, held: None, is_writable: true, has_second_document });
        };
        let mut root = parse(&expand::expand(text, env)?)?;
        let held = expand::hold(text, env)?;
        let is_writable = yaml::parse(&held.text)
            .is_ok_and(|with_tokens| tree::annotate(&mut root, &with_tokens, &held));
        Ok(Self { root, held: Some(held), is_writable, has_second_document })
    }
}

fn read(root: &Node, target: Option<&str>) -> (Config, Reader) {
    let mut config = Config::default();
    let mut reader = Reader::default();
    if !root.is_null() {
        config.read(root, &mut reader);
        rewrite::name_right_places(&mut reader.problems);
        rewrite::name_other_places(&mut reader.problems);
    }
    if let Some(target) = target {
        target.clone_into(&mut config.target);
    }
    (config, reader)
}

fn of_reader(reader: &Reader) -> Vec<Note> {
    let of_problem = |problem: &Problem| Note {
        key: problem.key.clone(),
        verdict: match problem.kind {
            ProblemKind::Unknown => Verdict::Unknown,
            ProblemKind::Duplicate | ProblemKind::Type => Verdict::Refused,
        },
        text: problem.full_text(),
        remedy: if problem.kind == ProblemKind::Duplicate {
            Remedy::Decide
        } else {
            Remedy::LeaveOut
        },
        spreads: true,
    };
    let of_unitless = |Unitless { key, nanos, .. }: &Unitless| {
        let text = format!("{nanos} nanoseconds, as a number without a unit is: write the unit");
        Note::new(key, Verdict::Changed, text, Remedy::Set(format!("{nanos}ns")))
    };
    let problems = reader.problems.iter().map(of_problem);
    problems.chain(reader.unitless.iter().map(of_unitless)).collect()
}

/// A suspect value is noted at those of its keys that are set, else at the first.
fn of_suspect(suspect: check::Suspect, written: impl Fn(&str) -> bool) -> Vec<Note> {
    let mut keys: Vec<&String> = suspect.keys.iter().filter(|key| written(key)).collect();
    if keys.is_empty() {
        keys.extend(suspect.keys.first());
    }
    let text = match &suspect.remedy {
        Remedy::Set(value) => format!("{}; written as {value}", suspect.text),
        Remedy::Decide | Remedy::LeaveOut => suspect.text.clone(),
    };
    let note = |key: &String| Note::new(key, Verdict::Changed, &text, suspect.remedy.clone());
    keys.into_iter().map(note).collect()
}

/// What a start with this file would log. Errors: what it would end with.
fn still_said(document: &str, target: Option<&str>) -> Result<Vec<String>, String> {
    let mut document = load::parse(document)?;
    let config = &mut document.config;
    if let Some(target) = target {
        target.clone_into(&mut config.target);
    }
    let mut said = check::findings(config, document.flat_overrides);
    said.append(&mut document.warnings);
    said.extend(unsupported::warnings(config));
    target::for_target(config, "localhost", document.asks_for_gossip);
    said.extend(validate::invalid(config).into_iter().map(|invalid| invalid.text));
    Ok(said)
}

#[cfg(test)]
mod tests;
