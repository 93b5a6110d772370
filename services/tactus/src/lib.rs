//! What the server and `tactusctl` both make of a configuration. The server itself is the binary.
#![warn(missing_docs)]

pub mod bucket;
