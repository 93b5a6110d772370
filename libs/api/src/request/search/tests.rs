use std::time::Duration;

use super::*;

const LIMITS: SearchLimits = SearchLimits {
    default_limit: 20,
    max_limit: 262_144,
    default_spans_per_span_set: 3,
    max_spans_per_span_set: 100,
    max_query_bytes: 131_072,
};

fn parse(query: &str) -> Result<SearchQuery> {
    SearchQuery::parse(&QueryParams::parse(query), &LIMITS)
}

fn error(query: &str) -> String {
    parse(query).unwrap_err().to_string()
}

fn tag_search(query: &str) -> TagConditions {
    match parse(query).unwrap().kind {
        SearchKind::Tags(tags) => tags,
        SearchKind::TraceQl { text, .. } => panic!("TraceQL search {text}"),
    }
}

#[test]
fn defaults_are_filled_in() {
    let query = parse("q={}").unwrap();
    assert_eq!((query.limit, query.spans_per_span_set), (20, 3));
    assert_eq!(query.range, RequestedRange::default());
    assert!(matches!(query.kind, SearchKind::TraceQl { text, .. } if text == "{}"));
}

#[test]
fn tags_have_the_bound_of_a_query() {
    let tags = |bytes: usize| format!("tags=k%3D{}", "x".repeat(bytes));
    assert_eq!(tag_search(&tags(131_071)).tags.len(), 1);
    let said = error(&tags(131_072));
    assert!(said.starts_with("tags exceed the configured maximum size of 131072 bytes"), "{said}");
    let said = error(&format!("k.v={}", "x".repeat(131_072)));
    assert!(said.contains("query_frontend.max_query_expression_size_bytes"), "{said}");
}

#[test]
fn limits_are_checked() {
    assert_eq!(error("q={}&limit=0"), "invalid limit: must be a positive number");
    assert_eq!(error("q={}&limit=-3"), "invalid limit: must be a positive number");
    assert_eq!(error("q={}&limit=262145"), "limit 262145 exceeds max limit 262144");
    assert_eq!(error("q={}&limit=x"), "invalid limit: strconv.Atoi: parsing \"x\": invalid syntax");
    assert_eq!(error("q={}&spss=101"), "spans per span set exceeds 100. received 101");
    assert_eq!(error("q={}&spss=-1"), "invalid spss: must be a non-negative number");
    assert_eq!(parse("q={}&spss=0").unwrap().spans_per_span_set, 100);
    assert_eq!(parse("q={}&spss=100&limit=262144").unwrap().limit, 262_144);
}

#[test]
fn times_are_checked() {
    assert_eq!(
        error("q={}&start=x"),
        "invalid start: strconv.ParseInt: parsing \"x\": invalid syntax"
    );
    assert_eq!(
        error("q={}&start=20&end=10"),
        "http parameter start must be before end. received start=20 end=10"
    );
    assert_eq!(
        error("q={}&start=20"),
        "http parameter start must be before end. received start=20 end=0"
    );
    let range = parse("q={}&start=1&end=2&since=1h").unwrap().range;
    assert_eq!((range.start, range.since), (NANOS_A_SECOND, Some(Duration::from_secs(3600))));
    for ignored in ["start=1", "end=1", "start=20&end=10", "start=5&end=5"] {
        let range = parse(&format!("q={{}}&since=5m&{ignored}")).unwrap().range;
        assert_eq!(range.since, Some(Duration::from_secs(300)), "{ignored}");
    }
    let refused = parse("q={}&since=1.5h").unwrap_err().to_string();
    assert!(refused.starts_with("error parsing date range: could not parse 'since' parameter: "));
}

#[test]
fn query_is_checked() {
    let text = error("q={");
    assert!(text.starts_with("invalid TraceQL query: parse error at line 1, col "), "{text}");
    assert!(error("q={name}").starts_with("invalid TraceQL query: "));
    assert_eq!(
        error(&format!("q={{name=\"{}\"}}", "x".repeat(131_072))),
        "TraceQL expression exceeds the configured maximum size of 131072 bytes, reduce the query expression size or contact your system administrator"
    );
    assert_eq!(
        error("q={}&tags=a=b"),
        "invalid request: can't specify tags and q in the same query"
    );
}

#[test]
fn tags_and_durations_are_parsed() {
    let search = tag_search("tags=a%3Db%20c%3D%22d%20e%22&minDuration=1.5s&maxDuration=2m");
    let expected = BTreeMap::from([("a".into(), "b".into()), ("c".into(), "d e".into())]);
    assert_eq!(
        search,
        TagConditions { tags: expected, min_duration_ms: 1_500, max_duration_ms: 120_000 }
    );
    assert_eq!(error("tags=a=b%20a=c"), "invalid tags: tag a has been set twice");
    assert_eq!(
        error("minDuration=10s&maxDuration=1s"),
        "invalid maxDuration: must be greater than minDuration"
    );
    assert_eq!(
        error("minDuration=600us&maxDuration=500us"),
        "invalid maxDuration: must be greater than minDuration"
    );
    assert_eq!(tag_search("tags=a=b&maxDuration=500us").max_duration_ms, 1, "not without a bound");
    assert_eq!(error("minDuration=5"), "invalid minDuration: time: missing unit in duration \"5\"");
}

#[test]
fn durations_are_checked_beside_a_query_too() {
    assert_eq!(
        error("q={}&minDuration=10s&maxDuration=1s"),
        "invalid maxDuration: must be greater than minDuration"
    );
    assert!(error("q={}&minDuration=abc").starts_with("invalid minDuration: "));
    assert!(error("q={}&maxDuration=5").starts_with("invalid maxDuration: "));
    assert!(parse("q={}&minDuration=1s&maxDuration=10s").is_ok());
}

#[test]
fn unknown_parameters_are_tags_only_without_anything_else() {
    let search = tag_search("service.name=api&limit=5");
    assert_eq!(search.tags, BTreeMap::from([("service.name".into(), "api".into())]));
    assert!(tag_search("service.name=api&start=1&end=2").tags.is_empty());
    assert_eq!(tag_search("service.name=api&tags=a=b").tags.len(), 1);
}

#[test]
fn parameters_that_are_no_tags_are_ignored() {
    let tags = |query: &str| tag_search(query).tags.into_iter().collect::<Vec<_>>();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(tags("service=api&limit=5"), [pair("service.name", "api")]);
    assert_eq!(tags("name=a&pod=b&service="), [pair("name", "a"), pair("pod", "b")]);
    for query in ["lookback=1h", "_=1700000000", "orgId=1", "sort=desc&limit=5", "mode=all"] {
        assert_eq!(tags(query), [], "{query}");
    }
}
