//! The `tactus-query-frontend` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("query-frontend"),
        build: |process| Box::pin(tactus_query_frontend::part::alone(process)),
        check: |process| Box::pin(tactus_query_frontend::part::check(process)),
        ports: tactus_query_frontend::part::ports,
        check_limits: |_, _| Ok(()),
    })
}
