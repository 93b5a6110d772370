use crate::{Error, parse_and_validate};

fn error(query: &str) -> String {
    match parse_and_validate(query) {
        Ok(root) => panic!("{root} is valid"),
        Err(Error::Parse(error)) => panic!("{query}: {error}"),
        Err(Error::Validate(error) | Error::Pattern { error, .. }) => error.to_string(),
    }
}

#[test]
fn messages_show_the_canonical_text_of_the_failing_part() {
    let cases = [
        ("{ .a - 1 }", "span filter field expressions must resolve to a boolean: { .a - 1 }"),
        ("{ .a && name && .b }", "illegal operation for the given types: .a && name"),
        (
            "{ .a && .b && 1 && .c }",
            "binary operations must operate on the same type: (.a && .b) && 1",
        ),
        ("{ !.a * 2 = 2 }", "illegal operation for the given type: !(.a * 2)"),
        ("{ .a =~ \"(?=x)\" }", "invalid regex: `(?=x)`"),
        (
            "{ nil = instrumentation:name }",
            "instrumentation:name=nil is not valid because intrinsics cannot be nil",
        ),
        ("max(1h + 2h) > 1", "aggregate field expressions must reference the span: max(1.08e+13)"),
        ("3 = 2", "scalar filter lhs of type (%v) not yet supported"),
        ("({} | count()) > -1", "scalar filter lhs of type (%v) not yet supported"),
        ("select(.a, parent)", "intrinsic (parent) not yet supported"),
        (
            "{} | compare({status=error}, 1001)",
            "compare() top number of values must be an integer between 1 and 1000",
        ),
        (
            "({} | compare({status=error})) * 2",
            "`compare()` cannot be used with second stage functions",
        ),
        (
            "{} | avg_over_time(duration) by (.a,.b,.c,.d,.e)",
            "metrics group by 5 values not yet supported",
        ),
        ("{} | quantile_over_time(duration, 99)", "quantile must be between 0 and 1: 99"),
    ];
    for (query, expected) in cases {
        assert_eq!(error(query), expected, "{query}");
    }
}

#[test]
fn additions_of_the_language_are_valid() {
    for query in [
        "{ parent.x = 1 && parent.span.x = parent.resource.x }",
        "{ parent = nil }",
        "{ parent != nil && kind = server }",
        "{} | by(parent.name) | select(parent.span.x) | max(parent.x) > 1",
        "{} | max_over_time(parent.x) by (parent.resource.service.name)",
        "max(duration) - min(duration) > 2s",
        "count() * 2 > 6",
        "count() = sum(.x)",
        "{ .a =~ .b }",
        "{ 1 / 0 = 1 }",
        "{ resource.service.name != nil && name != nil }",
    ] {
        parse_and_validate(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[test]
fn regex_bombs_in_numbers_are_refused_quickly() {
    let bombs = |count| format!("{{ {} }}", vec![".a =~ `\\pL{10}`"; count].join(" || "));
    parse_and_validate(&bombs(30)).expect("few of them fit");
    let refused = error(&bombs(2000));
    let expected = "regex is one too many: the programs of all patterns of a query may have";
    assert!(refused.starts_with(expected), "{refused}");
    let plain = format!("{{ {} }}", vec![".a =~ `GET /[a-z]+/\\d+.*`"; 5000].join(" || "));
    parse_and_validate(&plain).expect("ordinary patterns always fit");
}

#[test]
fn query_of_endless_stages_or_of_a_huge_pattern_is_refused() {
    let query = |stages: usize| format!("{{ }}{}", " | coalesce()".repeat(stages));
    assert!(crate::parse_and_validate(&query(99)).is_ok());
    let refused = crate::parse_and_validate(&query(100)).unwrap_err();
    assert_eq!(refused.to_string(), "the query has more than 100 pipeline stages");
    let ranks = |count| {
        parse_and_validate(&format!("{{}} | rate() by (name){}", " | topk(5)".repeat(count)))
    };
    assert!(ranks(99).is_ok());
    assert_eq!(ranks(100).unwrap_err().to_string(), "the query has more than 100 pipeline stages");
    let row = vec!["{ .a = 1 }"; 100].join(" && ");
    let grid = |rows: usize| vec![format!("({row})"); rows].join(" || ");
    assert!(parse_and_validate(&grid(10)).is_ok());
    let refused = parse_and_validate(&grid(11)).unwrap_err();
    assert_eq!(refused.to_string(), "the query has more than 1000 filters in braces");
    let sums = |aggregates: usize| {
        let half = vec!["count()"; aggregates / 2].join(" + ");
        parse_and_validate(&format!("{{ }} | {half} > 0 | {half} > 0"))
    };
    assert!(sums(100).is_ok());
    assert_eq!(sums(102).unwrap_err().to_string(), "the query has more than 100 aggregates");
    let refused = parse_and_validate("{ .a =~ `\\pL{1000}` }").unwrap_err();
    let expected = "regex is too large: its program needs more than 1048576 bytes: `\\pL{1000}`";
    assert!(refused.to_string().ends_with(expected), "{refused}");
}

#[test]
fn pattern_that_is_refused_is_named_with_its_place() {
    for (query, expected) in [
        ("{ .a = `(` && .b =~ `x` &&\n  .é !~ `(` }", "line 2, col 9: invalid regex: `(`"),
        ("{ } >> { name =~ \"a\\\\\" }", "line 1, col 18: invalid regex: `a\\`"),
        ("{ } | rate() by (.a) | topk(0)", "limit must be greater than 0"),
        (
            "{ } | compare({ .a =~ `(a{100}){50}` })",
            "line 1, col 23: invalid regex: it repeats something 5000 times by nested repetitions (limit: 1000): `(a{100}){50}`",
        ),
    ] {
        let error = parse_and_validate(query).expect_err(query);
        let expected = match &error {
            Error::Pattern { .. } => format!("parse error at {expected}"),
            _ => expected.to_owned(),
        };
        assert!(error.to_string().starts_with(&expected), "{query}: {error}");
    }
}
