//! The parser on what the fuzz target feeds it: mutated queries of the shared conformance data, any bytes and
//! tokens, inputs of a megabyte, and nesting without end.

use std::hint::black_box;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use tactus_traceql::{
    Hints, MAX_DEPTH, Query, RootExpr, completion, parse, parse_attribute, validate,
};

/// Every text under `query` and every text in a list of texts of the conformance data.
fn corpus() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/traceql_queries.yaml");
    let text = std::fs::read_to_string(path).expect("conformance data is beside the repository");
    let data: serde_yaml::Value = serde_yaml::from_str(&text).expect("conformance data is YAML");
    let sections = data.as_mapping().expect("sections").values();
    let cases = sections.filter_map(serde_yaml::Value::as_sequence).flatten();
    let query = |case: &serde_yaml::Value| {
        case.as_str().or_else(|| case["query"].as_str()).map(str::to_owned)
    };
    let corpus: Vec<String> = cases.filter_map(query).collect();
    assert!(corpus.len() > 500, "{} queries", corpus.len());
    corpus
}

/// No panic, an error on a line there is, and a canonical text that reads back as itself and is judged alike.
fn check(query: &str) {
    let _ = parse_attribute(query);
    let _ = completion(query, None, 100);
    let root = match parse(query) {
        Ok(root) => root,
        Err(error) => {
            assert!(error.line <= query.matches('\n').count() + 1, "{query:?}: {error}");
            assert!(error.column <= query.chars().count() + 1, "{query:?}: {error}");
            return;
        }
    };
    let canonical = root.to_string();
    let again = parse(&canonical);
    assert!(again.is_ok(), "{query:?} has canonical text {canonical:?}: {again:?}");
    let Ok(again) = again else { return };
    assert_eq!(again.to_string(), canonical, "from {query:?}");
    let class = |root: &RootExpr| validate(root).map_err(|error| error.to_string());
    assert_eq!(class(&root), class(&again), "from {query:?}");
}

/// Runs on a stack as small as a worker thread may have.
fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(test).expect("a thread");
    thread.join().expect("no panic");
}

#[derive(Debug, Clone)]
enum Mutation {
    Delete(Index, Index),
    Repeat(Index, Index),
    Insert(Index, String),
    /// Goes on with a piece of another query.
    Splice(Index, Index, Index),
}

fn token() -> impl Strategy<Value = String> {
    let tokens = vec![
        "{",
        "}",
        "(",
        ")",
        "|",
        "&&",
        "||",
        "&",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "^",
        "=",
        "!=",
        "=~",
        "!~",
        "<",
        "<=",
        ">",
        ">=",
        ">>",
        "<<",
        "!>>",
        "&>",
        "~",
        ",",
        ".",
        ":",
        ".a",
        "span.",
        "parent.",
        "resource.service.name",
        "span:",
        "childCount",
        "nil",
        "true",
        "0",
        "1",
        "9223372036854775808",
        "1e999",
        ".5",
        "0x1p-2",
        "1h1d",
        "300y",
        "\"",
        "`",
        "'",
        "\\",
        "//",
        "/*",
        "*/",
        "by",
        "count()",
        "rate()",
        "topk(1)",
        "with(",
        "compare({",
        "minInt",
        "é",
        "\u{a0}",
        "\u{3bc}s",
        "\0",
        "\n",
        " ",
    ];
    prop_oneof![4 => select(tokens).prop_map(str::to_owned), 1 => "\\PC{1,3}"]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), place()).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place(), place()).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (place(), token()).prop_map(|(at, token)| Mutation::Insert(at, token)),
        (place(), place(), place()).prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
    ]
}

fn mutate(query: &str, mutations: &[Mutation], corpus: &[String]) -> String {
    let mut text: Vec<char> = query.chars().collect();
    for mutation in mutations {
        let at = |index: &Index| index.index(text.len() + 1);
        let end = |at: usize, length: &Index| (at + length.index(9)).min(text.len());
        match mutation {
            Mutation::Delete(start, length) => {
                let start = at(start);
                text.drain(start..end(start, length));
            }
            Mutation::Repeat(start, length) => {
                let start = at(start);
                let piece = text[start..end(start, length)].to_vec();
                text.splice(start..start, piece);
            }
            Mutation::Insert(start, token) => {
                let start = at(start);
                text.splice(start..start, token.chars());
            }
            Mutation::Splice(start, other, from) => {
                let start = at(start);
                let other: Vec<char> = corpus[other.index(corpus.len())].chars().collect();
                text.splice(start.., other[from.index(other.len() + 1)..].iter().copied());
            }
        }
    }
    text.into_iter().collect()
}

fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(default),
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn tokens_in_any_order_do_not_panic(tokens in prop::collection::vec(token(), 0..40)) {
        check(&tokens.join(" "));
        check(&tokens.concat());
        check(&format!("{{ {} }}", tokens.join(" ")));
    }

    #[test]
    fn bytes_in_any_order_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn mutated_queries_do_not_panic_and_keep_their_canonical_text() {
    let corpus = corpus();
    let queries = corpus.clone();
    let input = (any::<Index>(), prop::collection::vec(mutation(), 0..5));
    let mut runner = proptest::test_runner::TestRunner::new(cases(6000));
    let outcome = runner.run(&input, |(query, mutations)| {
        let query: &String = query.get(&queries);
        check(&mutate(query, &mutations, &corpus));
        Ok(())
    });
    outcome.expect("every mutation passes");
}

/// Queries of many tokens of any size: before, repeated, after.
const MANY_TOKENS: &[(&str, &str, &str)] = &[
    ("", "(", ""),
    ("", "{", ""),
    ("{ ", "(", ""),
    ("{ ", "!", ".a }"),
    ("{ ", "- ", ".a = 1 }"),
    ("{ ", "!(", ".a"),
    ("{ .a", " || .a = 1", " }"),
    ("{ .a", " && .a = 1 || .b", " }"),
    ("{ .a = 1", " + 1", " }"),
    ("{ .a = .a", " + .a", " }"),
    ("{ .a = .a", " ^ .a", " }"),
    ("{ .a = 1", " = 1", " }"),
    ("{}", " | {}", ""),
    ("{}", " && {}", ""),
    ("{}", " >> {}", ""),
    ("({})", " && ({} | {})", ""),
    ("{} | by(.a)", " | by(.a)", ""),
    ("{} | select(.a", ", .a", ")"),
    ("{} | rate() by (.a", ", .a", ")"),
    ("{} | quantile_over_time(duration", ", .5", ")"),
    ("{} | count() > 1", " + count()", ""),
    ("({} | rate())", " + ({} | rate())", ""),
    ("{} | rate()", " > 1", ""),
    ("{} with(a=1", ",a=1", ")"),
    ("{}", " with(a=1)", ""),
];

/// Queries of a few tokens of any size.
const LONG_TOKENS: &[(&str, &str, &str)] = &[
    ("{ .", "a", " = 1 }"),
    ("{ .\"", "\\\"", "\" = 1 }"),
    ("{ .a = \"", "\\n", "\" }"),
    ("{ .a = `", "\n", "` }"),
    ("{ .a = ", "9", " }"),
    ("{ .a = 1.", "9", " }"),
    ("{ .a = ", "1s", " }"),
    ("{ .a =~ \"", "a*", "\" }"),
    ("{ .a =~ \"", "(", "\" }"),
    ("{ .a =~ \"x\"", " || .a =~ \"(a{50}){20}\"", " }"),
    ("", "/* */", "{}"),
    ("", "\n", "{}"),
    ("{}", "//", ""),
    ("", "é", ""),
    ("", "\0", ""),
];

fn long(pieces: &(&str, &str, &str), bytes: usize) -> String {
    let (before, repeated, after) = pieces;
    format!("{before}{}{after}", repeated.repeat(bytes / repeated.len()))
}

#[test]
fn long_queries_do_not_panic() {
    on_small_stack(|| {
        LONG_TOKENS.iter().for_each(|pieces| check(&long(pieces, 1 << 20)));
        MANY_TOKENS.iter().for_each(|pieces| check(&long(pieces, 8 << 10)));
        let _ = parse(&long(&MANY_TOKENS[0], 1 << 20));
    });
}

#[test]
fn nesting_is_accepted_up_to_the_limit_and_refused_beyond() {
    on_small_stack(|| {
        // Parentheses alone make no tree.
        let wrapped =
            |levels: usize| format!("{{ {}.a{} }}", "(".repeat(levels), ")".repeat(levels));
        assert!(parse(&wrapped(100_000)).is_ok());
        for (before, inner, after) in [("!(", ".a", ")"), ("-(", ".a", ")"), (".b = (", ".a", ")")]
        {
            let nested = |levels: usize| {
                format!("{{ {}{inner}{} }}", before.repeat(levels), after.repeat(levels))
            };
            assert!(parse(&nested(MAX_DEPTH / 2)).is_ok(), "{before}");
            check(&nested(MAX_DEPTH / 2));
            for levels in [MAX_DEPTH + 1, 2 * MAX_DEPTH, 50_000] {
                assert!(parse(&nested(levels)).is_err(), "{before} {levels}");
            }
        }
    });
}

#[test]
fn deepest_trees_are_printed_compared_and_dropped() {
    on_small_stack(|| {
        for levels in MAX_DEPTH - 10..MAX_DEPTH + 10 {
            let query = format!("{{ {}.a{} }}", "!(".repeat(levels), ")".repeat(levels));
            let Ok(root) = parse(&query) else { continue };
            assert_eq!(root.clone(), root);
            assert!(format!("{root:?}").len() > root.to_string().len());
            let Query::Search(pipeline) = root.query else { panic!("{query}") };
            drop(pipeline);
            assert_eq!(root.hints, Hints::default());
            check(&query);
        }
    });
}

/// Time the calling thread has spent on a processor, in steps of some milliseconds; elapsed time where the system
/// does not tell. A busy machine must not count.
fn thread_time(since: Instant) -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = statistics.split(' ').next().and_then(|text| text.parse().ok());
    nanos.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

/// The best of a few runs that each parse the query so often.
fn best_time(query: &str, repetitions: usize) -> Duration {
    let run = || {
        let clock = Instant::now();
        let start = thread_time(clock);
        (0..repetitions).for_each(|_| drop(black_box(parse(black_box(query)))));
        thread_time(clock).saturating_sub(start)
    };
    (0..2).map(|_| run()).min().unwrap_or_default()
}

#[test]
fn parsing_takes_time_in_proportion_to_the_query() {
    on_small_stack(|| {
        const FACTOR: usize = 16;
        for pieces in MANY_TOKENS.iter().chain(LONG_TOKENS) {
            let (short, long) = (long(pieces, 1 << 10), long(pieces, FACTOR << 10));
            // As much text in pieces: quadratic time would be 16 times that.
            let allowed = best_time(&short, FACTOR) * 4 + Duration::from_millis(20);
            let taken = best_time(&long, 1);
            assert!(taken <= allowed, "{pieces:?}: {taken:?}, allowed {allowed:?}");
        }
    });
}
