//! `tactusctl`: inspects and repairs a bucket, and queries a running server.
//!
//! Each subcommand is one file below `command`. A command makes a value that can be written as JSON, and hands it to
//! `output` together with the table that people see. A command changes a bucket only if its
//! name or a flag says so, and a repair never deletes data.

mod answers;
mod arguments;
mod bucket;
mod building;
mod check;
mod client;
mod command;
mod error;
mod offline;
mod output;
mod progress;

use std::io::Write as _;
use std::process::ExitCode;

use tactus_telemetry::error_text;

use arguments::Arguments;
use error::{Error, Result};

/// The exit code of a `verify` that found damage which is still there, of a `check` that did not find what it wrote, and of a
/// `migrate` with something to look at.
const EXIT_DAMAGE: u8 = 3;
/// The exit code of a `migrate` of what Tactus does not start with.
const EXIT_REFUSED: u8 = 4;

/// What a command that worked found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing wrong.
    Fine,
    /// Blocks that are damaged, traces that are missing, or keys that somebody must look at.
    Damage,
    /// Keys that stop a start.
    Refused,
}

fn main() -> ExitCode {
    match run(Arguments::of_process()) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Damage) => ExitCode::from(EXIT_DAMAGE),
        Ok(Outcome::Refused) => ExitCode::from(EXIT_REFUSED),
        // Whoever read our output has seen enough: `tactusctl … | head`.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // There is nobody left to tell if this fails.
            let _ = writeln!(std::io::stderr(), "tactusctl: {}", error_text(&error));
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
