//! The `tactus-querier` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("querier"),
        build: |process| Box::pin(tactus_querier::part::alone(process)),
        check: |process| Box::pin(tactus_querier::part::check(process)),
        ports: |_| Ok(Vec::new()),
        check_limits: |_, _| Ok(()),
    })
}
