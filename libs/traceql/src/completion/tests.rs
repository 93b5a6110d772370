use super::{Completion, completion};
use crate::parse_attribute;

/// Groups as canonical texts, conditions joined by a comma; empty for unfiltered.
fn groups(query: &str) -> Vec<String> {
    groups_for(query, "span.n")
}

fn groups_for(query: &str, tag: &str) -> Vec<String> {
    let tag = parse_attribute(tag).expect("a tag");
    match completion(query, Some(&tag), 100).expect("within the limit") {
        Completion::Unfiltered => Vec::new(),
        Completion::Groups(groups) => groups
            .iter()
            .map(|group| {
                let texts: Vec<String> = group.conditions.iter().map(ToString::to_string).collect();
                let pin = group.pinned.as_ref().map(|value| format!(" -> {value}"));
                texts.join(", ") + &pin.unwrap_or_default()
            })
            .collect(),
    }
}

#[test]
fn conditions_are_collected_in_groups() {
    assert_eq!(groups("{ .a = 1 && name = `x` }"), [".a = 1, name = `x`"]);
    assert_eq!(groups("{ .a = 1 || name = `x` }"), [".a = 1", "name = `x`"]);
    assert_eq!(groups("{ (.a = 1 || .b = 2) && .c = 3 }"), [".a = 1, .c = 3", ".b = 2, .c = 3"]);
    assert_eq!(groups("{ .a = nil && 1 < .b }"), [".a = nil, 1 < .b"]);
    assert_eq!(groups("{ .a = 1 && .b && .c = .d && .e + 1 = 2 }"), [".a = 1"]);
    assert_eq!(groups("{ .a = 1 } | count() > 2"), [".a = 1"]);
    assert_eq!(groups("{ .a = 1 } | rate()"), [".a = 1"]);
}

#[test]
fn negations_are_kept_exactly() {
    assert_eq!(groups("{ !(.a = 1) }"), ["!(.a = 1)"]);
    assert_eq!(groups("{ !!(.a = 1) }"), [".a = 1"]);
    assert_eq!(groups("{ !(.a = 1 && .b = 2) }"), ["!(.a = 1)", "!(.b = 2)"]);
    assert_eq!(groups("{ !(.a = 1 || .b = 2) }"), ["!(.a = 1), !(.b = 2)"]);
}

#[test]
fn unusable_queries_are_unfiltered() {
    for query in [
        "",
        "{}",
        "{",
        "{ .a }",
        "{ .a = 1 || .b }",
        "{ .a = 1 } && { .b = 2 }",
        "count() > 1",
        "{ .a = 1 } > { }",
        "{ .a = 1 | rate()",
        "{ .a = 1 } | nonsense",
        "{ name = 1 }",
        "{ foo = 1 }",
        "{ .a = 1 .b = 2 }",
        "nonsense",
        "{ .a = \"x",
        "{ true }",
    ] {
        assert_eq!(groups(query), [""; 0], "{query}");
    }
}

#[test]
fn unfinished_filters_are_repaired() {
    for query in [
        "{ .a = 1",
        "{ .a = 1 &&",
        "{ .a = 1 && }",
        "{ .a = 1 && .b =",
        "{ .a = 1 && .b = }",
        "{ .b = && .a = 1 }",
        "{ .a = 1 && name != }",
        "{ .a = 1 && span:name =~ && }",
        "{ .a = 1 && () }",
        "{ (.a = 1 && .b = }",
        "{ .a = 1 && (.b = ) }",
        "{ .a = 1 && ((((.b >= || ",
        "{ .a = 1) }",
        "{ && .a = 1 && && }",
        "{ .a = 1 && ! }",
        "{ .a = 1 && .b = } | count() > 1",
        "{ .a = 1 && .b = && .c =~ && !.d = }",
        "{ .a = 1 && .b = (.c + ",
        "{ .a = 1 && .b > (.c + ) * 2 }",
        "{ .a = 1 && (duration - 1s) > }",
        "{ .a = 1 && (.b = 2) != && (((.c))) * 2 > }",
        "{ .b = 2 || && .a = 1 }",
    ] {
        assert_eq!(groups(query), [".a = 1"], "{query}");
    }
}

#[test]
fn alternatives_to_an_unfinished_operand_restrict_nothing() {
    for query in [
        "{ .a = 1 || .b = }",
        "{ .a = 1 || .b =",
        "{ .b = || .a = 1 }",
        "{ .a = 1 || .b = || }",
        "{ .a = 1 || }",
        "{ .a = 1 || ",
        "{ .a = 1 || (",
        "{ .a = 1 || () }",
        "{ || .a = 1 }",
        "{ (|| .a = 1) }",
        "{ .a = 1 || ! }",
        "{ .a = 1 || (.b = 2) != ",
        "{ .a = 1 || .b = || .c = 2 }",
        "{ .a = 1 || .b > && .c < }",
        "{ .a = 1 || name =~ }",
        "{ .a = 1 || span:name !~ }",
        "{ .a = 1 || .b + 1 > }",
        "{ .a = 1 || (((.b = ",
        "{ (.a = 1 || (.b = )) }",
        "{ (.a = 1 || .b = ) && (.c = 2 || .d = ) }",
        "{ .a = 1 && .c = 2 || .b = }",
        "{ .a = 1 || span.n = } | count() > 1",
    ] {
        assert_eq!(groups(query), [""; 0], "{query}");
    }
    assert_eq!(groups("{ (.a = 1 || .b = ) && .c = 2 }"), [".c = 2"]);
    assert_eq!(groups("{ .c = 2 && (.a = 1 || .b = "), [".c = 2"]);
    assert_eq!(groups("{ (span.n = 1 || span.n = ) && .c = 2 }"), [".c = 2"]);
}

#[test]
fn negation_of_an_unfinished_comparison_is_as_unknown() {
    for query in [
        "{ !(.b = ) }",
        "{ !(.b = ",
        "{ .a = 1 || !(.b = ) }",
        "{ !(.a = 1 && .b = ) }",
        "{ !(.a = 1 && ",
        "{ !(&& .a = 1) }",
    ] {
        assert_eq!(groups(query), [""; 0], "{query}");
    }
    for query in
        ["{ .a = 1 && !(.b = ) }", "{ .a = 1 && !(.b = || .c = ", "{ .a = 1 && !!(.b = ) }"]
    {
        assert_eq!(groups(query), [".a = 1"], "{query}");
    }
    assert_eq!(groups("{ !(.a = 1 || .b = ) }"), ["!(.a = 1)"]);
    assert_eq!(groups("{ !(.a = 1 || .b = "), ["!(.a = 1)"]);
    assert_eq!(groups("{ .c = 2 && !(.a = 1 && .b = "), [".c = 2"]);
}

#[test]
fn open_parentheses_are_closed_at_the_end() {
    assert_eq!(groups("{ .c = 3 && (.a = 1 || .b = 2"), [".c = 3, .a = 1", ".c = 3, .b = 2"]);
    assert_eq!(groups("{ !(.a = 1 && .b = 2"), ["!(.a = 1)", "!(.b = 2)"]);
}

#[test]
fn unfinished_filter_among_others_is_unfiltered() {
    for query in [
        "{ .a = 1 || .b = } && { .c = 2 }",
        "{ .a = 1 } >> { .b = }",
        "({ .a = 1 && .b = })",
        "{ .a = 1 } || { span.n = \"\" }",
    ] {
        assert_eq!(groups(query), [""; 0], "{query}");
    }
}

#[test]
fn empty_text_compared_with_the_requested_tag_is_unfinished() {
    for operator in ["=", "!=", "=~", "!~"] {
        for text in ["\"\"", "``"] {
            let condition = format!("span.n {operator} {text}");
            let check = |query: String, expected: &[&str]| {
                assert_eq!(groups(&query), expected, "{query}");
            };
            check(format!("{{ .a = 1 && {condition} }}"), &[".a = 1"]);
            check(format!("{{ .a = 1 && {condition}"), &[".a = 1"]);
            check(format!("{{ .a = 1 && !({condition}) }}"), &[".a = 1"]);
            check(format!("{{ .a = 1 || {condition} }}"), &[]);
            check(format!("{{ {condition} }}"), &[]);
        }
    }
    assert_eq!(groups("{ .n = `` && span.m =~ `` }"), [".n = ``, span.m =~ ``"]);
    assert_eq!(groups_for("{ name = \"\" && .a = 1 }", "span:name"), [".a = 1"]);
    let names = completion("{ span.n = `` }", None, 100).expect("within the limit");
    assert!(matches!(names, Completion::Groups(_)), "no tag's values are asked for");
}

#[test]
fn equality_with_the_requested_tag_pins_the_answer() {
    assert_eq!(groups("{ span.n = 2 && .a = 1 }"), ["span.n = 2, .a = 1 -> 2"]);
    assert_eq!(groups("{ 2 = span.n || .a = 1 }"), ["2 = span.n -> 2", ".a = 1"]);
    assert_eq!(groups("{ span.n > 1 }"), ["span.n > 1"]);
    assert_eq!(groups_for("{ span:status = error }", "status"), ["status = error -> error"]);
}

#[test]
fn too_many_groups_are_the_only_error() {
    let query = |count: usize| format!("{{ {} }}", vec![".a = 1"; count].join(" || "));
    let span = parse_attribute("span.n").expect("a tag");
    let unscoped = parse_attribute(".n").expect("a tag");
    assert!(completion(&query(100), Some(&span), 100).is_ok());
    let error = completion(&query(101), Some(&span), 100).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "maximum condition groups reached (limit: 100). Reduce the number of OR conditions in the query"
    );
    assert!(completion(&query(50), Some(&unscoped), 100).is_ok());
    assert!(completion(&query(51), Some(&unscoped), 100).is_err());
    let product = format!("{{ {} }}", vec!["(.a = 1 || .b = 2)"; 40].join(" && "));
    assert!(completion(&product, None, 100).is_err());
    let unfinished = format!("{{ {} || .b = }}", vec![".a = 1"; 100].join(" || "));
    assert_eq!(completion(&unfinished, Some(&span), 100), Ok(Completion::Unfiltered));
}

#[test]
fn long_conjunctions_take_linear_time_and_bounded_memory() {
    let many = vec![".a = 1"; 20_000].join(" && ");
    let found = completion(&format!("{{ {many} }}"), None, 100).expect("one group");
    let Completion::Groups(groups) = found else { panic!("no filter") };
    assert_eq!((groups.len(), groups[0].conditions.len()), (1, 20_000));
    let nested = format!("{{ {}.a = 1{} }}", "(.a = 1 && ".repeat(400), ")".repeat(400));
    assert!(completion(&nested, None, 100).is_ok());
    let some = vec![".b = 2"; 100].join(" || ");
    assert!(completion(&format!("{{ ({some}) && {many} }}"), None, 100).is_err());
    assert!(completion(&format!("{{ {many} && ({some}) }}"), None, 100).is_err());
}

#[test]
fn parentheses_around_alternatives_do_not_copy_their_conditions_again() {
    let (levels, more) = (400, 500);
    let some = vec![".b = 2"; 90].join(" || ");
    let inner = format!("({some}) && {}", vec![".c = 3"; more].join(" && "));
    let query =
        |outer: &str| format!("{{ {}({inner}){} }}", outer.repeat(levels), ")".repeat(levels));
    let began = std::time::Instant::now();
    let found = completion(&query(".a = 1 && ("), None, 100).expect("90 groups");
    let Completion::Groups(groups) = found else { panic!("no filter") };
    assert_eq!((groups.len(), groups[89].conditions.len()), (90, levels + 1 + more));
    let texts: Vec<_> = [levels - 1, levels, levels + 1]
        .map(|place| groups[0].conditions[place].to_string())
        .into();
    assert_eq!(texts, [".a = 1", ".b = 2", ".c = 3"]);
    assert!(began.elapsed().as_secs() < 5);
    let twice = query(".a = 1 && .a = 1 && (");
    assert!(completion(&twice, None, 100).is_err(), "all copies together are limited");
}

#[test]
fn repair_of_long_garbage_takes_linear_time() {
    for part in ["(", ")", "&& ", "|| ", "( ) ", ".a = ", "! ", "(.a) > "] {
        let query = format!("{{ {}", part.repeat(50_000));
        assert_eq!(groups(&query), [""; 0]);
    }
}
