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
    assert!(refused("tempo: {receivers: {kafka: {}}}\n"));
    for text in [
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
