//! Tail sampling: policies that decide over whole traces what is kept.
//!
//! [`Policies`] are compiled from the configuration once and judge batches of whole traces, column by column: a TraceQL
//! policy runs once over all traces of a batch. What a policy remembers from batch to batch (the rates that it may let
//! through) is a [`Decider`]'s; what was decided is remembered in a [`DecisionCache`], for spans that come late.
//!
//! This lib knows no clock, no storage and no place where traces wait: who calls it says how much time the traces of
//! the next batches took to arrive.
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
