use tactus_config::read_yaml_document;

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
        "tempo: {service: {}, structuredConfig: {}}\nstorage: {trace: {backend: s3}}\n",
        "tempo: {ingester: {replicas: 3}, traces: {}}\ndistributor: {replicas: 3}\n",
        "tempo: {retention: 5h, receivers: {}, ingester: {resources: {}}}\n",
    ] {
        let values = read_yaml_document(text).unwrap();
        assert_eq!(dependency(&values, None), None, "{text}");
    }
}

#[test]
fn section_with_values_of_services_is_tempo_distributed_by_another_name() {
    const BESIDE: &str = "grafana: {enabled: true}\nmimir: {enabled: true}\n";
    const SERVICES: &str = "ingester: {replicas: 3}, traces: {otlp: {grpc: {enabled: true}}}, \
        storage: {trace: {backend: s3, s3: {bucket: traces}}}";
    let retention = "compactor: {config: {compaction: {block_retention: 720h}}}";
    let structured =
        "tempo: {structuredConfig: {compactor: {compaction: {block_retention: 720h}}}}";
    for within in [retention, structured] {
        let text = format!("{BESIDE}tempo: {{enabled: true, {SERVICES}, {within}}}\n");
        for chart in [None, Some(Chart::TempoDistributed)] {
            let found = convert(&text, chart).unwrap();
            assert_eq!(verdict(&found, "tempo"), Verdict::Changed);
            assert_eq!(verdict(&found, "mimir"), Verdict::Ignored);
            assert_eq!(verdict(&found, "ingester.replicas"), Verdict::Honoured);
            for line in ["mode: distributed", "block_retention: 720h", "bucket: traces"] {
                assert!(found.values.contains(line), "{line} in {}", found.values);
            }
        }
    }
}

#[test]
fn chart_that_is_given_decides_within_a_section_too() {
    let text = "loki: {}\ntempo: {storage: {trace: {backend: gcs, gcs: {bucket_name: a}}}, global_overrides: {}}\n";
    let found = convert(text, Some(Chart::TempoDistributed)).unwrap();
    assert!(found.values.contains("mode: distributed"), "{}", found.values);
    assert_eq!(verdict(&found, "storage.trace.backend"), Verdict::Honoured);
    let text = "tempo: {tempo: {retention: 5h}, ingester: {replicas: 3}}\n";
    let found = convert(text, Some(Chart::Tempo)).unwrap();
    assert!(found.values.contains("block_retention: 5h"), "{}", found.values);
    let text = "tempo: {retention: 5h}\ntempo-distributed: {ingester: {replicas: 3}}\n";
    let found = convert(text, Some(Chart::Tempo)).unwrap();
    assert!(found.values.contains("block_retention: 5h"), "{}", found.values);
    let found = of(
        "tempo: {tempo: {structuredConfig: {}}, storage: {trace: {backend: gcs, gcs: {bucket_name: a}}}}\n",
    );
    assert_eq!(verdict(&found, "storage.trace.backend"), Verdict::Honoured);
    // Only one section is entered: this one is of the chart itself.
    let text =
        "tempo-distributed: {tempo: {tempo: 1, structuredConfig: {}}, ingester: {replicas: 3}}\n";
    assert_eq!(verdict(&of(text), "ingester.replicas"), Verdict::Honoured);
}

#[test]
fn templates_that_are_not_rendered_here_are_left_out_or_said() {
    let found = of(
        "memberlist: {cluster_label: '{{ .Release.Name }}.{{ .Release.Namespace }}', bind_port: 7946}\n\
         storage: {trace: {backend: s3, s3: {bucket: '{{ .Release.Namespace }}-traces'}}}\n\
         metricsGenerator: {config: {storage: {remote_write: [{url: 'http://mimir.{{ .Release.Namespace }}'}]}}}\n\
         ingester: {config: {max_block_bytes: '{{ .Values.size }}'}}\n\
         tempo: {structuredConfig: {memberlist: {join_members: ['{{ include \"tempo.fullname\" . }}-gossip-ring']}}}\n\
         cache: {caches: [{memcached: {addresses: '{{ .Release.Name }}-cache:11211'}, roles: [bloom]}]}\n",
    );
    for (key, expected) in [
        ("memberlist.cluster_label", Verdict::Ignored),
        ("memberlist.bind_port", Verdict::Honoured),
        ("tempo.structuredConfig.memberlist.join_members", Verdict::Ignored),
        ("storage.trace.s3.bucket", Verdict::Changed),
        ("metricsGenerator.config.storage.remote_write.0.url", Verdict::Changed),
        ("ingester.config.max_block_bytes", Verdict::Refused),
    ] {
        assert_eq!(verdict(&found, key), expected, "{key}");
    }
    let said = found.findings.iter().filter(|finding| finding.why == templates::WHY);
    assert_eq!(said.count(), 3, "{}", found.values);
    assert!(
        !found.values.contains("-gossip-ring") && !found.values.contains(".Release.Name }}.{{")
    );
    assert!(found.values.contains("{{ .Release.Name }}-cache:11211"), "{}", found.values);
}

#[test]
fn values_that_the_other_chart_takes_as_not_set_are_not_set() {
    let found = of("distributor: {config: {max_attribute_bytes: 0}}\n");
    assert_eq!(verdict(&found, "distributor.config.max_attribute_bytes"), Verdict::Ignored);
    assert!(!found.values.contains("\n    max_attribute_bytes:"), "{}", found.values);
    let found =
        of("tempo: {structuredConfig: {distributor: {max_attribute_bytes: 0}}}\ntraces: {}\n");
    assert!(found.values.contains("  max_attribute_bytes: 0\n"), "{}", found.values);
    for (traces, spans, expected) in
        [(true, false, true), (true, true, true), (false, true, true), (false, false, false)]
    {
        let found = of(&format!(
            "distributor: {{config: {{log_received_traces: {traces}, log_received_spans: {{enabled: {spans}}}}}}}\n"
        ));
        let values = read_yaml_document(&found.values).unwrap();
        let path = "distributor.config.log_received_spans.enabled";
        assert_eq!(values::get(&values, path), Some(&Value::Bool(expected)), "{traces} {spans}");
    }
}

#[test]
fn values_are_taken_out_of_objects_of_kubernetes() {
    const RELEASE: &str = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n  chart: {spec: {chart: tempo}}\n";
    const APPLICATION: &str = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n";
    let values = "values: {tempo: {retention: 5h}}";
    let repository = "apiVersion: a/v1\nkind: OCIRepository\nspec: {}\n---\n";
    for (text, key) in [
        (format!("{RELEASE}  {values}\n"), "spec.values"),
        (format!("{repository}{RELEASE}  {values}\n"), "spec.values"),
        (
            "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nspec:\n  chart: grafana/tempo\n  \
             valuesContent: |\n    tempo: {retention: 5h}\n"
                .to_owned(),
            "spec.valuesContent",
        ),
        (
            format!(
                "{APPLICATION}  source: {{chart: tempo, helm: {{valuesObject: {{tempo: {{retention: 5h}}}}}}}}\n"
            ),
            "spec.source.helm.valuesObject",
        ),
        (
            format!(
                "{APPLICATION}  source:\n    helm:\n      valuesObject: {{}}\n      values: |\n        tempo: {{retention: 5h}}\n"
            ),
            "spec.source.helm.values",
        ),
        (
            format!(
                "{APPLICATION}  sources: [{{chart: loki, helm: {{values: 'a: 1'}}}}, {{chart: tempo, helm: {{{values}}}}}]\n"
            ),
            "spec.sources.1.helm.values",
        ),
    ] {
        let found = of(&text);
        assert_eq!(verdict(&found, key), Verdict::Changed, "{text}");
        assert!(found.values.contains("block_retention: 5h"), "{}", found.values);
        assert!(found.values.contains("mode: single"), "{}", found.values);
    }
    // The object names the chart where its values do not.
    let release = RELEASE.replace("chart: tempo", "chart: grafana/tempo");
    let found =
        of(&format!("{release}  values: {{}}\n  valuesFrom: [{{kind: Secret, name: a}}]\n"));
    assert!(found.values.contains("mode: single"), "{}", found.values);
    assert_eq!(verdict(&found, "spec.valuesFrom"), Verdict::Changed);
}

#[test]
fn objects_of_kubernetes_without_values_are_refused_with_what_to_pass() {
    for (text, said) in [
        ("apiVersion: v1\nkind: ConfigMap\ndata: {}\n", "the kind ConfigMap"),
        (
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec: {}\n",
            "without spec.values",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec: {source: {}}\n",
            "helm.valuesObject",
        ),
        (
            "apiVersion: a/v1\nkind: HelmRelease\nspec: {values: [a]}\n",
            "spec.values: a values file is a mapping",
        ),
        (
            "apiVersion: a/v1\nkind: HelmRelease\n---\napiVersion: a/v1\nkind: HelmRelease\n",
            "2 objects",
        ),
    ] {
        let error = convert(text, None).unwrap_err();
        assert!(error.contains(said), "{error}");
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
