//! TLS of listeners and clients. Certificates are read again when their files change.
//!
//! - [`ServerTls`]: for listeners; [`ClientTls`]: for clients. Both hold rustls configurations and are cheap to share.
//! - [`connect`]: a connector for gRPC channels, with or without TLS.
//! - [`reload`]: values made from files, which are made again when the files change.
//! - [`from_config`]: converts sections of the configuration to the settings of this crate.
//!
//! Nothing here runs in the background: files are checked when a connection needs them, at most once in an interval, so
//! that a port without traffic costs nothing.
#![warn(missing_docs)]

mod client;
pub mod connect;
mod error;
pub mod from_config;
mod pem;
mod policy;
mod server;
#[cfg(test)]
mod testing;
mod verify;

pub use client::{ClientTls, ClientTlsSettings};
pub use error::Error;
pub use pem::Pem;
pub use policy::ProtocolPolicy;
pub use server::{ClientAuth, ServerTls, ServerTlsSettings, refusal_reason};

/// How often certificate files are checked if the configuration does not say.
pub const DEFAULT_RELOAD_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);

/// Protocols that an HTTP port offers: HTTP/2 first.
pub const ALPN_HTTP: [&str; 2] = ["h2", "http/1.1"];

/// Protocols that a gRPC port offers.
pub const ALPN_GRPC: [&str; 1] = ["h2"];

fn alpn_bytes(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}
