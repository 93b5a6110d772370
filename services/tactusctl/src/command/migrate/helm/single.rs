//! Converts values of the chart tempo, where one process runs everything.

use tactus_config::{Value, Verdict, read_yaml_document};

use super::rules::SINGLE;
use super::{Move, configuration, distributed, values};

/// The chart's default retention, which differs from ours.
const RETENTION: &str = "24h";
/// Where the chart's metrics generator sends to by default.
const REMOTE_WRITE: &str = "http://prometheus.monitoring:9090/api/v1/write";

/// Receivers of the configuration, by their values, with the port that the chart opens.
pub(super) const RECEIVERS: [(&str, &str, &str); 7] = [
    ("otlp.protocols.grpc", "otlp.grpc", "4317"),
    ("otlp.protocols.http", "otlp.http", "4318"),
    ("jaeger.protocols.grpc", "jaeger.grpc", "14250"),
    ("jaeger.protocols.thrift_http", "jaeger.thriftHttp", "14268"),
    ("jaeger.protocols.thrift_compact", "jaeger.thriftCompact", "6831"),
    ("jaeger.protocols.thrift_binary", "jaeger.thriftBinary", "6832"),
    ("zipkin", "zipkin", "9411"),
];

pub(super) fn convert(moved: &mut Move) {
    mode(moved);
    arguments(moved);
    receivers(moved);
    generator(moved);
    server(moved);
    distributed::volumes(moved, "persistence.enabled", "singleBinary.");
    if moved.is_true("persistence.enableStatefulSetAutoDeletePVC") {
        let policy = values::map([
            ("enabled", Value::Bool(true)),
            ("whenDeleted", Value::Text("Delete".to_owned())),
            ("whenScaled", Value::Text("Delete".to_owned())),
        ]);
        let to = "singleBinary.persistentVolumeClaimRetentionPolicy";
        moved.add(to, policy, Verdict::Honoured, "volumes go with the StatefulSet");
    }
    moved.leave_out(
        "persistence.enableStatefulSetAutoDeletePVC",
        "singleBinary.persistentVolumeClaimRetentionPolicy",
    );
    moved.rename("tempo.retention", "compactor.config.compaction.block_retention");
    if distributed::is_by_tenant(moved.has("tempo.overrides")) {
        moved.rename("tempo.overrides", "per_tenant_overrides");
    }
    for old in ["tempo.global_overrides", "tempo.overrides"] {
        let file = format!("{old}.per_tenant_override_config");
        moved.leave_out(&file, "per_tenant_overrides become that file");
        moved.rename(old, "overrides");
    }
    moved.rename("tempo.storage", "storage");
    moved.apply(SINGLE);
    configuration::take_over(moved, "all");
    distributed::retention(moved, RETENTION);
}

fn mode(moved: &mut Move) {
    let replicas = moved.has("replicas").and_then(values::integer).unwrap_or(1);
    if replicas <= 1 {
        moved.leave_out("replicas", "one process");
        moved.add("mode", Value::Text("single".to_owned()), Verdict::Honoured, "one process");
        return;
    }
    moved.rename("replicas", "singleBinary.replicas");
    let why = "several processes are a cluster, which needs a bucket: storage.trace.backend";
    moved.add("mode", Value::Text("clustered".to_owned()), Verdict::Changed, why);
    if replicas < 3 {
        let why = format!("{replicas} processes hold no more copies of a trace");
        moved.add("replicationFactor", Value::Int(replicas.into()), Verdict::Changed, &why);
    }
}

/// Converts arguments, which are a map there.
fn arguments(moved: &mut Move) {
    const PATH: &str = "tempo.extraArgs";
    let Some(Value::Map(entries)) = moved.has(PATH).cloned() else {
        moved.rename(PATH, "singleBinary.extraArgs");
        return;
    };
    values::take(&mut moved.from, PATH);
    let argument = |(name, value): &(String, Value)| {
        let value = match value {
            Value::Text(text) | Value::Verbatim(text) => format!("={text}"),
            Value::Bool(flag) => format!("={flag}"),
            Value::Int(number) => format!("={number}"),
            Value::Float(number) => format!("={number}"),
            _ => String::new(),
        };
        Value::Text(format!("-{name}{value}"))
    };
    let list = Value::List(entries.iter().map(argument).collect());
    if !entries.is_empty() {
        values::put(&mut moved.from, "singleBinary.extraArgs", list);
        moved.note(PATH, Verdict::Renamed, Some("singleBinary.extraArgs"), "");
        distributed::arguments(moved, "singleBinary.extraArgs");
    }
}

/// A configuration that replaces the chart's.
fn whole(moved: &Move) -> Option<Value> {
    let text = moved.has("config").and_then(values::text).filter(|text| !text.contains("{{"))?;
    read_yaml_document(text).ok()
}

/// Converts receivers. They are values here, because they open ports of services.
///
/// Helm lays those of the file over those of the chart, which has all but Zipkin's. Null takes out what the chart has.
fn receivers(moved: &mut Move) {
    const PATH: &str = "tempo.receivers";
    let whole = whole(moved);
    let given = moved.has(PATH).cloned().unwrap_or(Value::Null);
    for (protocol, section, port) in RECEIVERS {
        let from = format!("{PATH}.{protocol}");
        let to = format!("traces.{section}");
        let is_of_chart = whole.is_none() && protocol != "zipkin";
        let null = null_above(&given, protocol).filter(|_| is_of_chart);
        if let Some(null) = null {
            let null = format!("{PATH}.{null}");
            values::take(&mut moved.from, &null);
            let why = "null takes it out of the receivers that the other chart has";
            moved.note(&null, Verdict::Renamed, Some(&format!("{to}.enabled")), why);
        }
        let Some(value) = values::take(&mut moved.from, &from) else {
            let by_default = match &whole {
                // It names the receivers itself.
                Some(config) => {
                    values::get(config, &format!("distributor.receivers.{protocol}")).is_some()
                }
                None => is_of_chart && null.is_none(),
            };
            moved.add(
                &format!("{to}.enabled"),
                Value::Bool(by_default),
                Verdict::Honoured,
                "as in the other chart",
            );
            continue;
        };
        let mut settings = match value {
            Value::Map(_) => value,
            _ => Value::Map(Vec::new()),
        };
        let endpoint = values::take(&mut settings, "endpoint");
        let own_port =
            endpoint.as_ref().and_then(values::text).and_then(|at| at.rsplit(':').next());
        values::put(&mut moved.to, &format!("{to}.enabled"), Value::Bool(true));
        if let Some(own) = own_port.filter(|own| *own != port && own.parse::<u16>().is_ok()) {
            values::put(&mut moved.to, &format!("{to}.port"), Value::Verbatim(own.to_owned()));
        }
        if !matches!(&settings, Value::Map(entries) if entries.is_empty()) {
            values::put(&mut moved.to, &format!("{to}.receiverConfig"), settings);
        }
        moved.note(&from, Verdict::Renamed, Some(&to), "");
    }
    moved.leave_out(
        &format!("{PATH}.opencensus"),
        "there is no OpenCensus receiver; collectors have one",
    );
}

/// The null at a path or above it.
fn null_above<'a>(values: &Value, path: &'a str) -> Option<&'a str> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path[..end]).find(|path| values::get(values, path) == Some(&Value::Null))
}

fn generator(moved: &mut Move) {
    const PATH: &str = "tempo.metricsGenerator";
    const TO: &str = "metricsGenerator.config.storage.remote_write";
    let (list, url) = (format!("{PATH}.storage.remote_write"), format!("{PATH}.remoteWriteUrl"));
    moved.rename(&format!("{PATH}.enabled"), "metricsGenerator.enabled");
    let is_on = moved.is_true_now("metricsGenerator.enabled");
    let has_list = matches!(moved.has(&list), Some(Value::List(all)) if !all.is_empty());
    if !has_list {
        // The chart takes the URL in place of an empty one.
        values::take(&mut moved.from, &list);
    }
    let send_to = |address| Value::List(vec![values::map([("url", address)])]);
    match values::take(&mut moved.from, &url) {
        Some(address) if is_on && !has_list => {
            values::put(&mut moved.to, TO, send_to(address));
            moved.note(&url, Verdict::Renamed, Some(TO), "");
        }
        Some(_) => {
            let why =
                if is_on { "storage.remote_write is set" } else { "the metrics generator is off" };
            moved.note(&url, Verdict::Ignored, None, why);
        }
        None if is_on && !has_list && whole(moved).is_none() => {
            let why = "where the other chart sends to unless told otherwise";
            moved.add(TO, send_to(Value::Text(REMOTE_WRITE.to_owned())), Verdict::Honoured, why);
        }
        None => {}
    }
    moved.leave_out(
        &format!("{PATH}.storage.path"),
        "the chart keeps what was not sent on its volume",
    );
    moved.rename(PATH, "metricsGenerator.config");
}

/// Converts keys of the section `server`, some of which are values of the chart.
fn server(moved: &mut Move) {
    if moved.has("tempo.server.http_listen_port").is_none() && whole(moved).is_none() {
        let why = "3200; the chart tempo before 1.21.1 had 3100: set it if something asks there";
        moved.note("server.httpListenPort", Verdict::Changed, None, why);
    }
    for (key, to) in [
        ("http_listen_port", "server.httpListenPort"),
        ("log_level", "server.logLevel"),
        ("log_format", "server.logFormat"),
    ] {
        moved.rename(&format!("tempo.server.{key}"), to);
    }
    moved.rename("tempo.server", "server");
}
