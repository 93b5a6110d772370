//! Files of the operator that are reloaded when they change.
//!
//! - [`Reloaded`]: a value made from local files, which are checked when somebody asks for it.
//! - [`WatchedFile`]: one file at a path or a URL, checked by a task of its user.
//!
//! This crate does not know what the files contain.
#![warn(missing_docs)]

mod location;
mod reloaded;
mod watched;

pub use location::{Location, ReadError, read_bounded};
pub use reloaded::Reloaded;
pub use watched::{Content, WatchedFile};
