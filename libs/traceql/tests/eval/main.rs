//! Evaluation on whole batches: the shared conformance data, and random filters against a slow evaluator.

mod batches;
mod big;
mod conformance;
mod dataset;
mod random;
mod reference;
mod semantics;
