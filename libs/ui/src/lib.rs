//! The pages of Tactus: built files of `web/`, embedded, and a router for them.
//!
//! The files are the same for everyone and need no authentication; what they show comes from the API. Without Node at
//! build time one page is embedded, which says how to build the others.
//!
//! All addresses within the pages are relative to a `<base>` that follows from how deep the path of a page is. So they
//! work below any prefix, also one that a proxy takes away, and nothing has to know it.
#![warn(missing_docs)]

mod files;
mod links;

pub use files::router;
pub use links::{jaeger_folder, jaeger_links, zipkin_folder, zipkin_links};
