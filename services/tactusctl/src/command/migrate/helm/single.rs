//! Converts values of the chart tempo, where one process runs everything.

use tactus_config::{Value, Verdict, read_yaml_document};

use super::rules::SINGLE;
use super::{Move, configuration, distributed, values};

/// The chart's default retention, which differs from ours.
const RETENTION: &str = "24h";

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

/// Converts receivers. They are values here, because they open ports of services.
fn receivers(moved: &mut Move) {
    const PATH: &str = "tempo.receivers";
    let given = matches!(moved.has(PATH), Some(Value::Map(entries)) if !entries.is_empty());
    // A configuration that replaces the chart's names the receivers itself.
    let whole = moved.has("config").and_then(values::text).filter(|text| !text.contains("{{"));
    let whole = whole.and_then(|text| read_yaml_document(text).ok());
    for (protocol, section, port) in RECEIVERS {
        let from = format!("{PATH}.{protocol}");
        let to = format!("traces.{section}");
        let Some(value) = values::take(&mut moved.from, &from) else {
            // The chart opens these if its values name no receiver.
            let by_default = match &whole {
                Some(config) => {
                    values::get(config, &format!("distributor.receivers.{protocol}")).is_some()
                }
                None => !given && protocol != "zipkin",
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

fn generator(moved: &mut Move) {
    const PATH: &str = "tempo.metricsGenerator";
    moved.rename(&format!("{PATH}.enabled"), "metricsGenerator.enabled");
    if let Some(url) = values::take(&mut moved.from, &format!("{PATH}.remoteWriteUrl")) {
        let to = "metricsGenerator.config.storage.remote_write";
        if moved.is_true_now("metricsGenerator.enabled") {
            values::put(&mut moved.to, to, Value::List(vec![values::map([("url", url)])]));
            moved.note(&format!("{PATH}.remoteWriteUrl"), Verdict::Renamed, Some(to), "");
        } else {
            moved.note(
                &format!("{PATH}.remoteWriteUrl"),
                Verdict::Ignored,
                None,
                "the metrics generator is off",
            );
        }
    }
    moved.leave_out(
        &format!("{PATH}.storage.path"),
        "the chart keeps what was not sent on its volume",
    );
    moved.rename(PATH, "metricsGenerator.config");
}

/// Converts keys of the section `server`, some of which are values of the chart.
fn server(moved: &mut Move) {
    for (key, to) in [
        ("http_listen_port", "server.httpListenPort"),
        ("log_level", "server.logLevel"),
        ("log_format", "server.logFormat"),
    ] {
        moved.rename(&format!("tempo.server.{key}"), to);
    }
    moved.rename("tempo.server", "server");
}
