//! The queue between the threads that log and the one that writes: whoever logs never waits for the reader of stderr.
//!
//! ```text
//! push(line) -> at most MAX_BYTES -> the writer's thread -> stderr; what does not fit is dropped and counted
//! ```

use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::LogFormat;
use super::format::{Value, caller, line, timestamp};
use crate::metrics::{Counter, Registry};

/// Bytes of all lines that wait or are being written.
const MAX_BYTES: usize = 1 << 20;

static DROPPED: LazyLock<Counter> = LazyLock::new(|| {
    let help = "Log lines not written because whoever reads stderr does not keep up.";
    Registry::global().counter("tactus_log_lines_dropped_total", help)
});

/// The lines of this process on their way to stderr.
pub(super) static STDERR: Queue = Queue::new();

/// Whole lines, in order.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// Bytes that the writer has taken and not written yet; not 0 for a note alone.
    taken: usize,
    /// Lines dropped behind those that wait.
    dropped: u64,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken == 0 && self.dropped == 0
    }
}

impl Queue {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State { waiting: Vec::new(), taken: 0, dropped: 0 }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    /// Queues a line, or several that belong together. Drops it if there is no room. Never waits for the writer.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.state.lock();
        let has_room = state.waiting.len() + state.taken + line.len() <= MAX_BYTES;
        // What comes behind a gap would stand before the note about it.
        if has_room && state.dropped == 0 {
            state.waiting.extend_from_slice(line.as_bytes());
        } else {
            state.dropped += 1;
            DROPPED.inc();
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until everything is written; false if it was not within this time.
    pub(super) fn wait(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        let mut state = self.state.lock();
        while !state.is_empty() {
            if self.emptied.wait_until(&mut state, end).timed_out() {
                return state.is_empty();
            }
        }
        true
    }

    /// The lines that wait, and how many were dropped behind them. Waits until there are any.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && state.dropped == 0 {
            self.filled.wait(&mut state);
        }
        let lines = std::mem::take(&mut state.waiting);
        state.taken = lines.len().max(1);
        (lines, std::mem::take(&mut state.dropped))
    }

    /// What was taken is written.
    fn written(&self) {
        let mut state = self.state.lock();
        state.taken = 0;
        if state.is_empty() {
            self.emptied.notify_all();
        }
    }

    /// Writes what comes, for ever.
    fn write_to(&self, format: LogFormat, write: impl Fn(&[u8])) {
        loop {
            let (lines, dropped) = self.take();
            // One write a line keeps them apart from what others write to the same file.
            lines.split_inclusive(|byte| *byte == b'\n').for_each(&write);
            if dropped > 0 {
                write(note(format, dropped).as_bytes());
            }
            self.written();
        }
    }
}

fn note(format: LogFormat, lines: u64) -> String {
    let text = |text: &str| Value::Text(text.to_owned());
    let fields = [
        ("level", text("warn")),
        ("ts", Value::Text(timestamp(SystemTime::now()))),
        ("caller", Value::Text(caller(file!(), line!()))),
        ("msg", text("log lines were dropped: whoever reads stderr did not keep up")),
        ("lines", Value::Bare(lines.to_string())),
    ];
    line(format, &fields)
}

/// Starts the thread that writes to stderr. Errors: the system has no thread left.
pub(super) fn start(format: LogFormat) -> std::io::Result<()> {
    // Registered before the first line can be dropped, so that the page shows 0, and because registering may log.
    LazyLock::force(&DROPPED);
    // If stderr is gone nobody can be told.
    let write = |line: &[u8]| {
        let _ = std::io::stderr().lock().write_all(line);
    };
    let run = move || STDERR.write_to(format, write);
    std::thread::Builder::new().name("log".to_owned()).spawn(run)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(queue: &Queue) -> (String, u64) {
        let (lines, dropped) = queue.take();
        (String::from_utf8(lines).unwrap(), dropped)
    }

    #[test]
    fn lines_come_out_in_order_and_all_at_once() {
        let queue = Queue::new();
        assert!(queue.wait(Duration::ZERO));
        queue.push("a\n");
        queue.push("b\n");
        assert_eq!(text(&queue), ("a\nb\n".to_owned(), 0));
        queue.push("c\n");
        assert!(!queue.wait(Duration::ZERO), "some are taken, one waits");
        queue.written();
        assert_eq!(text(&queue), ("c\n".to_owned(), 0));
        assert!(!queue.wait(Duration::from_millis(1)), "it is taken and not written");
        queue.written();
        assert!(queue.wait(Duration::ZERO));
    }

    #[test]
    fn lines_without_room_are_dropped_and_the_gap_is_where_they_were() {
        let (queue, before) = (Queue::new(), DROPPED.get());
        let half = "x".repeat(MAX_BYTES / 2);
        queue.push(&half);
        assert_eq!(text(&queue).0.len(), MAX_BYTES / 2);
        // A writer that hangs has the first half.
        queue.push(&half);
        queue.push("1\n");
        queue.written();
        queue.push("2\n");
        assert!(DROPPED.get() - before >= 2);
        let (lines, dropped) = text(&queue);
        assert_eq!((lines.len(), dropped), (MAX_BYTES / 2, 2), "there is room, but behind the gap");
        queue.push("3\n");
        queue.written();
        assert_eq!(text(&queue), ("3\n".to_owned(), 0));
    }

    #[test]
    fn line_larger_than_the_queue_is_a_gap() {
        let queue = Queue::new();
        queue.push(&"x".repeat(MAX_BYTES + 1));
        assert!(!queue.wait(Duration::ZERO));
        assert_eq!(text(&queue), (String::new(), 1));
        queue.written();
        assert!(queue.wait(Duration::ZERO));
    }

    #[test]
    fn whoever_waits_goes_on_when_everything_is_written() {
        let queue = Queue::new();
        queue.push("a\n");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.wait(Duration::from_secs(60)));
            queue.take();
            queue.written();
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn note_is_a_line_of_its_own() {
        let note = note(LogFormat::Logfmt, 7);
        assert!(note.starts_with("level=warn ts=2"), "{note}");
        assert!(note.contains(" caller=telemetry/logging/queue.rs:"), "{note}");
        assert!(note.ends_with("did not keep up\" lines=7\n"), "{note}");
    }
}
