//! Remote sampling: what clients are told to sample, from a file or from what they send.
#![warn(missing_docs)]
