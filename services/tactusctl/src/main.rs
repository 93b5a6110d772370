//! `tactusctl`: inspects and repairs a bucket, and queries a running server.
//!
//! Each subcommand has a file below `command`, or shares it with a similar one, as `convert` and `rewrite`. A command
//! makes a value that can be written as JSON, and hands it to `output` together with the table that people see. A
//! command changes a bucket only if its name or a flag says so, and a repair never deletes data.

mod answers;
mod arguments;
mod bucket;
mod building;
mod check;
mod client;
mod command;
mod credentials;
mod error;
mod offline;
mod output;
mod progress;
#[cfg(test)]
mod testing;

use std::io::Write as _;
use std::process::ExitCode;

use tactus_telemetry::{error_text, flush_log};

use arguments::Arguments;
use error::{Error, Result};

/// Exit code: `verify` found damage that it did not repair, `check` did not find what it wrote, or `migrate` found keys that
/// somebody must look at.
const EXIT_DAMAGE: u8 = 3;
/// Exit code: `migrate` found keys with which Tactus does not start.
const EXIT_REFUSED: u8 = 4;

/// The result of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing wrong.
    Fine,
    /// Blocks that are damaged, traces that are missing, or keys that somebody must look at.
    Damage,
    /// Keys with which Tactus does not start.
    Refused,
}

fn main() -> ExitCode {
    let outcome = run(Arguments::of_process());
    flush_log();
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Damage) => ExitCode::from(EXIT_DAMAGE),
        Ok(Outcome::Refused) => ExitCode::from(EXIT_REFUSED),
        Err(error) => {
            let text = output::format::clean_lines(&error_text(&error));
            // If this fails, the error cannot be reported anywhere.
            let _ = writeln!(std::io::stderr(), "tactusctl: {text}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<Outcome> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(Error::Setup("a TLS provider is installed already".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Setup(format!("start worker threads: {error}")))?;
    runtime.block_on(command::run(arguments))
}
