//! Converts the values that are sections of the configuration, in the same way as a configuration file.

use tactus_config::{
    Config, Finding, Migration, Value, Verdict, from_yaml, migrate_config, migrate_overrides,
    read_yaml_document, to_yaml_document,
};

use super::{Move, templates, values};

/// Sections of the configuration by the values that have them.
const SECTIONS: [(&str, &str); 11] = [
    ("distributor.config", "distributor"),
    ("ingester.config", "ingester"),
    ("querier.config", "querier"),
    ("queryFrontend.config", "query_frontend"),
    ("compactor.config", "compactor"),
    ("metricsGenerator.config", "metrics_generator"),
    ("storage.trace", "storage.trace"),
    ("server", "server"),
    ("memberlist", "memberlist"),
    ("overrides", "overrides"),
    ("cache", "cache"),
];

/// Values within these sections that the chart itself reads.
const OF_THE_CHART: [&str; 6] = [
    "ingester.config.replication_factor",
    "distributor.config.cost_attribution",
    "storage.trace.block.dedicated_columns",
    "server.httpListenPort",
    "server.logLevel",
    "server.logFormat",
];

const STRUCTURED: &str = "tactus.structuredConfig";
const BY_TENANT: &str = "per_tenant_overrides";

/// Converts all sections. `target` is the target of a process of the chart.
pub(super) fn take_over(moved: &mut Move, target: &str) {
    for path in OF_THE_CHART {
        moved.rename(path, path);
    }
    let mut sections = Value::Map(Vec::new());
    for (path, section) in SECTIONS {
        // Rules may have moved some of the values already.
        let of_the_chart: Vec<_> = OF_THE_CHART
            .iter()
            .filter_map(|path| Some((path, values::take(&mut moved.to, path)?)))
            .collect();
        for side in [&mut moved.from, &mut moved.to] {
            if matches!(values::get(side, path), Some(Value::Map(_)))
                && let Some(value) = values::take(side, path)
            {
                values::put(&mut sections, section, value);
            }
        }
        for (path, value) in of_the_chart {
            values::put(&mut moved.to, path, value);
        }
    }
    let by_values = |key: &str| {
        let section = SECTIONS.iter().find(|(_, section)| is_at(key, section));
        section.map(|(path, section)| format!("{path}{}", &key[section.len()..]))
    };
    let text = to_yaml_document(&sections);
    let mut defaults = Config::default();
    if let Some(mut result) = of_file(moved, &text, target, &sections, &|key| {
        by_values(key).unwrap_or_else(|| format!("{STRUCTURED}.{key}"))
    }) {
        defaults = from_yaml(&to_yaml_document(&result)).unwrap_or_default();
        for (path, section) in SECTIONS {
            if let Some(value) = values::take(&mut result, section) {
                values::put(&mut moved.to, path, value);
            }
        }
        if !matches!(&result, Value::Map(entries) if entries.is_empty()) {
            values::put(&mut moved.to, STRUCTURED, result);
        }
    }
    for side in [true, false] {
        let from = if side { &mut moved.from } else { &mut moved.to };
        if matches!(values::get(from, STRUCTURED), Some(Value::Map(_)))
            && let Some(structured) = values::take(from, STRUCTURED)
        {
            let text = to_yaml_document(&structured);
            let key = |key: &str| format!("{STRUCTURED}.{key}");
            if let Some(result) = of_file(moved, &text, target, &structured, &key) {
                values::put(&mut moved.to, STRUCTURED, result);
            }
        }
    }
    whole(moved, target);
    tenants(moved, &defaults);
}

fn is_at(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Converts `config`, which replaces the configuration that the chart makes.
fn whole(moved: &mut Move, target: &str) {
    let Some(text) = values::take(&mut moved.from, "config") else { return };
    let Some(text) = values::text(&text).filter(|text| !text.is_empty()) else { return };
    if templates::is_template(text) {
        let why = "a template over the values of the other chart: set what it adds in tactus.structuredConfig";
        moved.note("config", Verdict::Changed, None, why);
        return;
    }
    match migrate_config(text, Some(target), None) {
        Ok(Migration { findings, document: Some(document), .. }) => {
            let keyed = |finding| named(finding, &|key| format!("config.{key}"));
            moved.findings.extend(findings.into_iter().filter(is_of_file).map(keyed));
            values::put(&mut moved.to, "config", Value::Text(document));
        }
        Ok(_) => {}
        Err(error) => moved.note("config", Verdict::Refused, None, &error.to_string()),
    }
}

/// Converts the limits by tenant, which are a map or the text of the file.
fn tenants(moved: &mut Move, defaults: &Config) {
    let taken = values::take(&mut moved.from, BY_TENANT);
    let Some(value) = taken.or_else(|| values::take(&mut moved.to, BY_TENANT)) else { return };
    let text = match &value {
        Value::Map(entries) if entries.is_empty() => return,
        Value::Map(_) => to_yaml_document(&values::map([("overrides", value.clone())])),
        Value::Text(text) if text.trim().is_empty() => return,
        Value::Text(text) => text.clone(),
        _ => return,
    };
    match migrate_overrides(&text, defaults, None) {
        Ok(Migration { findings, document, .. }) => {
            let keyed = |key: &str| key.replacen("overrides", BY_TENANT, 1);
            moved.findings.extend(findings.into_iter().map(|finding| named(finding, &keyed)));
            let result = document.and_then(|document| read_yaml_document(&document).ok());
            if let Some(tenants) = result.and_then(|mut file| values::take(&mut file, "overrides"))
            {
                values::put(&mut moved.to, BY_TENANT, tenants);
            }
        }
        Err(error) => moved.note(BY_TENANT, Verdict::Refused, None, &error.to_string()),
    }
}

/// Converts one file, and notes its findings.
fn of_file(
    moved: &mut Move,
    text: &str,
    target: &str,
    source: &Value,
    key: &dyn Fn(&str) -> String,
) -> Option<Value> {
    let migration = match migrate_config(text, Some(target), None) {
        Ok(migration) => migration,
        Err(error) => {
            moved.note(&key(""), Verdict::Refused, None, &error.to_string());
            return None;
        }
    };
    let mut result = read_yaml_document(&migration.document?).ok()?;
    if result == Value::Null {
        result = Value::Map(Vec::new());
    }
    for mut finding in migration.findings.into_iter().filter(is_of_file) {
        let value = values::get(source, &finding.key);
        let written = value.and_then(values::text).unwrap_or_default();
        if finding.verdict == Verdict::Refused && templates::is_template(written) {
            templates::WHY.clone_into(&mut finding.why);
        }
        // Only the process knows the value of a variable.
        let is_variable = written.contains("${");
        if finding.verdict == Verdict::Refused
            && is_variable
            && let Some(value) = value
            && values::put(&mut result, &finding.key, value.clone())
        {
            finding.verdict = Verdict::Honoured;
            "a variable".clone_into(&mut finding.why);
        }
        moved.findings.push(named(finding, key));
    }
    Some(result)
}

/// False for a finding about a key that is not in the file, such as receivers. The chart sets these.
fn is_of_file(finding: &Finding) -> bool {
    finding.line.is_some()
}

fn named(finding: Finding, key: &dyn Fn(&str) -> String) -> Finding {
    Finding { key: key(&finding.key), line: None, now: finding.now.as_deref().map(key), ..finding }
}
