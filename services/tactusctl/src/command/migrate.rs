//! `migrate`: converts files that were made for Grafana Tempo.

mod helm;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use tactus_config::{Finding, Migration, Verdict, migrate_config, migrate_overrides};

use crate::Outcome;
use crate::arguments::{File, Form, Global, Migrate};
use crate::bucket::configuration;
use crate::error::{Error, Result};
use crate::output::format::clean;
use crate::output::{Output, Table};

/// One key, in JSON.
#[derive(Debug, Serialize)]
struct Row<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
}

/// A whole file, in JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: String,
    counts: HashMap<&'static str, usize>,
    keys: Vec<Row<'a>>,
    /// Warnings and errors of Tactus about the file that is written.
    left: &'a [String],
    /// The result, if it is written to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<&'a str>,
}

pub(super) fn run(command: &Migrate, global: &Global) -> Result<Outcome> {
    let (file, chart) = match command {
        Migrate::Config { file, .. } | Migrate::Overrides { file } => (file, None),
        Migrate::HelmValues { file, chart } => (file, Some(chart)),
    };
    let output = Output::new(global.json || file.output == Form::Json);
    let text = read(&file.file)?;
    if let Some(chart) = chart {
        let migration = helm::convert(&text, *chart).map_err(|error| named(&file.file, &error))?;
        return values(file, &migration, &output);
    }
    let variables: HashMap<&str, &str> =
        file.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let lookup = |name: &str| match variables.get(name) {
        Some(value) => Some((*value).to_owned()),
        None => std::env::var(name).ok(),
    };
    let expand = global.expand_env || !variables.is_empty();
    let env = expand.then_some(&lookup as tactus_config::Environment<'_>);
    let migration = match command {
        Migrate::Config { target, .. } => migrate_config(&text, target.as_deref(), env),
        // Limits are checked together with the configuration, or with the defaults.
        _ => migrate_overrides(&text, &configuration(global)?.unwrap_or_default(), env),
    };
    let migration = migration.map_err(|error| named(&file.file, &error.to_string()))?;
    report(file, &migration, &output)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| named(path, &error.to_string()))
}

fn named(path: &Path, text: &str) -> Error {
    Error::Setup(format!("{}: {text}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| named(path, &error.to_string()))
}

/// Shows what happens to each key, and writes the file if asked to.
fn report(file: &File, migration: &Migration, output: &Output) -> Result<Outcome> {
    let shown = document(file, &migration.findings, &migration.left, None);
    output.show(&shown, || {
        let mut text = lines(&migration.findings);
        let _ = writeln!(text, "\n{}", summary(&migration.findings));
        for left in &migration.left {
            let _ = writeln!(text, "the file as written still gives: {left}");
        }
        text
    })?;
    if let Some(path) = &file.write {
        let Some(document) = &migration.document else {
            return Err(named(&file.file, &migration.left.join("; ")));
        };
        write(path, document)?;
    }
    Ok(outcome(&migration.findings, &migration.left))
}

/// Writes the values to standard output, or to a file; then it shows what happened to each value.
fn values(file: &File, migration: &helm::Conversion, output: &Output) -> Result<Outcome> {
    let values = file.write.is_none().then_some(migration.values.as_str());
    let shown = document(file, &migration.findings, &[], values);
    match (&file.write, output.json) {
        (None, false) => output.text(&migration.values)?,
        _ => output.show(&shown, || {
            format!("{}\n{}\n", lines(&migration.findings), summary(&migration.findings))
        })?,
    }
    if let Some(path) = &file.write {
        write(path, &migration.values)?;
    }
    Ok(outcome(&migration.findings, &[]))
}

fn outcome(findings: &[Finding], left: &[String]) -> Outcome {
    let worst = findings.iter().map(|finding| finding.verdict).max();
    match worst {
        Some(Verdict::Unknown | Verdict::Refused) => Outcome::Refused,
        Some(Verdict::Changed) => Outcome::Damage,
        _ if !left.is_empty() => Outcome::Damage,
        _ => Outcome::Fine,
    }
}

fn document<'a>(
    file: &File,
    findings: &'a [Finding],
    left: &'a [String],
    values: Option<&'a str>,
) -> Report<'a> {
    let mut counts = HashMap::new();
    for finding in findings {
        *counts.entry(finding.verdict.name()).or_insert(0) += 1;
    }
    let row = |finding: &'a Finding| Row {
        key: &finding.key,
        line: finding.line,
        verdict: finding.verdict.name(),
        now: finding.now.as_deref(),
        why: &finding.why,
    };
    let file = file.file.display().to_string();
    Report { file, counts, keys: findings.iter().map(row).collect(), left, values }
}

fn lines(findings: &[Finding]) -> String {
    let why = |finding: &Finding| {
        let now = finding.now.as_ref().map(|now| format!("now {now}"));
        let texts = now.into_iter().chain([finding.why.clone()]).filter(|text| !text.is_empty());
        let text = texts.collect::<Vec<_>>().join("; ");
        clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    Table::of(findings)
        .right("LINE", |it| it.line.map(|line| line.to_string()).unwrap_or_default())
        .left("KEY", |it| clean(&it.key))
        .left("VERDICT", |it| it.verdict.name().to_owned())
        .left("WHY", |it| why(it))
        .render()
}

fn summary(findings: &[Finding]) -> String {
    let verdicts = [
        Verdict::Honoured,
        Verdict::Renamed,
        Verdict::Ignored,
        Verdict::Changed,
        Verdict::Unknown,
        Verdict::Refused,
    ];
    let counted = verdicts.iter().map(|verdict| {
        let count = findings.iter().filter(|finding| finding.verdict == *verdict).count();
        format!("{count} {}", verdict.name())
    });
    counted.collect::<Vec<_>>().join(", ")
}
