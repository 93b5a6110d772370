//! A slow, obvious TraceQL: one span at a time over plain structs, written from the language's rules.
//!
//! It shares the parser and the tree with the library, and nothing of its evaluation. Properties hold the engine
//! against it. Besides it stand the random traces and random queries that they use.

pub(crate) mod answer;
pub(crate) mod calculate;
pub(crate) mod data;
pub(crate) mod field;
pub(crate) mod pipeline;
pub(crate) mod queries;
pub(crate) mod value;
pub(crate) mod world;

#[path = "../eval/batches.rs"]
pub(crate) mod batches;

/// Cases of a property: `PROPTEST_CASES` widens the search, the default keeps a run short.
pub(crate) fn cases(default: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    proptest::test_runner::Config {
        cases: asked.unwrap_or(default),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Default::default()
    }
}
