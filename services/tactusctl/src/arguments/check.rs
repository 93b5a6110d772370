//! Arguments of `check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Headers, duration};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Go on until SIGTERM, and serve metrics
    #[arg(long)]
    pub(crate) continuous: bool,
    /// Where traces go: http:// and https:// (OTLP over HTTP), grpc:// and grpcs:// (OTLP over gRPC); several take turns
    #[arg(
        long = "push-url",
        value_name = "URL",
        env = "TACTUS_PUSH_URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:4318"
    )]
    pub(crate) push_urls: Vec<String>,
    /// Where they are asked for: the HTTP port, with its path prefix if it has one; several take turns
    #[arg(
        long = "query-url",
        value_name = "URL",
        env = "TACTUS_URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:3200"
    )]
    pub(crate) query_urls: Vec<String>,
    /// Tenants that are checked, for a server with multitenancy
    #[arg(long = "org-id", value_name = "TENANT", env = "TACTUS_ORG_ID", value_delimiter = ',')]
    pub(crate) tenants: Vec<String>,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Longest time of a request
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) once: Once,
    #[command(flatten)]
    pub(crate) continuously: Continuously,
}

/// Credentials and certificates of requests.
#[derive(Debug, Args)]
pub(crate) struct Access {
    #[command(flatten)]
    pub(crate) headers: Headers,
    /// Authorities that servers' certificates are signed by, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Certificate to show
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Do not check servers' certificates
    #[arg(long)]
    pub(crate) tls_insecure_skip_verify: bool,
}

/// Flags of a single round.
#[derive(Debug, Args)]
pub(crate) struct Once {
    /// Traces of a single round, for each tenant
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000), conflicts_with = "continuous")]
    pub(crate) traces: u64,
    /// Time in which a single round must find them
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", conflicts_with = "continuous")]
    pub(crate) within: Duration,
}

/// Flags that need `--continuous`.
#[derive(Debug, Args)]
pub(crate) struct Continuously {
    /// With --continuous: time between two traces of a tenant
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) interval: Duration,
    /// With --continuous: each fourth trace is sent in two parts, the second so much later; 0s: whole
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s")]
    pub(crate) late_after: Duration,
    /// With --continuous: ages at which each trace is looked at
    #[arg(long = "check-after", value_name = "DURATION", value_parser = duration, value_delimiter = ',', default_value = "10s,2m,30m,3h")]
    pub(crate) check_after: Vec<Duration>,
    /// With --continuous: traces of any age up to this are looked at; at most the retention of the server
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub(crate) retention: Duration,
    /// With --continuous: tells the traces of this checker from those of others on the same server; the same after a restart
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) seed: String,
    /// With --continuous: address of /metrics and /ready
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3280")]
    pub(crate) listen: String,
    /// With --continuous: debug, info, warn or error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// With --continuous: logfmt or json
    #[arg(long, value_name = "FORMAT", default_value = "logfmt")]
    pub(crate) log_format: String,
}

#[cfg(test)]
impl Check {
    /// The arguments of `check` with these flags.
    pub(crate) fn parsed(flags: &[&str]) -> Self {
        use clap::FromArgMatches as _;

        let command = Self::augment_args(clap::Command::new("check").no_binary_name(true));
        Self::from_arg_matches(&command.get_matches_from(flags)).unwrap()
    }
}
