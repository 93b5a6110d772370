//! The web UI: the built files of `web/`, embedded, and a router for them.
//!
//! The files are the same for everyone and need no authentication; their data comes from the API. If Node is missing at
//! build time, a single page is embedded that says how to build the others.
//!
//! All addresses within the pages are relative to a `<base>` that follows from the depth of a page's path. So the pages
//! work below any prefix, also one that a proxy removes, without configuration.
#![warn(missing_docs)]

mod files;
mod links;

pub use files::router;
pub use links::{jaeger_folder, jaeger_links, zipkin_folder, zipkin_links};
