//! The errors of the ring.

/// An error of membership.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work; the text names it.
    #[error("{0}")]
    Settings(String),
    /// The gossip port cannot be listened on.
    #[error("cannot listen for gossip on {address}")]
    Listen {
        /// `ip:port` that was tried.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operator asked to stop when the cluster cannot be joined.
    #[error("joined {reached} members of the cluster, {wanted} are needed")]
    JoinFailed {
        /// Members heard of.
        reached: usize,
        /// Members demanded.
        wanted: usize,
    },
    /// A file of the instance cannot be written.
    #[error("file {path}")]
    File {
        /// Path of the file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The gossip task ended.
    #[error("gossip stopped: {0}")]
    Stopped(String),
}

/// Result of membership.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a lookup gives no instances. The texts are those that Tempo's clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The ring has no instance that owns tokens.
    #[error("empty ring")]
    Empty,
    /// The ring has instances, and none of them takes writes.
    #[error(
        "empty ring: none of {instances} instances takes writes, {read_only} of them read-only{}",
        unhealthy_text(.unhealthy)
    )]
    NoneTakesWrites {
        /// Instances that own tokens.
        instances: usize,
        /// How many of them are read-only.
        read_only: usize,
        /// Addresses of some of those that are not live.
        unhealthy: Vec<String>,
    },
    /// A key has too few live replicas.
    #[error(
        "at least {required} live replicas required{}, could only find {found}{}",
        if *.across_zones { " across different availability zones" } else { "" },
        unhealthy_text(.unhealthy)
    )]
    TooFewReplicas {
        /// Live replicas needed.
        required: usize,
        /// Live replicas there are.
        found: usize,
        /// Whether replicas are spread over zones.
        across_zones: bool,
        /// Addresses of the replicas that are not live.
        unhealthy: Vec<String>,
    },
}

fn unhealthy_text(addresses: &[String]) -> String {
    if addresses.is_empty() {
        return String::new();
    }
    format!(" - unhealthy instances: {}", addresses.join(","))
}
