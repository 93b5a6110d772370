//! Evaluation on whole batches: the shared conformance data, and random filters against a slow evaluator.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod conformance;
pub(crate) mod dataset;
mod random;
mod reference;
mod semantics;

use crate::slow::batches;
