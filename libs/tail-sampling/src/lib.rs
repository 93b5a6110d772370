//! Tail sampling: policies that decide on whole traces.
//!
//! [`Policies`] are compiled from the configuration once. They judge batches of whole traces, column by column: a
//! TraceQL policy runs once over all traces of a batch. A [`Decider`] holds what a policy remembers from batch to
//! batch: what is left of its rates. A [`DecisionCache`] remembers decisions for spans that arrive late.
//!
//! This crate knows no clock and no storage, and does not know where traces wait. Its caller says how long the traces
//! of the next batches took to arrive.
#![warn(missing_docs)]

mod attributes;
mod budget;
mod cache;
mod compile;
mod condition;
mod decide;
mod error;
mod evaluate;
mod facts;

#[cfg(test)]
mod tests;

pub use cache::{Decision, DecisionCache};
pub use compile::Policies;
pub use decide::{Decider, Decisions, PolicyDecisions};
pub use error::PolicyError;
pub use facts::{bytes_per_trace, spans_per_trace};
