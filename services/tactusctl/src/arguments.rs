//! The command line.

pub(crate) mod check;
mod migrate;
mod values;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use tactus_storage::Uuid;
use tactus_storage::meta::BlockVersion;

pub(crate) use migrate::{Chart, File, Form, Migrate};
pub(crate) use values::Columns;
use values::{block_id, columns, duration, duration_text, unix_seconds, written_version};

/// Inspect, verify, repair and query the trace blocks of a bucket; ask a running server.
#[derive(Debug, Parser)]
#[command(name = "tactusctl", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The arguments of this process. If they are invalid, the process ends with code 2 and shows the usage.
    pub(crate) fn of_process() -> Self {
        let matches = definition().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Flags that some commands do not need. They are accepted by all commands, but hidden in the help of these.
const UNUSED: [(&str, &[&str]); 5] = [
    ("api", &["config", "expand_env", "path"]),
    ("auth", &["config", "expand_env", "path"]),
    ("check", &["config", "expand_env", "path"]),
    ("completion", &["config", "expand_env", "path"]),
    ("migrate", &["path"]),
];

/// The commands with their arguments.
pub(crate) fn definition() -> clap::Command {
    let all = Arguments::command().mut_subcommand("api", |api| {
        // A server wants both ends of a search, and nobody knows how far back the begin should be.
        api.mut_subcommand("search", |search| search.mut_arg("end", |end| end.requires("start")))
    });
    let flags: Vec<_> = all.get_arguments().cloned().collect();
    UNUSED.iter().fold(all, |all, (name, unused)| {
        let of_unused = flags.iter().filter(|flag| unused.contains(&flag.get_id().as_str()));
        let hidden: Vec<_> = of_unused.map(|flag| flag.clone().hide(true)).collect();
        all.mut_subcommand(name, |command| command.args(hidden))
    })
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server's configuration: its storage.trace section names the bucket
    #[arg(short = 'c', long = "config.file", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Expand ${VARIABLES} in the configuration, as the server does with the same flag
    #[arg(long = "config.expand-env", global = true)]
    pub(crate) expand_env: bool,
    /// A local store in place of a configuration: the directory that holds the tenants
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    pub(crate) path: Option<PathBuf>,
    /// Write one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the tenants of the bucket, with their blocks and bytes
    Tenants,
    /// List the blocks of a tenant, newest first
    Blocks(Blocks),
    /// Show one block: its meta, files, row groups and the sizes of its columns
    Block(Block),
    /// Check blocks; exit code 3 if something is damaged and stays so
    Verify(Verify),
    /// Show a trace from the bucket, without a server
    Trace(Trace),
    /// Run TraceQL on the bucket, without a server: a search, or metrics
    Query(Query),
    /// Find the attributes that deserve a dedicated column
    #[command(alias = "analyze")]
    Analyse(Analyse),
    /// Write a block anew in another version, or with other dedicated columns
    Convert(Convert),
    /// Merge blocks into one, each span once
    Rewrite(Rewrite),
    /// Delete traces from the bucket; only says what it would do without --yes
    Delete(Delete),
    /// Remove or replace the values of an attribute; only says what it would do without --yes
    Redact(Redact),
    /// Ask a running server
    #[command(subcommand)]
    Api(Api),
    /// Write traces of known content to a running server and read them back; exit code 3 if something is missing or wrong
    Check(Box<check::Check>),
    /// Make entries for the users file (auth.users_file)
    #[command(subcommand)]
    Auth(Auth),
    /// Convert a configuration, limits per tenant or chart values from Grafana Tempo
    #[command(subcommand)]
    Migrate(Migrate),
    /// Print a completion script: `source <(tactusctl completion bash)`
    Completion {
        /// The shell it is for
        shell: Shell,
    },
}

/// Credentials of a caller.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Auth {
    /// Hash a password, which is the first line of standard input
    Hash,
    /// Make a new token, and its hash
    Token,
}

#[derive(Debug, Args)]
pub(crate) struct Blocks {
    pub(crate) tenant: String,
    /// Also show compacted blocks that are not deleted yet
    #[arg(long)]
    pub(crate) compacted: bool,
    /// Only blocks with spans that are at most this old, such as 24h or 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Block {
    pub(crate) tenant: String,
    #[arg(value_parser = block_id)]
    pub(crate) block: Uuid,
    /// Show the Parquet schema as well
    #[arg(long)]
    pub(crate) schema: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only this tenant
    pub(crate) tenant: Option<String>,
    /// Only this block
    #[arg(value_parser = block_id)]
    pub(crate) block: Option<Uuid>,
    /// Read all data as well: every trace, id, bloom filter and tree position
    #[arg(long)]
    pub(crate) deep: bool,
    /// Mend what can be mended from data.parquet; set aside what cannot be read. Deletes nothing
    #[arg(long)]
    pub(crate) repair: bool,
    /// Blocks whose data is read at a time: memory for a row group each, with --deep
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Trace {
    pub(crate) tenant: String,
    /// Up to 32 hexadecimal digits
    pub(crate) trace_id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) query: TraceQl,
    #[command(flatten)]
    pub(crate) most: Most,
    #[command(flatten)]
    pub(crate) interval: Interval,
    /// Say how the query was run
    #[arg(long)]
    pub(crate) explain: bool,
}

/// A TraceQL query with its range; times as RFC 3339 or unix seconds.
#[derive(Debug, Args)]
pub(crate) struct TraceQl {
    /// TraceQL, in quotes
    #[arg(value_name = "TRACEQL")]
    pub(crate) text: String,
    /// The last while, such as 1h or 7d
    #[arg(long, value_name = "DURATION", value_parser = duration_text, conflicts_with_all = ["start", "end"])]
    pub(crate) since: Option<String>,
    /// Begin of the range
    #[arg(long, value_name = "TIME", value_parser = unix_seconds)]
    pub(crate) start: Option<String>,
    /// End of the range
    #[arg(long, value_name = "TIME", value_parser = unix_seconds)]
    pub(crate) end: Option<String>,
}

/// Of a search.
#[derive(Debug, Args)]
pub(crate) struct Most {
    /// Traces at most, of a search
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

/// Of a metrics query.
#[derive(Debug, Args)]
pub(crate) struct Interval {
    /// Length of an interval of metrics, such as 1m
    #[arg(long, value_name = "DURATION", value_parser = duration_text)]
    pub(crate) step: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Analyse {
    pub(crate) tenant: String,
    /// Only this block; otherwise the newest blocks
    #[arg(value_parser = block_id)]
    pub(crate) block: Option<Uuid>,
    /// Newest blocks looked at
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with = "block")]
    pub(crate) blocks: usize,
    /// Row groups looked at in each block, evenly spread
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) row_groups: usize,
    /// Attributes shown of each scope
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub(crate) limit: usize,
    /// Recommend columns for this version; by default the version of the newest block
    #[arg(long = "for", value_name = "VERSION")]
    pub(crate) version: Option<BlockVersion>,
}

#[derive(Debug, Args)]
pub(crate) struct Convert {
    pub(crate) tenant: String,
    #[arg(value_parser = block_id)]
    pub(crate) block: Uuid,
    #[command(flatten)]
    pub(crate) form: BlockForm,
}

#[derive(Debug, Args)]
pub(crate) struct Rewrite {
    pub(crate) tenant: String,
    #[arg(required = true, value_parser = block_id)]
    pub(crate) blocks: Vec<Uuid>,
    #[command(flatten)]
    pub(crate) form: BlockForm,
}

/// The form of the new block. By default it has the form of the first block that it is made of.
#[derive(Debug, Args)]
pub(crate) struct BlockForm {
    /// vParquet4 or vParquet5
    #[arg(long = "to", value_name = "VERSION", value_parser = written_version)]
    pub(crate) version: Option<BlockVersion>,
    /// Dedicated columns, such as span.db.statement,span.rows:int,event.log:blob; empty for none
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    pub(crate) columns: Option<Columns>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    pub(crate) tenant: String,
    /// Ids of the traces, up to 32 hexadecimal digits each
    #[arg(long = "trace", value_name = "ID", required = true, num_args = 1..)]
    pub(crate) traces: Vec<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Redact {
    pub(crate) tenant: String,
    /// Scope and name: any, resource, scope, span, event or link, such as span.user.email
    #[arg(long, value_name = "SCOPE.NAME")]
    pub(crate) attribute: String,
    /// remove, hash, or replace=TEXT
    #[arg(long)]
    pub(crate) action: String,
    /// Only on spans that match this TraceQL
    #[arg(long, value_name = "TRACEQL")]
    pub(crate) query: Option<String>,
    /// Only on spans that start at this time or later
    #[arg(long, value_name = "TIME", value_parser = unix_seconds)]
    pub(crate) start: Option<String>,
    /// Only on spans that start before this time
    #[arg(long, value_name = "TIME", value_parser = unix_seconds)]
    pub(crate) end: Option<String>,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// Flags of every command that changes data.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why; for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    /// Who asks for it; for the record
    #[arg(long, value_name = "NAME", env = "USER", default_value = "")]
    pub(crate) requested_by: String,
}

/// Commands that ask a server.
#[derive(Debug, Subcommand)]
pub(crate) enum Api {
    /// Show a trace as a waterfall
    Trace {
        #[command(flatten)]
        server: Server,
        /// Up to 32 hexadecimal digits
        trace_id: String,
    },
    /// Search for traces
    Search {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        query: TraceQl,
        #[command(flatten)]
        most: Most,
    },
    /// Run a metrics query
    Metrics {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        query: TraceQl,
        #[command(flatten)]
        interval: Interval,
    },
}

/// The server, and the tenant and headers of requests.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address of the server's HTTP port, with its path prefix if it has one
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3200", env = "TACTUS_URL")]
    pub(crate) url: String,
    /// Tenant, for a server with multitenancy
    #[arg(long, value_name = "TENANT", env = "TACTUS_ORG_ID")]
    pub(crate) org_id: Option<String>,
    #[command(flatten)]
    pub(crate) headers: Headers,
    /// Longest time of a request
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1m")]
    pub(crate) timeout: std::time::Duration,
}

/// Further headers of requests, also with credentials.
#[derive(Debug, Default, Args)]
pub(crate) struct Headers {
    /// A further header of each request; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// File with a token for the header Authorization; read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with = "basic_auth_file")]
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// File with USER:PASSWORD for the header Authorization; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) basic_auth_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
