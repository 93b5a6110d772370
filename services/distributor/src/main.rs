//! The `tactus-distributor` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("distributor"),
        build: |process| Box::pin(tactus_distributor::part::alone(process)),
        check_limits: tactus_distributor::from_config::check_limits,
    })
}
