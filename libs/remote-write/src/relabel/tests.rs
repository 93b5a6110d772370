use super::*;

const LABELS: [(&str, &str); 4] =
    [("__name__", "calls_total"), ("env", "prod"), ("service", "Shop"), ("span_name", "GET /a")];

fn rule(action: &str, change: impl FnOnce(&mut RelabelConfig)) -> RelabelConfig {
    let mut config = RelabelConfig { action: action.to_owned(), ..RelabelConfig::default() };
    change(&mut config);
    config
}

fn sources(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The labels that the rules leave, as `name=value`, without those they do not touch; `None`: dropped.
fn changed(rules: &[RelabelConfig]) -> Option<Vec<String>> {
    let after = Relabeling::new(rules).unwrap().apply(&LABELS)?;
    let sorted = after.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(sorted, "{after:?}");
    let text = |(name, value): &(String, String)| format!("{name}={value}");
    let before = LABELS.map(|(name, value)| format!("{name}={value}"));
    Some(after.iter().map(text).filter(|label| !before.contains(label)).collect())
}

#[test]
fn replace_joins_sources_and_expands_groups() {
    let joined = rule("replace", |rule| {
        rule.source_labels = sources(&["env", "absent", "service"]);
        rule.target_label = "who".to_owned();
    });
    assert_eq!(changed(&[joined]).unwrap(), ["who=prod;;Shop"]);
    let groups = rule("Replace", |rule| {
        rule.source_labels = sources(&["span_name"]);
        rule.regex = r"(\w+) /(.*)".to_owned();
        rule.target_label = "method_${2}".to_owned();
        rule.replacement = "$1!".to_owned();
    });
    assert_eq!(changed(&[groups]).unwrap(), ["method_a=GET!"]);
}

#[test]
fn replace_with_nothing_deletes_the_target_and_without_match_leaves_it() {
    let delete = rule("replace", |rule| {
        rule.target_label = "env".to_owned();
        rule.replacement = String::new();
    });
    let after = Relabeling::new(&[delete]).unwrap().apply(&LABELS).unwrap();
    assert!(after.iter().all(|(name, _)| name != "env"));
    assert_eq!(after.len(), 3);
    let other = rule("replace", |rule| {
        rule.source_labels = sources(&["env"]);
        rule.regex = "pro".to_owned();
        rule.target_label = "env".to_owned();
        rule.replacement = "x".to_owned();
    });
    assert_eq!(changed(&[other]).unwrap(), [""; 0]);
}

#[test]
fn keep_and_drop_match_the_whole_value() {
    let of = |action: &str, regex: &str| {
        rule(action, |rule| {
            rule.source_labels = sources(&["env"]);
            rule.regex = regex.to_owned();
        })
    };
    assert!(changed(&[of("keep", "prod|test")]).is_some());
    assert!(changed(&[of("keep", "pro")]).is_none());
    assert!(changed(&[of("drop", "prod")]).is_none());
    assert!(changed(&[of("drop", "rod")]).is_some());
}

#[test]
fn keepequal_and_dropequal_compare_with_the_target() {
    let of = |action: &str, target: &str| {
        rule(action, |rule| {
            rule.source_labels = sources(&["env"]);
            rule.target_label = target.to_owned();
        })
    };
    assert!(changed(&[of("keepequal", "env")]).is_some());
    assert!(changed(&[of("keepequal", "service")]).is_none());
    assert!(changed(&[of("dropequal", "env")]).is_none());
    assert!(changed(&[of("dropequal", "service")]).is_some());
}

#[test]
fn hashmod_takes_the_last_eight_bytes_of_md5() {
    let hash = rule("hashmod", |rule| {
        rule.source_labels = sources(&["env"]);
        rule.target_label = "shard".to_owned();
        rule.modulus = 1000;
    });
    // The MD5 of "prod" is d6e4a9b6646c62fc48baa6dd6150d1f7.
    let expected = 0x48ba_a6dd_6150_d1f7_u64 % 1000;
    assert_eq!(changed(&[hash]).unwrap(), [format!("shard={expected}")]);
}

#[test]
fn labels_are_mapped_dropped_and_kept_by_name() {
    let map = rule("labelmap", |rule| {
        rule.regex = "s(.*)e".to_owned();
        rule.replacement = "x_$1".to_owned();
    });
    assert_eq!(changed(&[map]).unwrap(), ["x_ervic=Shop", "x_pan_nam=GET /a"]);
    let names = |action: &str, regex: &str| {
        let rule = rule(action, |rule| rule.regex = regex.to_owned());
        let after = Relabeling::new(&[rule]).unwrap().apply(&LABELS);
        after.map(|labels| labels.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    assert_eq!(names("labeldrop", "s.*").unwrap(), ["__name__", "env"]);
    assert_eq!(names("labelkeep", "__name__|env").unwrap(), ["__name__", "env"]);
    assert_eq!(names("labeldrop", ".*"), None);
}

#[test]
fn label_is_mapped_onto_another_and_the_last_one_wins() {
    let map = rule("labelmap", |rule| {
        rule.regex = "env|service|span_name".to_owned();
        rule.replacement = "env".to_owned();
    });
    let after = Relabeling::new(&[map]).unwrap().apply(&LABELS).unwrap();
    let labels: Vec<String> = after.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["__name__=calls_total", "env=GET /a", "service=Shop", "span_name=GET /a"]);
}

#[test]
fn label_onto_which_a_later_rule_maps_several_is_always_the_same() {
    let map = |regex: &str, replacement: &str| {
        rule("labelmap", |rule| {
            rule.regex = regex.to_owned();
            rule.replacement = replacement.to_owned();
        })
    };
    let rules = [map("(env|service|span_name)", "x_$1"), map("x_.*", "last")];
    let relabeling = Relabeling::new(&rules).unwrap();
    for _ in 0..20 {
        let after = relabeling.apply(&LABELS).unwrap();
        assert!(after.contains(&("last".to_owned(), "GET /a".to_owned())), "{after:?}");
    }
}

#[test]
fn very_many_labels_are_mapped_at_once() {
    let map = rule("labelmap", |rule| {
        rule.regex = "l(.*)".to_owned();
        rule.replacement = "x$1".to_owned();
    });
    let names: Vec<String> = (0..30_000).map(|number| format!("l{number}")).collect();
    let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    let started = std::time::Instant::now();
    let after = Relabeling::new(&[map]).unwrap().apply(&labels).unwrap();
    assert_eq!(after.len(), 60_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn case_is_changed_and_rules_build_on_each_other() {
    let case = |action: &str, target: &str| {
        rule(action, |rule| {
            rule.source_labels = sources(&["service"]);
            rule.target_label = target.to_owned();
        })
    };
    assert_eq!(
        changed(&[case("lowercase", "service"), case("uppercase", "upper")]).unwrap(),
        ["service=shop", "upper=SHOP"]
    );
}

#[test]
fn rules_without_what_their_action_needs_are_refused() {
    let error = |config: RelabelConfig| Relabeling::new(&[config]).unwrap_err().to_string();
    assert_eq!(error(rule("explode", |_| ())), "unknown relabel action \"explode\"");
    assert_eq!(
        error(rule("replace", |_| ())),
        "relabel configuration for replace action requires 'target_label' value"
    );
    assert_eq!(
        error(rule("hashmod", |rule| rule.target_label = "a".to_owned())),
        "relabel configuration for hashmod requires non-zero modulus"
    );
    assert_eq!(
        error(rule("labeldrop", |rule| rule.target_label = "a".to_owned())),
        "labeldrop action requires only 'regex', and no other fields"
    );
    let keepequal = rule("keepequal", |rule| {
        rule.target_label = "a".to_owned();
        rule.regex = "b".to_owned();
    });
    assert_eq!(
        error(keepequal),
        "keepequal action requires only 'source_labels' and `target_label`, and no other fields"
    );
    let open = rule("keep", |rule| rule.regex = "(".to_owned());
    assert!(error(open).starts_with("invalid regex \"(\": "));
}

#[test]
fn expressions_are_those_of_re2() {
    let matches = |pattern: &str, value: &str| anchored(pattern).unwrap().is_match(value);
    assert!(matches(r"\d\w\s\bx", "4b x") && matches(r"a\Bb", "ab"));
    for (pattern, value) in [(r"\d", "\u{665}"), (r"\w", "é"), (r"\s", "\u{a0}"), (r"a\B.", "aé")]
    {
        assert!(!matches(pattern, value), "{pattern} {value}");
    }
    assert!(matches(r"\Qa.b\E{", "a.b{") && !matches(r"\Qa.b\E{", "axb{"));
    assert!(matches(r"(?P<name>a)[[:digit:]]\x41\101", "a1AA") && matches("[a&&b]", "&"));
    for pattern in ["a{1001}", "(?x) a", "a)|(b", "("] {
        let rule = rule("keep", |rule| rule.regex = pattern.to_owned());
        let refused = Relabeling::new(&[rule]).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("invalid regex {pattern:?}: ")), "{refused}");
    }
}
