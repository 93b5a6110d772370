//! The `tactus-ingester` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("ingester"),
        build: |process| Box::pin(tactus_ingester::part::alone(process)),
        check: |process| Box::pin(tactus_ingester::part::check(process)),
        ports: |_| Ok(Vec::new()),
        check_limits: |_, limits| tactus_ingester::from_config::check_limits(limits),
    })
}
