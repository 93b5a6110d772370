use super::*;
use proptest::prelude::*;

fn args(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn config(text: &str) -> Config {
    let mut config = Config::default();
    for given in parse(&args(text)).unwrap().0 {
        apply(&mut config, &given).unwrap();
    }
    config
}

#[test]
fn flags_accept_the_forms_of_go() {
    let text = "-target=all -config.file x --server.http-listen-port=80 -multitenancy.enabled";
    let config = config(text);
    assert_eq!(config.target, "all");
    assert_eq!(config.server.http_listen_port, 80);
    assert!(config.multitenancy_enabled);
    assert_eq!(scan(&args(text), "config.file").unwrap(), "x");
}

#[test]
fn last_of_repeated_flags_wins_but_lists_grow() {
    let config =
        config("-target=a -target=b -memberlist.host-port=x:1,y:2 -memberlist.host-port z:3");
    assert_eq!(config.target, "b");
    assert_eq!(config.memberlist.join_members, ["x:1", "y:2", "z:3"]);
}

#[test]
fn parsing_stops_at_the_first_positional() {
    for text in [
        "-config.verify false -target=querier",
        "-config.verify -- -target=querier",
        "x -target=querier",
    ] {
        assert_eq!(config(text).target, "all", "{text}");
    }
}

#[test]
fn bad_flags_are_refused_with_the_text_of_go() {
    for (text, message) in [
        ("-nope", "flag provided but not defined: -nope"),
        (
            "-config.flie",
            "flag provided but not defined: -config.flie (did you mean -config.file?)",
        ),
        ("--nope=1", "flag provided but not defined: -nope"),
        (
            "--query.base-path=/jaeger",
            "flag provided but not defined: -query.base-path (flags of Jaeger are not read: docs/migrating-from-jaeger.md has the key for each)",
        ),
        ("-target", "flag needs an argument: -target"),
        ("-=x", "bad flag syntax: -=x"),
        ("---x", "bad flag syntax: ---x"),
        (
            "-server.http-listen-port=x",
            "invalid value \"x\" for flag -server.http-listen-port: parse error",
        ),
        ("-shutdown-delay=x", "invalid value \"x\" for flag -shutdown-delay: parse error"),
        ("-version=maybe", "invalid boolean value \"maybe\" for -version: parse error"),
    ] {
        assert_eq!(parse(&args(text)).unwrap_err(), message, "{text}");
    }
    let args = args("-server.http-listen-port=70000");
    let given = parse(&args).unwrap();
    let error = apply(&mut Config::default(), &given.0[0]).unwrap_err();
    assert_eq!(
        error,
        "invalid value \"70000\" for flag -server.http-listen-port: value out of range"
    );
}

#[test]
fn families_of_flags_are_accepted_by_prefix() {
    let config =
        config("-ingest.kafka.topic spans -ingest.enabled -backend-scheduler.x=1 -target=querier");
    assert_eq!(config.target, "querier");
}

#[test]
fn every_flag_sets_an_existing_key() {
    for flag in FLAGS.iter().filter(|flag| matches!(flag.target, Target::Key(_))) {
        let value = match flag.kind {
            Kind::Bool => "true",
            Kind::Int => "17",
            Kind::Float => "0.5",
            Kind::Duration => "17s",
            Kind::Text | Kind::List | Kind::Unknown => "text",
        };
        let mut config = Config::default();
        apply(&mut config, &Given { flag, value: value.to_owned() }).unwrap();
        let is_default = config == Config::default();
        assert!(!is_default || flag.name == "reporting.enabled", "{} sets nothing", flag.name);
    }
}

#[test]
fn names_are_unique_and_usage_shows_defaults() {
    let mut names = std::collections::HashSet::new();
    assert!(FLAGS.iter().all(|flag| names.insert(flag.name.as_str())));
    let usage = usage();
    assert!(usage.starts_with("Usage of tactus:\n"));
    assert!(usage.contains(
        "  -server.http-listen-port int\n    \tSets server.http_listen_port. (default 3200)\n"
    ));
    assert!(usage.contains("  -target string\n    \tSets target. (default all)\n"));
    assert!(usage.contains("  -ingester.max-block-duration duration\n"));
}

proptest! {
    #[test]
    fn any_arguments_never_panic(words in prop::collection::vec("-{0,3}[a-z.=é]{0,6}|-target|-config.file", 0..6)) {
        let _ = parse(&words);
        let _ = scan(&words, "config.file");
    }
}
