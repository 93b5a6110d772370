//! Converts values of Tempo's charts to values of our chart.
//!
//! A value is known from one of three sources: the schema of our chart, the conversion of configuration keys (`tactus_config`),
//! or the tables of `rules` for values with another name or no meaning. Unknown values are reported and left out.

mod configuration;
mod distributed;
mod object;
mod origin;
mod rules;
mod schema;
mod single;
mod start;
mod templates;
mod values;

use std::fmt::Write as _;

use tactus_config::{Finding, Value, Verdict, to_yaml_document};

use crate::arguments::Chart;
use origin::{chart_of, chart_of_section, dependency, name_of};
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

/// Converts a values file. Errors: not YAML, no mapping, objects of Kubernetes of which not exactly one has values.
pub(super) fn convert(text: &str, chart: Option<Chart>) -> Result<Conversion, String> {
    let given = object::open(text)?;
    let chart = chart.or(given.chart);
    let mut moved = Move { from: given.values, to: Value::Map(Vec::new()), findings: Vec::new() };
    for (key, why) in given.notes {
        moved.note(&key, Verdict::Changed, None, &why);
    }
    let section = dependency(&moved.from, chart);
    if let Some(section) = section {
        moved.enter(section);
    }
    let (chart, stray) = match (chart, section) {
        (Some(chart), _) => (chart, None),
        (None, Some(name)) if name == name_of(Chart::TempoDistributed) => {
            (Chart::TempoDistributed, None)
        }
        (None, Some(_)) => chart_of_section(&moved.from),
        (None, None) => chart_of(&moved.from),
    };
    // Before 1.19 the chart tempo had limits under these names, and its generator had processors without being told.
    let had_processors = chart == Chart::Tempo
        && (moved.has("tempo.global_overrides").is_some()
            || distributed::is_by_tenant(moved.has("tempo.overrides")));
    templates::gossip(&mut moved);
    match chart {
        Chart::Tempo => single::convert(&mut moved),
        Chart::TempoDistributed => distributed::convert(&mut moved),
    }
    moved.rest(&Schema::of_chart()?);
    templates::without_foreign(&mut moved);
    templates::note(&mut moved);
    start::check(&mut moved, had_processors);
    if let Some(stray) = stray {
        let other = match chart {
            Chart::Tempo => Chart::TempoDistributed,
            Chart::TempoDistributed => Chart::Tempo,
        };
        let (name, other) = (name_of(chart), name_of(other));
        let why = format!(
            "of the chart {other}, others are of {name}: --chart {other} if the file is for that one"
        );
        moved.note(stray, Verdict::Changed, None, &why);
    }
    let Move { to, mut findings, .. } = moved;
    findings.sort_by(|one, other| one.key.cmp(&other.key));
    let values = head(chart, &findings) + &to_yaml_document(&to);
    Ok(Conversion { findings, values })
}

impl Move {
    /// Goes on with the values of a dependency, and notes what is beside them.
    fn enter(&mut self, name: &str) {
        let Some(section) = values::take(&mut self.from, name) else { return };
        if let Value::Map(others) = std::mem::replace(&mut self.from, section) {
            let why = "for other charts: it stays beside the dependency";
            for (key, _) in others {
                self.note(&key, Verdict::Ignored, None, why);
            }
        }
        if values::take(&mut self.from, "enabled").is_some() {
            let why = "the condition of the dependency";
            self.note(&format!("{name}.enabled"), Verdict::Ignored, None, why);
        }
        let why = "values of a chart that depends on this one: keys are named from here on, and the result belongs \
                   below the name of the dependency on tactus";
        self.note(name, Verdict::Changed, None, why);
    }

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
}

fn head(chart: Chart, findings: &[Finding]) -> String {
    let name = name_of(chart);
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
