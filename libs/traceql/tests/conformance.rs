//! The syntax half of the shared conformance data.

use serde_yaml::Value;
use tactus_traceql::{Attribute, Error, completion, parse, parse_and_validate, parse_attribute};

fn data() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/traceql_queries.yaml");
    let text = std::fs::read_to_string(path).expect("conformance data is beside the repository");
    serde_yaml::from_str(&text).expect("conformance data is YAML")
}

fn queries(data: &Value, section: &str) -> Vec<String> {
    let list = data[section].as_sequence().expect(section);
    let queries: Vec<String> =
        list.iter().map(|query| query.as_str().expect("a query").to_owned()).collect();
    assert!(!queries.is_empty(), "{section} is empty");
    queries
}

fn field<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().expect(name)
}

/// The class of a query as the data names it.
fn class(query: &str) -> &'static str {
    match parse_and_validate(query) {
        Ok(_) => "valid",
        Err(Error::Parse(_)) => "parse_fails",
        Err(Error::Validate(error)) if error.is_unsupported() => "unsupported",
        Err(_) => "validate_fails",
    }
}

/// All failures at once, so that one run shows them.
fn check_all(cases: impl IntoIterator<Item = (String, String, String)>) {
    let failures: Vec<String> = cases
        .into_iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(query, found, expected)| {
            format!("{query}\n  found    {found}\n  expected {expected}")
        })
        .collect();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn check_class(section: &str, expected: &str) {
    check_all(queries(&data(), section).into_iter().map(|query| {
        let found = match parse_and_validate(&query) {
            Err(error) if class(&query) != expected => format!("{}: {error}", class(&query)),
            _ => class(&query).to_owned(),
        };
        (query, found, expected.to_owned())
    }));
}

#[test]
fn valid_queries_are_accepted() {
    check_class("valid", "valid");
    check_class("valid_3_0", "valid");
    check_class("valid_main", "valid");
}

#[test]
fn parse_failures_are_rejected_while_parsing() {
    check_class("parse_fails", "parse_fails");
}

#[test]
fn invalid_queries_are_rejected_after_parsing() {
    check_class("validate_fails", "validate_fails");
}

/// Rejected by other implementations, given a meaning by ours: the parent scope, and comparison
/// and arithmetic between aggregates.
fn has_meaning_here(query: &str) -> bool {
    let pipelines_of_scalars = query.starts_with("({");
    let groups = query.contains("| rate()") || query.contains("_over_time(");
    let bare_parent = ["{ parent }", "% parent =", ">= parent }", "by(parent)"];
    !pipelines_of_scalars && !groups && !bare_parent.iter().any(|text| query.contains(text))
}

#[test]
fn unsupported_queries_are_answered_where_we_give_them_a_meaning() {
    let queries = queries(&data(), "unsupported");
    assert!(queries.iter().any(|query| has_meaning_here(query)));
    check_all(queries.into_iter().map(|query| {
        let expected = if has_meaning_here(&query) { "valid" } else { "unsupported" };
        let found = class(&query).to_owned();
        (query, found, expected.to_owned())
    }));
}

#[test]
fn version_dependent_queries_follow_our_choice() {
    let data = data();
    let cases = data["version_dependent"].as_sequence().expect("a list");
    check_all(cases.iter().map(|case| {
        let query = field(case, "query");
        (query.to_owned(), class(query).to_owned(), field(case, "tactus").to_owned())
    }));
}

#[test]
fn error_texts_are_exact() {
    let data = data();
    let cases = data["errors"].as_sequence().expect("a list");
    check_all(cases.iter().filter_map(|case| {
        let query = field(case, "query");
        if field(case, "class") == "unsupported" && has_meaning_here(query) {
            return None;
        }
        let found = match parse_and_validate(query) {
            Ok(_) => "no error".to_owned(),
            // Ours says where the pattern is.
            Err(Error::Pattern { error, .. }) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // Line 0 is an accident that we do not repeat.
        let expected = field(case, "text").replace("at line 0,", "at line 1,");
        Some((query.to_owned(), found, expected))
    }));
}

#[test]
fn canonical_texts_are_exact() {
    let data = data();
    let cases = data["canonical"].as_sequence().expect("a list");
    check_all(cases.iter().map(|case| {
        let query = field(case, "query");
        let found = parse(query).map_or_else(|error| error.to_string(), |root| root.to_string());
        (query.to_owned(), found, field(case, "text").to_owned())
    }));
}

#[test]
fn canonical_text_reads_back_as_itself() {
    let data = data();
    let sections =
        ["valid", "valid_3_0", "valid_main", "validate_fails", "unsupported", "eval", "metrics"];
    for section in sections {
        for case in data[section].as_sequence().expect("a list") {
            let query = case.as_str().unwrap_or_else(|| field(case, "query"));
            let Ok(root) = parse(query) else { continue };
            let canonical = root.to_string();
            let again = parse(&canonical).map(|root| root.to_string());
            assert_eq!(again.as_ref(), Ok(&canonical), "from {query}");
        }
    }
}

#[test]
fn evaluation_cases_are_valid() {
    let data = data();
    for section in ["eval", "metrics"] {
        for case in data[section].as_sequence().expect("a list") {
            let query = field(case, "query");
            assert_eq!(class(query), "valid", "{query}");
            let metrics = parse(query).expect("valid").metrics().is_some();
            assert_eq!(metrics, section == "metrics", "{query}");
        }
    }
}

#[test]
fn completion_cases_use_the_filter_or_nothing() {
    use tactus_traceql::Completion::{Groups, Unfiltered};
    let data = data();
    for case in data["tag_values"].as_sequence().expect("a list") {
        let tag: Attribute = parse_attribute(field(case, "tag")).expect("a tag");
        let query = field(case, "query");
        let unfiltered = query == "{}" || query.contains("&& {") || query.contains("| rate()");
        match completion(query, Some(&tag), 100).expect("within the limit") {
            Unfiltered => assert!(unfiltered, "{query}"),
            Groups(groups) => {
                assert!(!unfiltered, "{query}");
                assert_eq!(groups.len(), if query.contains("||") { 2 } else { 1 }, "{query}");
            }
        }
    }
}
