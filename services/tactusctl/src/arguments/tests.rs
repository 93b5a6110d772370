use tactus_storage::meta::{ColumnScope, DedicatedColumn};

use super::*;

#[test]
fn command_line_is_consistent() {
    definition().debug_assert();
}

#[test]
fn durations_are_those_of_the_api() {
    assert_eq!(duration("7d").unwrap().as_secs(), 604_800);
    assert_eq!(duration("1h30m").unwrap().as_secs(), 5_400);
    assert_eq!(duration("1.5h").unwrap().as_secs(), 5_400);
    for text in ["", "x", "-1h", "5"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn columns_are_read_with_their_types() {
    let Columns(found) = columns("span.db.statement, resource.n:int,event.log:blob").unwrap();
    assert_eq!(found[0], DedicatedColumn::string(ColumnScope::Span, "db.statement"));
    assert_eq!(found[1], DedicatedColumn::int(ColumnScope::Resource, "n"));
    assert!(found[2].is_blob() && found[2].scope == ColumnScope::Event);
    assert_eq!(columns(""), Ok(Columns(Vec::new())));
    assert!(columns("foo").unwrap_err().contains("span.db.statement"));
    for text in ["name", "link.x", "span.x:double", "span.x,span.x", "span."] {
        assert!(columns(text).is_err(), "{text}");
    }
}

#[test]
fn times_become_unix_seconds() {
    assert_eq!(unix_seconds("1700000000").unwrap(), "1700000000");
    assert_eq!(unix_seconds("2023-11-14T23:13:20.0+01:00").unwrap(), "1700000000");
    for text in ["", "x", "-5", "1969-12-31T00:00:00Z", "2023-11-14T22:13:20.5Z"] {
        assert!(unix_seconds(text).is_err(), "{text}");
    }
}

#[test]
fn mistake_is_answered_with_the_form_that_is_expected() {
    for (line, form) in [
        ("block t xyz", "expecting the UUID of a block"),
        ("rewrite t xyz", "expecting the UUID of a block"),
        ("query t {} --start yesterday", "expecting RFC 3339, such as 2023-"),
        ("api search {} --end 5", "--start <TIME>"),
        ("query t {} --end 1969-12-31T00:00:00Z", "expecting a time from 1970"),
        ("convert t 11111111-1111-4111-8111-111111111111 --columns foo", "span.rows:int"),
    ] {
        let words = ["tactusctl"].into_iter().chain(line.split(' '));
        let error = definition().try_get_matches_from(words).unwrap_err().to_string();
        assert!(error.contains(form), "{line}: {error}");
    }
}

#[test]
fn flags_of_the_bucket_are_in_the_help_of_commands_that_use_them() {
    let help = |words: &[&str]| {
        let mut command = definition();
        command.build();
        let found = words
            .iter()
            .fold(&mut command, |command, word| command.find_subcommand_mut(word).unwrap());
        found.render_long_help().to_string()
    };
    let of_bucket = ["--path", "--config.file", "--config.expand-env"];
    for words in [&["check"][..], &["api", "search"], &["auth", "token"], &["completion"]] {
        let help = help(words);
        assert!(help.contains("--json"), "{words:?}: {help}");
        assert!(of_bucket.iter().all(|flag| !help.contains(flag)), "{words:?}: {help}");
    }
    let blocks = help(&["blocks"]);
    assert!(of_bucket.iter().all(|flag| blocks.contains(flag)), "{blocks}");
    let migrate = help(&["migrate", "overrides"]);
    assert!(migrate.contains("--config.file") && !migrate.contains("--path"), "{migrate}");
    let line = "tactusctl --path a -c b check".split(' ');
    assert!(definition().try_get_matches_from(line).is_err());
    for line in [
        "tactusctl --path a check",
        "tactusctl api search {} --start 4 --end 5",
        "tactusctl api search {} --bearer-token-file a",
        "tactusctl check --basic-auth-file a --tls-ca b",
        "tactusctl api metrics {} --end 5",
        "tactusctl query t {} --end 5",
    ] {
        assert!(definition().try_get_matches_from(line.split(' ')).is_ok(), "{line}");
    }
}

#[test]
fn wrong_arguments_are_wrong_usage() {
    for line in [
        "tactusctl",
        "tactusctl block t not-a-uuid",
        "tactusctl --path a -c b tenants",
        "tactusctl query t {} --since 1h --start 5",
        "tactusctl verify --parallel 0",
        "tactusctl api metrics {} --limit 1",
        "tactusctl api search {} --step 1m",
        "tactusctl api search {} --bearer-token-file a --basic-auth-file b",
    ] {
        let error = definition().try_get_matches_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
