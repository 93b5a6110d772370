//! What the processes of all services share: start, ports, the ring, readiness, stop.
#![warn(missing_docs)]

mod announce;
mod banner;
pub mod blocks;
pub mod bucket;
mod cluster;
mod listeners;
pub mod memory;
mod operational;
mod part;
mod polling;
mod port;
mod preflight;
mod process;
mod program;
mod run;
mod runtime_metrics;
pub mod settings;

pub use announce::Announcer;
pub use cluster::{Cluster, Place};
pub use part::{AddGrpc, Part, ReadyCheck};
pub use port::{PlannedPort, Port, ShownAddresses, address_of};
pub use process::{Mark, Process, Store};
pub use program::{Build, Check, PlanPorts, Program};
pub use run::main;
pub use settings::CheckLimits;

/// Product version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, named in the text.
    #[error("{0}")]
    Setup(String),
    /// A port.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// The bucket.
    #[error("object storage")]
    Storage(#[from] tactus_storage::Error),
    /// The cluster.
    #[error("cluster")]
    Cluster(#[from] tactus_ring::Error),
    /// Files of authentication.
    #[error(transparent)]
    Auth(#[from] tactus_server::auth::AuthError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] tactus_tls::Error),
    /// Limits of tenants.
    #[error(transparent)]
    Overrides(#[from] tactus_overrides::Error),
    /// A part of the process.
    #[error("{part}")]
    Part {
        /// Its name.
        part: &'static str,
        /// What went wrong there.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
