//! What a panic says goes through the queue: the hook of std would wait for the reader of stderr.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use super::queue::STDERR;

/// A panic waits this long: a second one while the stack unwinds ends the process at once.
const PANIC_WAIT: Duration = Duration::from_millis(100);

pub(super) fn set_up() {
    std::panic::set_hook(Box::new(report));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    // Taken if RUST_BACKTRACE asks for it.
    let stack = Backtrace::capture();
    let stack = match stack.status() {
        BacktraceStatus::Captured => format!("stack backtrace:\n{stack}\n"),
        _ => String::new(),
    };
    STDERR.push(&format!("\nthread '{name}' {info}\n{stack}"));
    STDERR.wait(PANIC_WAIT);
}
