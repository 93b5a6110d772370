//! Tail sampling: policies that decide over whole traces what is kept.
#![warn(missing_docs)]
