//! Converts values of the chart tempo-distributed 1.x, where each service has its own processes.

use tactus_config::{Value, Verdict};

use super::rules::{COMPONENTS, DISTRIBUTED, OF_COMPONENT, Rule};
use super::single::RECEIVERS;
use super::{Move, configuration, values};

/// The chart's default retention, which differs from ours.
const RETENTION: &str = "48h";
/// The chart's default for the copies of each trace.
const COPIES: i64 = 3;

pub(super) fn convert(moved: &mut Move) {
    let mode = "each service by itself";
    moved.add("mode", Value::Text("distributed".to_owned()), Verdict::Honoured, mode);
    moved.apply(DISTRIBUTED);
    for component in COMPONENTS {
        for (key, rule) in OF_COMPONENT {
            if let Rule::Without(why) = rule {
                moved.leave_out(&format!("{component}.{key}"), why);
            }
        }
    }
    if let Some(Value::Map(entries)) = moved.has("tempo").cloned() {
        for (key, _) in entries {
            moved.rename(&format!("tempo.{key}"), &format!("tactus.{key}"));
        }
    }
    not_set(moved);
    users(moved);
    limits(moved);
    arguments(moved, "global.extraArgs");
    for component in COMPONENTS {
        arguments(moved, &format!("{component}.extraArgs"));
    }
    receivers(moved);
    minio(moved);
    moved.leave_out(
        "metricsGenerator.config.storage.path",
        "the chart keeps what was not sent on its volume",
    );
    volumes(moved, "ingester.persistence.enabled", "");
    if moved.is_true("metricsGenerator.enabled") {
        volumes(moved, "metricsGenerator.persistence.enabled", "");
    }
    let uses_memcached = moved.has("memcached.enabled") != Some(&Value::Bool(false));
    configuration::take_over(moved, "distributor");
    caches(moved, uses_memcached);
    copies(moved);
    retention(moved, RETENTION);
    bucket(moved);
}

/// Switches receivers on that only the configuration names: the ports of services depend on the values. Those of OTLP are
/// off unless somebody names them, as in the other chart.
fn receivers(moved: &mut Move) {
    for (protocol, section, _) in RECEIVERS {
        let path = format!("traces.{section}.enabled");
        if moved.has(&path).is_some() {
            continue;
        }
        let named = format!("tactus.structuredConfig.distributor.receivers.{protocol}");
        if values::get(&moved.to, &named).is_some() {
            let why = "tempo.structuredConfig names this receiver";
            moved.add(&path, Value::Bool(true), Verdict::Honoured, why);
        } else if section.starts_with("otlp.") {
            let why = "off unless switched on, as in the other chart";
            moved.add(&path, Value::Bool(false), Verdict::Honoured, why);
        }
    }
}

/// Converts values that the other chart does not copy into the configuration as they are.
fn not_set(moved: &mut Move) {
    const BYTES: &str = "distributor.config.max_attribute_bytes";
    const TRACES: &str = "distributor.config.log_received_traces";
    const SPANS: &str = "distributor.config.log_received_spans.enabled";
    if moved.has(BYTES).and_then(values::integer) == Some(0) {
        let why = "0 is not set in the other chart, and 2048 holds; ours would cut nothing";
        moved.leave_out(BYTES, why);
    }
    // Either of the two switches it on there.
    if moved.is_true(TRACES) {
        values::take(&mut moved.from, SPANS);
        if values::put(&mut moved.from, SPANS, Value::Bool(true)) {
            values::take(&mut moved.from, TRACES);
            moved.note(TRACES, Verdict::Renamed, Some(SPANS), "");
        }
    }
}

/// Leaves out the users of the gateway if they are made of other values, as in the default of the other chart.
fn users(moved: &mut Move) {
    const USERS: &str = "gateway.basicAuth.htpasswd";
    let is_made = |value: &Value| values::text(value).is_some_and(|text| text.contains(".Values"));
    if moved.has(USERS).is_some_and(is_made) {
        let why = "the chart makes it of username and password, or takes existingSecret";
        moved.leave_out(USERS, why);
    }
}

fn limits(moved: &mut Move) {
    if is_by_tenant(moved.has("overrides")) {
        moved.rename("overrides", "per_tenant_overrides");
    }
    moved.rename("global_overrides", "overrides");
}

/// Whether `overrides` are limits by tenant. They were in tempo-distributed before 1.33 and in tempo before 1.19, where
/// `global_overrides` were those of all tenants.
pub(super) fn is_by_tenant(overrides: Option<&Value>) -> bool {
    const SECTION: [&str; 4] = [
        "defaults",
        "per_tenant_override_config",
        "per_tenant_override_period",
        "user_configurable_overrides",
    ];
    match overrides {
        Some(Value::Text(_)) => true,
        Some(Value::Map(entries)) => {
            !entries.is_empty() && !entries.iter().any(|(key, _)| SECTION.contains(&key.as_str()))
        }
        _ => false,
    }
}

/// Converts arguments of processes for which our chart has values.
pub(super) fn arguments(moved: &mut Move, path: &str) {
    let Some(Value::List(all)) = moved.has(path).cloned() else { return };
    let name = |value: &Value| {
        let text = values::text(value)?.trim_start_matches('-');
        Some(text.split('=').next().unwrap_or(text).to_owned())
    };
    // A value may be an argument of its own.
    let is_flag = |value: &Value| values::text(value).is_some_and(|text| text.starts_with('-'));
    let mut kept = Vec::new();
    for argument in all {
        match name(&argument).as_deref() {
            Some("config.expand-env") => {
                values::put(&mut moved.to, "tactus.expandEnv", Value::Bool(true));
                moved.note(path, Verdict::Renamed, Some("tactus.expandEnv"), "-config.expand-env");
            }
            Some("mem-ballast-size-mbs") => {
                moved.note(
                    path,
                    Verdict::Ignored,
                    None,
                    "-mem-ballast-size-mbs is for the runtime of Go",
                );
            }
            Some(name) if is_flag(&argument) && !tactus_config::has_flag(name) => {
                let why = format!(
                    "-{name}: there is no such flag, and a process does not start with it: left out"
                );
                moved.note(path, Verdict::Refused, None, &why);
            }
            _ => kept.push(argument),
        }
    }
    values::take(&mut moved.from, path);
    if !kept.is_empty() {
        values::put(&mut moved.from, path, Value::List(kept));
    }
}

/// Converts the values of MinIO, which is a subchart there.
fn minio(moved: &mut Move) {
    if !moved.is_true("minio.enabled") {
        moved.leave_out("minio", "it is off");
        return;
    }
    for (key, default) in [("rootUser", "grafana-tempo"), ("rootPassword", "supersecret")] {
        let path = format!("minio.{key}");
        if moved.has(&path).is_none() && moved.has("minio.existingSecret").is_none() {
            let why = "what the other chart sets: choose one of your own, or minio.existingSecret";
            moved.add(&path, Value::Text(default.to_owned()), Verdict::Changed, why);
        }
    }
    let first = |moved: &Move| match moved.has("minio.buckets") {
        Some(Value::List(buckets)) => {
            buckets.first().and_then(|bucket| values::get(bucket, "name")).cloned()
        }
        _ => None,
    };
    let bucket = moved.has("storage.trace.s3.bucket").cloned().or_else(|| first(moved));
    let bucket = bucket.unwrap_or_else(|| Value::Text("tempo-traces".to_owned()));
    moved.add("minio.bucket", bucket, Verdict::Honoured, "the bucket of the other chart");
    moved.leave_out("minio.buckets", "minio.bucket is the one that there is");
    for key in ["bucket", "endpoint", "access_key", "secret_key", "insecure", "forcepathstyle"] {
        moved.leave_out(&format!("storage.trace.s3.{key}"), "minio.enabled sets it");
    }
}

/// Converts the cache that the chart runs, which is an entry of `cache.caches` there.
fn caches(moved: &mut Move, uses_memcached: bool) {
    let Some(Value::List(all)) = values::get(&moved.to, "cache.caches").cloned() else { return };
    let is_own = |cache: &Value| {
        let host = values::get(cache, "memcached.host").and_then(values::text);
        host.is_some_and(|host| {
            // Without the other chart's memcached a plain name is that of a server somewhere else.
            host.contains("include \"tempo.fullname\"")
                || (uses_memcached && host.ends_with("-memcached"))
        })
    };
    let (own, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(is_own);
    if own.is_empty() {
        return;
    }
    values::take(&mut moved.to, "cache.caches");
    if !kept.is_empty() {
        values::put(&mut moved.to, "cache.caches", Value::List(kept));
    }
    if !uses_memcached {
        let why = "the memcached of the other chart, which memcached.enabled switches off";
        moved.note("cache.caches", Verdict::Ignored, None, why);
        return;
    }
    let roles = own.iter().filter_map(|cache| match values::get(cache, "roles") {
        Some(Value::List(roles)) => Some(roles.clone()),
        _ => None,
    });
    let roles: Vec<Value> = roles.flatten().collect();
    if values::get(&moved.from, "memcached.enabled").is_none() {
        moved.add(
            "memcached.enabled",
            Value::Bool(true),
            Verdict::Honoured,
            "on unless switched off, as in the other chart",
        );
    }
    moved.add(
        "memcached.roles",
        Value::List(roles),
        Verdict::Honoured,
        "of the entry in cache.caches",
    );
    moved.note(
        "cache.caches",
        Verdict::Renamed,
        Some("memcached"),
        "the chart adds its memcached by itself",
    );
}

/// Reduces the copies of a trace to the number of ingesters, because each copy needs an ingester.
fn copies(moved: &mut Move) {
    const FACTORS: [&str; 2] = [
        "ingester.config.replication_factor",
        "ingester.config.lifecycler.ring.replication_factor",
    ];
    let number = |values: &Value, path: &str| values::get(values, path).and_then(values::integer);
    let copies = FACTORS.iter().find_map(|path| number(&moved.to, path)).unwrap_or(COPIES);
    let replicas = number(&moved.from, "ingester.replicas").unwrap_or(COPIES);
    if replicas < copies {
        for path in FACTORS {
            values::take(&mut moved.to, path);
        }
        let why = format!(
            "ingester.replicas is {replicas}: there is no room for more copies of a trace; 3 survive the loss of one"
        );
        moved.add("replicationFactor", Value::Int(replicas.into()), Verdict::Changed, &why);
    }
    if moved.is_true("ingester.autoscaling.enabled") {
        let least = number(&moved.from, "ingester.autoscaling.minReplicas").unwrap_or(1);
        let copies = copies.min(replicas);
        if least < copies {
            values::take(&mut moved.from, "ingester.autoscaling.minReplicas");
            let why = format!("no fewer than the {copies} copies of each trace");
            let path = "ingester.autoscaling.minReplicas";
            moved.add(path, Value::Int(copies.into()), Verdict::Changed, &why);
        }
    }
}

/// Sets the chart's default retention, if the values set none.
pub(super) fn retention(moved: &mut Move, hours: &str) {
    const PLACES: [&str; 2] = [
        "compactor.config.compaction.block_retention",
        "tactus.structuredConfig.compactor.compaction.block_retention",
    ];
    let is_set = PLACES.iter().any(|path| values::get(&moved.to, path).is_some())
        || values::get(&moved.to, "config").is_some()
        || moved.is_true("useExternalConfig");
    if !is_set {
        let why = "what the other chart sets; 336h is what ours leaves it at";
        moved.add(PLACES[0], Value::Text(hours.to_owned()), Verdict::Honoured, why);
    }
}

/// Notes that pods have volumes, if the values leave that to the other chart, which gives them none.
///
/// `section` is what this chart has the value below, such as `singleBinary.`
pub(super) fn volumes(moved: &mut Move, path: &str, section: &str) {
    if moved.has(path).is_none() {
        let why = "on here, off in the other chart: pods wait for a volume if there is no default StorageClass; with false, what \
                   a pod has on disk ends with it";
        moved.note(&format!("{section}{path}"), Verdict::Changed, None, why);
    }
}

/// Checks that there is a bucket that all processes can reach.
fn bucket(moved: &mut Move) {
    const PLACES: [&str; 2] =
        ["storage.trace.backend", "tactus.structuredConfig.storage.trace.backend"];
    let backend = PLACES.iter().rev().find_map(|path| {
        values::get(&moved.to, path).and_then(values::text).filter(|backend| !backend.is_empty())
    });
    let is_there = backend.is_some_and(|backend| backend != "local")
        || moved.is_true("minio.enabled")
        || moved.is_true("useExternalConfig")
        || values::get(&moved.to, "config").is_some();
    if !is_there {
        let why = "several processes need a bucket: set storage.trace.backend to s3, gcs or azure, or minio.enabled for a trial";
        moved.note(PLACES[0], Verdict::Refused, None, why);
    }
}
