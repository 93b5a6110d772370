//! The `tactus-metrics-generator` binary.

use std::process::ExitCode;

use tactus_process::Program;

fn main() -> ExitCode {
    tactus_process::main(Program {
        target: Some("metrics-generator"),
        build: |process| Box::pin(tactus_metrics_generator::part::alone(process)),
        check: |process| Box::pin(async { tactus_metrics_generator::part::check_alone(process) }),
        ports: |_| Ok(Vec::new()),
        check_limits: tactus_metrics_generator::from_config::check_limits,
    })
}
