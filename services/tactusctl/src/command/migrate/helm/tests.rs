use super::*;

fn of(text: &str) -> Conversion {
    convert(text, None).unwrap()
}

fn verdict(conversion: &Conversion, key: &str) -> Verdict {
    let found: Vec<_> = conversion.findings.iter().filter(|finding| finding.key == key).collect();
    assert_eq!(found.len(), 1, "{key} in {:#?}", conversion.findings);
    found[0].verdict
}

#[test]
fn nothing_disappears_silently() {
    let found = of(
        "ingester: {replicas: 3, image: {tag: x}, nothing: 1, config: {trace_idle_period: 5s, no: 1}}\n\
         gateway: {enabled: 'yes'}\nwhatever: {a: 1, b: {}}\nfullnameOverride: null\n",
    );
    for (key, expected) in [
        ("ingester.replicas", Verdict::Honoured),
        ("ingester.image", Verdict::Ignored),
        ("ingester.nothing", Verdict::Unknown),
        ("ingester.config.trace_idle_period", Verdict::Honoured),
        ("ingester.config.no", Verdict::Unknown),
        ("gateway.enabled", Verdict::Refused),
        ("whatever.a", Verdict::Unknown),
        ("whatever.b", Verdict::Ignored),
        ("storage.trace.backend", Verdict::Refused),
    ] {
        assert_eq!(verdict(&found, key), expected, "{key}");
    }
    let reported = "# - ingester.nothing: the chart tactus has no such value\n";
    assert!(found.values.contains(reported), "{}", found.values);
}

#[test]
fn chart_is_known_by_its_values() {
    let chart = |text: &str| chart_of(&read_yaml_document(text).unwrap()).0;
    assert_eq!(chart("tempo: {retention: 24h}"), Chart::Tempo);
    assert_eq!(chart("persistence: {enabled: true}"), Chart::Tempo);
    assert_eq!(
        chart("tempo: {structuredConfig: {}}\ningester: {replicas: 3}"),
        Chart::TempoDistributed
    );
}

#[test]
fn keys_of_both_charts_are_said_and_the_services_decide() {
    for (text, mode, stray, other) in [
        (
            "ingester: {replicas: 3}\ndistributor: {replicas: 2}\nserviceMonitor: {enabled: false}\n",
            "distributed",
            "serviceMonitor",
            "--chart tempo ",
        ),
        (
            "traces: {otlp: {grpc: {enabled: true}}}\nreplicas: 1\n",
            "distributed",
            "replicas",
            "--chart tempo ",
        ),
        (
            "tempo: {storage: {trace: {backend: local}}}\ntraces: {zipkin: {enabled: true}}\nservice: {type: ClusterIP}\n",
            "single",
            "traces",
            "--chart tempo-distributed ",
        ),
    ] {
        let found = of(text);
        assert!(found.values.contains(&format!("\nmode: {mode}\n")), "{}", found.values);
        let said = format!("# - {stray}: of the chart ");
        let line = found.values.lines().find(|line| line.starts_with(&said)).unwrap();
        assert!(line.contains(other), "{line}");
        let chart = if mode == "single" { Chart::Tempo } else { Chart::TempoDistributed };
        let told = convert(text, Some(chart)).unwrap().values;
        assert!(!told.contains("--chart"), "{told}");
    }
}

#[test]
fn values_of_a_chart_that_depends_on_tempo_are_those_below_its_name() {
    let found = of(
        "tempo-distributed:\n  ingester: {replicas: 6}\n  traces: {zipkin: {enabled: true}}\n  \
         storage: {trace: {backend: s3, s3: {bucket: traces}}}\n",
    );
    assert_eq!(verdict(&found, "tempo-distributed"), Verdict::Changed);
    assert_eq!(verdict(&found, "ingester.replicas"), Verdict::Honoured);
    assert!(found.values.contains("bucket: traces"), "{}", found.values);
    let found = of("tempo: {tempo: {retention: 5h}, persistence: {enabled: true}}\n");
    assert_eq!(verdict(&found, "tempo"), Verdict::Changed);
    assert!(found.values.contains("block_retention: 5h"), "{}", found.values);
    let found = of("tempo: {persistence: {size: 5Gi}}\nloki: {persistence: {size: 6Gi}}\n");
    assert_eq!(verdict(&found, "persistence.size"), Verdict::Renamed);
}

#[test]
fn what_is_beside_a_dependency_is_of_other_charts() {
    let found = of(
        "global: {domain: a}\ngrafana: {replicas: 2}\nloki:\ntempo-distributed:\n  enabled: true\n  ingester: {replicas: 6}\n",
    );
    for key in ["global", "grafana", "loki", "tempo-distributed.enabled"] {
        assert_eq!(verdict(&found, key), Verdict::Ignored, "{key}");
    }
    assert_eq!(verdict(&found, "ingester.replicas"), Verdict::Honoured);
    for text in [
        "tempo: {retention: 5h, persistence: {enabled: true}}\n",
        "tempo: {persistence: {enabled: true}}\npersistence: {size: 5Gi}\n",
        "tempo: {ingester: {trace_idle_period: 5s}, securityContext: {}}\npersistence: {size: 5Gi}\n",
        "tempo: {service: {}}\ningester: {replicas: 3}\n",
    ] {
        let values = read_yaml_document(text).unwrap();
        assert_eq!(dependency(&values), None, "{text}");
    }
}

#[test]
fn receivers_are_laid_over_those_of_the_chart() {
    let otlp = ["otlp.grpc", "otlp.http"];
    let jaeger =
        ["jaeger.grpc", "jaeger.thriftHttp", "jaeger.thriftCompact", "jaeger.thriftBinary"];
    let both = [&otlp[..], &jaeger[..]].concat();
    let with_zipkin = [&both[..], &["zipkin"][..]].concat();
    for (receivers, expected) in [
        ("{}", &both[..]),
        ("{kafka: {}}", &both[..]),
        ("{jaeger: {}}", &both[..]),
        ("{otlp: {protocols: {grpc: {max_recv_msg_size_mib: 64}}}}", &both[..]),
        ("{zipkin: null}", &with_zipkin[..]),
        ("{zipkin: {endpoint: '0.0.0.0:9411'}}", &with_zipkin[..]),
        ("{jaeger: null, otlp: {protocols: {http: null}}}", &otlp[..1]),
        ("{otlp: {protocols: null}}", &jaeger[..]),
    ] {
        let found = of(&format!("tempo: {{receivers: {receivers}}}\n"));
        let values = read_yaml_document(&found.values).unwrap().with_flags();
        let is_on = |section: &&str| {
            let path = format!("traces.{section}.enabled");
            values::get(&values, &path) == Some(&Value::Bool(true))
        };
        let on: Vec<_> = with_zipkin.iter().copied().filter(is_on).collect();
        assert_eq!(on, expected, "{receivers}");
    }
    let found = of("tempo: {receivers: {otlp: {protocols: {http: null}}}}\n");
    assert_eq!(verdict(&found, "tempo.receivers.otlp.protocols.http"), Verdict::Renamed);
}

#[test]
fn limits_of_old_values_of_the_single_binary_keep_their_meaning() {
    let found = of(
        "tempo: {metricsGenerator: {enabled: true}, global_overrides: {max_bytes_per_trace: 5}, overrides: {a: {max_bytes_per_trace: 7}}}\n",
    );
    let values = read_yaml_document(&found.values).unwrap();
    for (path, expected) in [
        ("overrides.defaults.global.max_bytes_per_trace", 5),
        ("per_tenant_overrides.a.global.max_bytes_per_trace", 7),
    ] {
        assert_eq!(values::get(&values, path).and_then(values::integer), Some(expected), "{path}");
    }
    assert_eq!(
        verdict(&found, "overrides.defaults.metrics_generator.processors"),
        Verdict::Honoured
    );
}

#[test]
fn defaults_of_the_other_chart_are_set_or_said() {
    let url = |generator: &str| {
        let found = of(&format!("tempo: {{metricsGenerator: {generator}}}\n"));
        let urls = found.values.lines().filter_map(|line| line.trim().strip_prefix("- url: "));
        urls.map(|url| url.trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(url("{enabled: true}"), ["http://prometheus.monitoring:9090/api/v1/write"]);
    assert_eq!(url("{enabled: true, remoteWriteUrl: 'http://a'}"), ["http://a"]);
    let both =
        "{enabled: true, remoteWriteUrl: 'http://a', storage: {remote_write: [{url: 'http://b'}]}}";
    assert_eq!(url(both), ["http://b"]);
    assert!(url("{enabled: false}").is_empty());
    for (text, key) in [
        ("tempo: {retention: 5h}", "singleBinary.persistence.enabled"),
        ("tempo: {retention: 5h}", "server.httpListenPort"),
        ("ingester: {replicas: 3}", "ingester.persistence.enabled"),
        ("metricsGenerator: {enabled: true}", "metricsGenerator.persistence.enabled"),
    ] {
        assert_eq!(verdict(&of(text), key), Verdict::Changed, "{text}");
    }
    let said = of("tempo: {server: {http_listen_port: 3100}}\npersistence: {enabled: false}\n");
    assert_eq!(verdict(&said, "persistence.enabled"), Verdict::Renamed);
    assert_eq!(verdict(&said, "tempo.server.http_listen_port"), Verdict::Renamed);
    assert!(said.findings.iter().all(|finding| finding.verdict != Verdict::Changed));
}

#[test]
fn paths_that_pods_do_not_have_are_left_out() {
    let found = of(
        "tempo: {structuredConfig: {metrics_generator: {storage: {path: /tmp/generator}}}, extraVolumeMounts: \
         [{name: wal, mountPath: /wal}], storage: {trace: {local: {path: /tmp/tempo}, wal: {path: /wal/a}}}}\n",
    );
    for (key, expected) in [
        ("storage.trace.local.path", Verdict::Changed),
        ("storage.trace.wal.path", Verdict::Honoured),
        ("tactus.structuredConfig.metrics_generator.storage.path", Verdict::Changed),
    ] {
        assert_eq!(verdict(&found, key), expected, "{key}");
    }
    assert!(!found.values.contains("path: /tmp"), "{}", found.values);
    let writable = "tempo: {securityContext: {readOnlyRootFilesystem: false}, storage: {trace: {local: {path: /tmp/tempo}}}}\n";
    assert!(of(writable).values.contains("path: /tmp/tempo"));
    let on_s3 = "tempo: {storage: {trace: {backend: s3, local: {path: /tmp/tempo}}}}\n";
    assert_eq!(verdict(&of(on_s3), "storage.trace.local.path"), Verdict::Honoured);
    let whole = of(
        "persistence: {enabled: true}\nconfig: |\n  storage: {trace: {backend: local, local: {path: /tmp/tempo}}}\n",
    );
    assert_eq!(verdict(&whole, "config.storage.trace.local.path"), Verdict::Changed);
}

#[test]
fn file_of_limits_is_where_the_chart_mounts_it() {
    for (path, stays) in [
        ("/conf/overrides.yaml", false),
        ("/runtime-config/overrides.yaml", true),
        ("/own/a.yaml", true),
    ] {
        let found = of(&format!(
            "global_overrides: {{per_tenant_override_config: {path}, max_bytes_per_trace: 5}}\n\
             distributor: {{extraVolumeMounts: [{{name: own, mountPath: /own/}}]}}\n"
        ));
        assert_eq!(
            found.values.contains(&format!("per_tenant_override_config: {path}")),
            stays,
            "{path}"
        );
        assert!(found.values.contains("max_bytes_per_trace: 5"), "{}", found.values);
        let expected = if stays { Verdict::Honoured } else { Verdict::Ignored };
        assert_eq!(verdict(&found, "overrides.per_tenant_override_config"), expected, "{path}");
    }
}

#[test]
fn generator_without_processors_is_said_or_has_those_of_old_charts() {
    const KEY: &str = "overrides.defaults.metrics_generator.processors";
    let said = |text: &str| {
        let found = of(text);
        found.findings.into_iter().find(|finding| finding.key == KEY).map(|finding| finding.verdict)
    };
    let single = "tempo: {metricsGenerator: {enabled: true}";
    assert_eq!(said(&format!("{single}}}\n")), Some(Verdict::Changed));
    assert_eq!(said("metricsGenerator: {enabled: true}\n"), Some(Verdict::Changed));
    assert_eq!(said("metricsGenerator: {enabled: false}\n"), None);
    let old = format!(
        "{single}, global_overrides: {{per_tenant_override_config: /conf/overrides.yaml}}}}\n"
    );
    assert_eq!(said(&old), Some(Verdict::Honoured));
    assert!(of(&old).values.contains("- service-graphs\n"));
    let tenants = format!(
        "{single}, per_tenant_overrides: {{a: {{metrics_generator_processors: [span-metrics]}}}}}}\n"
    );
    assert_eq!(said(&tenants), None);
}

#[test]
fn values_without_a_receiver_are_refused_as_the_chart_refuses_them() {
    let refused = |text: &str| {
        let is_it =
            |finding: &Finding| finding.key == "traces" && finding.verdict == Verdict::Refused;
        of(text).findings.iter().any(is_it)
    };
    assert!(refused("ingester: {replicas: 3}\n"));
    assert!(refused("tempo: {receivers: {jaeger: null, otlp: null}}\n"));
    for text in [
        "tempo: {receivers: {kafka: {}}}\n",
        "traces: {zipkin: {enabled: true}}\n",
        "tempo: {retention: 5h}\n",
        "useExternalConfig: true\n",
    ] {
        assert!(!refused(text), "{text}");
    }
}

fn is_refused(conversion: &Conversion, key: &str, flag: &str) -> bool {
    conversion.findings.iter().any(|finding| {
        finding.key == key && finding.verdict == Verdict::Refused && finding.why.starts_with(flag)
    })
}

#[test]
fn small_files_of_the_single_binary_are_known_and_unknown_flags_are_refused() {
    let chart = |text: &str| chart_of(&read_yaml_document(text).unwrap()).0;
    for text in ["serviceMonitor: {enabled: true}", "replicas: 1", "tempo: {overrides: {}}"] {
        assert_eq!(chart(text), Chart::Tempo, "{text}");
    }
    let found = of(
        "tempo: {extraArgs: {distributor.log-received-traces: true, server.http-listen-port: 3210}}\n",
    );
    assert!(found.values.contains("- \"-server.http-listen-port=3210\""), "{}", found.values);
    assert!(is_refused(&found, "singleBinary.extraArgs", "-distributor.log-received-traces"));
    let found = of("distributor: {extraArgs: [-nope.flag=1, -log.level, debug]}\n");
    assert!(is_refused(&found, "distributor.extraArgs", "-nope.flag"));
    assert!(
        !found.values.contains("- -nope.flag") && found.values.contains("- debug"),
        "{}",
        found.values
    );
}

#[test]
fn tables_lead_to_values_of_the_chart() {
    let schema = Schema::of_chart().unwrap();
    for (from, rule) in rules::SINGLE.iter().chain(rules::DISTRIBUTED) {
        let rules::Rule::To(to) = rule else { continue };
        let mut values = Value::Map(Vec::new());
        values::put(&mut values, to, Value::Null);
        let unknown = Err(schema::Misfit::Unknown);
        let sorted = schema.sort(&values);
        assert!(sorted.iter().all(|(_, _, fits)| *fits != unknown), "{from}: {to}");
    }
}

#[test]
fn file_that_is_no_mapping_is_refused() {
    for text in ["- a\n", "text", "a: [\n"] {
        assert!(convert(text, None).is_err(), "{text}");
    }
    assert!(convert("", None).is_ok());
}
