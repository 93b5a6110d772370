//! Converts values of Tempo's charts to values of our chart.
//!
//! A value is known from one of three sources: the schema of our chart, the conversion of configuration keys (`tactus_config`),
//! or the tables of `rules` for values with another name or no meaning. Unknown values are reported and left out.

mod configuration;
mod distributed;
mod rules;
mod schema;
mod single;
mod values;

use std::fmt::Write as _;

use tactus_config::{Finding, Value, Verdict, read_yaml_document, to_yaml_document};

use crate::arguments::Chart;
use schema::Schema;

/// The result, and what happened to each value.
#[derive(Debug)]
pub(super) struct Conversion {
    pub(super) findings: Vec<Finding>,
    /// The new values file. Comments at its top list the values that somebody must look at.
    pub(super) values: String,
}

/// A conversion in progress.
#[derive(Debug)]
struct Move {
    /// The values that are not converted yet.
    from: Value,
    to: Value,
    findings: Vec<Finding>,
}

/// Converts a values file. Errors: not YAML, no mapping.
pub(super) fn convert(text: &str, chart: Option<Chart>) -> Result<Conversion, String> {
    let from = match read_yaml_document(text)?.with_flags() {
        Value::Null => Value::Map(Vec::new()),
        map @ Value::Map(_) => map,
        _ => return Err("a values file is a mapping".to_owned()),
    };
    let chart = chart.unwrap_or_else(|| chart_of(&from));
    let mut moved = Move { from, to: Value::Map(Vec::new()), findings: Vec::new() };
    match chart {
        Chart::Tempo => single::convert(&mut moved),
        Chart::TempoDistributed => distributed::convert(&mut moved),
    }
    moved.rest(&Schema::of_chart()?);
    moved.without_foreign_templates();
    let Move { to, mut findings, .. } = moved;
    findings.sort_by(|one, other| one.key.cmp(&other.key));
    let values = head(chart, &findings) + &to_yaml_document(&to);
    Ok(Conversion { findings, values })
}

/// Which chart a values file is for: the single binary has its settings below `tempo`.
fn chart_of(values: &Value) -> Chart {
    const SINGLE: [&str; 14] = [
        "tempo.storage",
        "tempo.receivers",
        "tempo.retention",
        "tempo.resources",
        "tempo.metricsGenerator",
        "tempoQuery",
        "persistence",
        "tempo.repository",
        "tempo.overrides",
        "tempo.per_tenant_overrides",
        "tempo.extraEnv",
        "serviceMonitor",
        "replicas",
        "service",
    ];
    let is_single = SINGLE.iter().any(|path| values::get(values, path).is_some())
        || matches!(values::get(values, "tempo.extraArgs"), Some(Value::Map(_)));
    if is_single { Chart::Tempo } else { Chart::TempoDistributed }
}

impl Move {
    /// Notes what happened to a value.
    fn note(&mut self, key: &str, verdict: Verdict, now: Option<&str>, why: &str) {
        self.findings.push(Finding {
            key: key.to_owned(),
            line: None,
            verdict,
            now: now.map(str::to_owned),
            why: why.to_owned(),
        });
    }

    /// Moves a value, if there is one.
    fn rename(&mut self, from: &str, to: &str) {
        self.rename_because(from, to, "");
    }

    fn rename_because(&mut self, from: &str, to: &str, why: &str) {
        let Some(value) = values::take(&mut self.from, from) else { return };
        match values::put(&mut self.to, to, value) {
            true if from == to => self.note(from, Verdict::Honoured, None, why),
            true => self.note(from, Verdict::Renamed, Some(to), why),
            false => self.note(from, Verdict::Ignored, None, &format!("{to} is set as well")),
        }
    }

    /// Leaves a value out, if there is one.
    fn leave_out(&mut self, path: &str, why: &str) {
        if values::take(&mut self.from, path).is_some() {
            self.note(path, Verdict::Ignored, None, why);
        }
    }

    /// A value that the source has.
    fn has(&self, path: &str) -> Option<&Value> {
        values::get(&self.from, path)
    }

    /// True if the source has the value `true`.
    fn is_true(&self, path: &str) -> bool {
        self.has(path) == Some(&Value::Bool(true))
    }

    /// True if the result has the value `true`.
    fn is_true_now(&self, path: &str) -> bool {
        values::get(&self.to, path) == Some(&Value::Bool(true))
    }

    /// Sets a value that the result needs, and that the source leaves to its chart's default.
    fn add(&mut self, path: &str, value: Value, verdict: Verdict, why: &str) {
        if values::get(&self.to, path).is_none() && values::put(&mut self.to, path, value) {
            self.note(path, verdict, None, why);
        }
    }

    /// Applies a table of rules to the source.
    fn apply(&mut self, rules: &[(&str, rules::Rule)]) {
        for (path, rule) in rules {
            match rule {
                rules::Rule::To(to) => self.rename(path, to),
                rules::Rule::Without(why) => self.leave_out(path, why),
            }
        }
    }

    /// Copies the values that our chart's schema knows by the same name, and reports all others.
    fn rest(&mut self, schema: &Schema) {
        let rest = std::mem::replace(&mut self.from, Value::Map(Vec::new()));
        for (path, value, fits) in schema.sort(&rest) {
            let key = path.join(".");
            match fits {
                Ok(()) if values::put_at(&mut self.to, &path, value) => {
                    self.note(&key, Verdict::Honoured, None, "");
                }
                Ok(()) => {
                    self.note(&key, Verdict::Ignored, None, "another value has taken this place");
                }
                Err(misfit) => self.misfit(&key, &misfit),
            }
        }
        // Values that the tables have moved may not fit the schema.
        for (path, _, fits) in schema.sort(&self.to) {
            if let Err(misfit) = fits {
                values::take_at(&mut self.to, &path);
                self.misfit(&path.join("."), &misfit);
            }
        }
    }

    fn misfit(&mut self, key: &str, misfit: &schema::Misfit) {
        match misfit {
            schema::Misfit::Null => {
                self.note(key, Verdict::Honoured, None, "null: the default holds");
            }
            schema::Misfit::Empty => {
                self.note(
                    key,
                    Verdict::Ignored,
                    None,
                    "empty, and the chart tactus has no such value",
                );
            }
            schema::Misfit::Unknown => {
                self.note(key, Verdict::Unknown, None, "the chart tactus has no such value");
            }
            schema::Misfit::Type(why) => self.note(key, Verdict::Refused, None, why),
        }
    }

    /// Removes texts that call helpers of Tempo's charts, because our chart could not be rendered with them.
    fn without_foreign_templates(&mut self) {
        for path in values::paths_of_texts(&self.to, &|text| {
            let calls = text.match_indices("include \"").map(|(at, call)| &text[at + call.len()..]);
            calls
                .into_iter()
                .any(|name| name.starts_with("tempo.") && !name.starts_with("tempo.fullname\""))
        }) {
            values::take_at(&mut self.to, &path);
            let why = "a template that calls a helper of Tempo's chart: write it anew, with tactus.selectorLabels or plain labels";
            self.note(&path.join("."), Verdict::Changed, None, why);
        }
    }
}

fn head(chart: Chart, findings: &[Finding]) -> String {
    let name = match chart {
        Chart::Tempo => "tempo",
        Chart::TempoDistributed => "tempo-distributed",
    };
    let mut head = format!(
        "# Values of the chart tactus, made by `tactusctl migrate helm-values` of values for {name}.\n"
    );
    head.push_str("# Objects begin with the name of the release and `tactus`; fullnameOverride says otherwise. Comments are not taken over.\n");
    let mut section = |title: &str, shown: &[Verdict]| {
        let mut shown =
            findings.iter().filter(|finding| shown.contains(&finding.verdict)).peekable();
        if shown.peek().is_some() {
            let _ = writeln!(head, "#\n# {title}");
        }
        for Finding { key, now, why, .. } in shown {
            let now = now.as_ref().map(|now| format!(" -> {now}")).unwrap_or_default();
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            // A key of the file could hold a line break.
            let line = format!("# - {key}{now}{why}").replace(['\n', '\r'], " ");
            let _ = writeln!(head, "{line}");
        }
    };
    section("To look at:", &[Verdict::Changed, Verdict::Unknown, Verdict::Refused]);
    section("Left out, since nothing here needs it:", &[Verdict::Ignored]);
    section("Moved:", &[Verdict::Renamed]);
    head
}

#[cfg(test)]
mod tests;
