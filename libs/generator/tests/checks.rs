//! What the engine makes of spans, beyond the recorded scenarios: each test is one rule.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "checks/bench.rs"]
mod bench;
#[path = "checks/content.rs"]
mod content;
#[path = "checks/kept.rs"]
mod kept;
#[path = "checks/lifetime.rs"]
mod lifetime;
#[path = "checks/memory.rs"]
mod memory;
#[path = "scenarios/spans.rs"]
mod spans;
