//! Looks for what keeps pods of the result from starting, or from doing what they are for.

use tactus_config::{Value, Verdict, read_yaml_document};

use super::rules::COMPONENTS;
use super::single::RECEIVERS;
use super::{Move, values};

/// Where the chart mounts the volume of a pod. Nothing else is writable.
const VOLUME: &str = "/var/tempo";
/// Where the chart mounts the limits by tenant.
const LIMITS: &str = "/runtime-config";

/// Keys of the configuration that name a path, and what it has to be in unless a volume of the user's is there.
const PATHS: [(&str, &str); 4] = [
    ("storage.trace.local.path", VOLUME),
    ("storage.trace.wal.path", VOLUME),
    ("metrics_generator.storage.path", VOLUME),
    ("overrides.per_tenant_override_config", LIMITS),
];

/// `had_processors`: the other chart switches processors of the metrics generator on by itself.
pub(super) fn check(moved: &mut Move, had_processors: bool) {
    let has_own = values::get(&moved.to, "config").is_some();
    if !has_own && !moved.is_true_now("useExternalConfig") {
        receivers(moved);
        processors(moved, had_processors);
    }
    paths(moved);
}

/// The chart refuses values without a receiver.
fn receivers(moved: &mut Move) {
    let is_on = |section: &str| match values::get(&moved.to, &format!("traces.{section}.enabled")) {
        Some(enabled) => *enabled == Value::Bool(true),
        None => section.starts_with("otlp."),
    };
    if !RECEIVERS.iter().any(|(_, section, _)| is_on(section)) {
        let why = "every receiver is off, and the chart tactus refuses that: switch on what clients send, such as \
                   traces.otlp.grpc.enabled";
        moved.note("traces", Verdict::Refused, None, why);
    }
}

/// A metrics generator without processors makes no metrics.
fn processors(moved: &mut Move, had_processors: bool) {
    const KEY: &str = "overrides.defaults.metrics_generator.processors";
    if !moved.is_true_now("metricsGenerator.enabled") {
        return;
    }
    let is_set = |limits: &Value| {
        let processors = values::get(limits, "metrics_generator.processors");
        matches!(processors, Some(Value::List(all)) if !all.is_empty())
    };
    let defaults = ["overrides.defaults", "tactus.structuredConfig.overrides.defaults"];
    let mut defaults = defaults.iter().filter_map(|path| values::get(&moved.to, path));
    let of_tenants = match values::get(&moved.to, "per_tenant_overrides") {
        Some(Value::Map(tenants)) => tenants.iter().any(|(_, limits)| is_set(limits)),
        _ => false,
    };
    if defaults.any(is_set) || (of_tenants && !had_processors) {
        return;
    }
    if had_processors {
        let both = ["service-graphs", "span-metrics"].map(|name| Value::Text(name.to_owned()));
        let why = "metricsGenerator.enabled switched these on in the chart tempo before 1.19";
        moved.add(KEY, Value::List(both.into()), Verdict::Honoured, why);
    } else {
        let why = "no processor is on, so metricsGenerator.enabled makes no metrics: [service-graphs, span-metrics] are usual";
        moved.note(KEY, Verdict::Changed, None, why);
    }
}

/// Leaves out paths that pods do not have, so that those of the chart hold.
fn paths(moved: &mut Move) {
    let root = values::get(&moved.to, "tactus.securityContext.readOnlyRootFilesystem");
    let is_root_writable = root == Some(&Value::Bool(false));
    let mounts = mounts(&moved.to);
    let whole = values::get(&moved.to, "config").and_then(values::text);
    let whole = whole.and_then(|text| read_yaml_document(text).ok());
    let structured = values::get(&moved.to, "tactus.structuredConfig");
    let places = [
        ("", Some(&moved.to)),
        ("tactus.structuredConfig.", structured),
        ("config.", whole.as_ref()),
    ];
    let at = |place: Option<&Value>, key: &str| -> Option<String> {
        values::get(place?, key).and_then(values::text).map(str::to_owned)
    };
    let backend = places.iter().rev().find_map(|(_, place)| at(*place, "storage.trace.backend"));
    let mut missing = Vec::new();
    for (prefix, place) in places {
        for (key, above) in PATHS {
            let Some(path) = at(place, key) else { continue };
            let is_there = path.contains("${")
                || (above == VOLUME && is_root_writable)
                || is_in(&path, above)
                || mounts.iter().any(|mount| is_in(&path, mount));
            let is_used =
                !key.contains("local.") || backend.as_deref().unwrap_or("local") == "local";
            if is_used && !is_there {
                missing.push((format!("{prefix}{key}"), above));
            }
        }
    }
    for (key, above) in missing {
        let is_left_out = values::take(&mut moved.to, &key).is_some();
        let (verdict, why) = match above {
            LIMITS if is_left_out => {
                (Verdict::Ignored, "the chart makes that file of per_tenant_overrides")
            }
            LIMITS => {
                (Verdict::Changed, "per_tenant_overrides are in /runtime-config/overrides.yaml")
            }
            _ if is_left_out => (
                Verdict::Changed,
                "pods can write below /var/tempo only, and to volumes of yours: left out, the chart has a path there",
            ),
            _ => (
                Verdict::Changed,
                "pods can write below /var/tempo only, and to volumes of yours: choose a path there",
            ),
        };
        moved.findings.retain(|finding| finding.key != key);
        moved.note(&key, verdict, None, why);
    }
}

/// Where volumes of the user's are mounted.
fn mounts(result: &Value) -> Vec<String> {
    let components = COMPONENTS.iter().chain(&["singleBinary"]);
    let lists = components.filter_map(|component| {
        match values::get(result, &format!("{component}.extraVolumeMounts")) {
            Some(Value::List(mounts)) => Some(mounts),
            _ => None,
        }
    });
    let path = |mount: &Value| values::text(values::get(mount, "mountPath")?).map(str::to_owned);
    lists.flatten().filter_map(path).collect()
}

fn is_in(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
