//! The `tactus-distributor` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("distributor"),
        build: |process| Box::pin(tactus_distributor::part::alone(process)),
        check: |process| Box::pin(tactus_distributor::part::check(process)),
        ports: tactus_distributor::part::ports,
        check_limits: |_, limits| tactus_distributor::from_config::check_limits(limits),
    })
}
