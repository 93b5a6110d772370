//! Arguments of `migrate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// The kinds of files of Grafana Tempo.
#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Say what becomes of each key of a configuration; exit code 3 if there is something to look at, 4 if Tactus does not
    /// start with it
    Config {
        #[command(flatten)]
        file: File,
        /// The process's -target, where a flag gives it
        #[arg(long, value_name = "TARGET")]
        target: Option<String>,
    },
    /// The same for a file with limits by tenant; -c names the configuration that it goes with
    Overrides {
        #[command(flatten)]
        file: File,
    },
    /// Make values of the chart helm/tactus of those of the charts tempo-distributed and tempo
    HelmValues {
        #[command(flatten)]
        file: File,
        /// The chart that the values are for; found by their keys if not given
        #[arg(long)]
        chart: Option<Chart>,
    },
}

/// A file to migrate.
#[derive(Debug, Args)]
pub(crate) struct File {
    pub(crate) file: PathBuf,
    /// Write the file as Tactus takes it
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// A variable to expand, beside those of the environment; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// How to say it; json is the same as --json
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Form,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Text,
    Json,
}

/// A chart of Tempo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chart {
    /// One process
    Tempo,
    /// Each service by itself
    TempoDistributed,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE".to_owned()),
    }
}
