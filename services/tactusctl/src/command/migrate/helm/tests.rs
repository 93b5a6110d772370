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
    let chart = |text: &str| chart_of(&read_yaml_document(text).unwrap());
    assert_eq!(chart("tempo: {retention: 24h}"), Chart::Tempo);
    assert_eq!(chart("persistence: {enabled: true}"), Chart::Tempo);
    assert_eq!(
        chart("tempo: {structuredConfig: {}}\ningester: {replicas: 3}"),
        Chart::TempoDistributed
    );
}

fn is_refused(conversion: &Conversion, key: &str, flag: &str) -> bool {
    conversion.findings.iter().any(|finding| {
        finding.key == key && finding.verdict == Verdict::Refused && finding.why.starts_with(flag)
    })
}

#[test]
fn small_files_of_the_single_binary_are_known_and_unknown_flags_are_refused() {
    let chart = |text: &str| chart_of(&read_yaml_document(text).unwrap());
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
