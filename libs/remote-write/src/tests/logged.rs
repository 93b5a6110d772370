//! What the log says of a remote.

use std::fmt::{Debug, Write as _};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Keeps the lines of this crate.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("tactus_remote_write")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

// All tasks on this thread, which alone has the subscriber.
#[tokio::test]
async fn failure_says_where_to_without_secrets() {
    let lines = Lines::default();
    let _logged = tracing::subscriber::set_default(lines.clone());
    let receiver = Receiver::start().await;
    receiver.then([Then::Status(StatusCode::SERVICE_UNAVAILABLE)]);
    let url = receiver.url().replace("://", "://somebody:hidden@") + "?key=hidden";
    let remotes = quick(|config| config.url = url, &receiver);
    let process = Process::start(tempfile::tempdir().unwrap(), remotes);
    process.collect(1_000, 1);
    process.flush().await;
    let lines = lines.0.lock().join("\n");
    let address = receiver.url().replace("/write", "");
    assert!(lines.contains("remote write failed"), "{lines}");
    assert!(lines.contains(&format!(" address=\"{address}\" ")), "{lines}");
    assert!(!lines.contains("somebody") && !lines.contains("hidden"), "{lines}");
}
