//! Files of the operator that are read again when they change.
//!
//! - [`Reloaded`]: a value made of local files, looked at when somebody asks for it.
//! - [`WatchedFile`]: one file at a path or a URL, looked at by a task of whoever uses it.
//!
//! What is in the files is not known here.
#![warn(missing_docs)]

mod location;
mod reloaded;
mod watched;

pub use location::{Location, ReadError, read_bounded};
pub use reloaded::Reloaded;
pub use watched::{Content, WatchedFile};
