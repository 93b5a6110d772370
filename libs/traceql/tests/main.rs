//! Every test of the language from outside, as one program: what they share is compiled and linked once.

mod conformance;
#[path = "eval/eval.rs"]
mod eval;
mod metrics_conformance;
mod metrics_random;
mod parser_arbitrary;
mod properties;
mod search_random;
mod service_graph;
#[path = "slow/slow.rs"]
mod slow;
#[path = "slow_metrics/slow_metrics.rs"]
#[expect(clippy::panic, reason = "a failed step is a failed test")]
mod slow_metrics;
