//! The `tactus-compactor` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("compactor"),
        build: |process| Box::pin(tactus_compactor::part::alone(process)),
        check: |process| Box::pin(tactus_compactor::part::check(process)),
        ports: |_| Ok(Vec::new()),
        check_limits: |_, limits| tactus_compactor::from_config::check_limits(limits),
    })
}
