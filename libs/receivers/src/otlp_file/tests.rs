use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use async_trait::async_trait;
use parking_lot::Mutex;
use tactus_telemetry::metrics::Registry;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::PushOutcome;
use crate::testing::ONE_SPAN_JSON;

/// Shows what is pushed, and answers as told: with these errors first.
struct Shown {
    pushes: mpsc::UnboundedSender<(String, Bytes)>,
    errors: Mutex<Vec<PushError>>,
}

#[async_trait]
impl TraceSink for Shown {
    async fn push(&self, tenant: TenantId, request: Bytes) -> Result<PushOutcome, PushError> {
        self.pushes.send((tenant.to_string(), request)).unwrap();
        match self.errors.lock().pop() {
            Some(error) => Err(error),
            None => Ok(PushOutcome { accepted_spans: 1, ..PushOutcome::default() }),
        }
    }
}

fn settings(directory: &Path) -> OtlpFileSettings {
    let pattern = |text: &str| Pattern::parse(directory.join(text).to_str().unwrap()).unwrap();
    OtlpFileSettings {
        tenant: TenantId::parse("files").unwrap(),
        include: vec![pattern("*.json")],
        exclude: vec![pattern("not-*")],
        from_beginning: true,
        poll_interval: Duration::from_millis(1),
        replay: false,
        max_line_bytes: 4096,
    }
}

struct Rig {
    directory: TempDir,
    pushes: mpsc::UnboundedReceiver<(String, Bytes)>,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(
        directory: TempDir,
        errors: Vec<PushError>,
        change: impl FnOnce(&mut OtlpFileSettings),
    ) -> Self {
        let mut settings = settings(directory.path());
        change(&mut settings);
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let (sender, pushes) = mpsc::unbounded_channel();
        let sink = Arc::new(Shown { pushes: sender, errors: Mutex::new(errors) });
        let (metrics, token) = (ReceiverMetrics::register(&registry), stop.clone());
        let task = tokio::spawn(async move {
            read_otlp_files(settings, sink, metrics, token).await;
        });
        Self { directory, pushes, registry, stop, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits for so many pushes, all of the one span.
    async fn expect(&mut self, pushes: usize) {
        for _ in 0..pushes {
            let (tenant, request) = self.pushes.recv().await.unwrap();
            assert_eq!(tenant, "files");
            assert_eq!(request, read_export_request(ONE_SPAN_JSON.as_bytes()).unwrap());
        }
    }

    /// Ends the receiver; how many spans it counted as taken.
    async fn end(mut self) -> String {
        self.stop.cancel();
        self.task.await.unwrap();
        assert!(self.pushes.try_recv().is_err(), "a line was pushed that should not have been");
        let text = self.registry.encode();
        let taken = text.lines().find(|line| line.starts_with("tempo_receiver_accepted_spans{"));
        taken.unwrap().to_owned()
    }
}

/// A receiver that looks when it is told to, and what it pushes.
fn receiver(settings: OtlpFileSettings) -> (Receiver, mpsc::UnboundedReceiver<(String, Bytes)>) {
    let (pushes, pushed) = mpsc::unbounded_channel();
    let receiver = Receiver {
        settings,
        sink: Arc::new(Shown { pushes, errors: Mutex::default() }),
        counters: ReceiverMetrics::register(&Registry::new()).of("otlpjsonfile", "file"),
        stop: CancellationToken::new(),
        places: HashMap::new(),
        fails: false,
    };
    (receiver, pushed)
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn line() -> String {
    format!("{ONE_SPAN_JSON}\n")
}

#[tokio::test]
async fn lines_are_read_when_they_end_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.json");
    append(&file, &(line() + "\n" + &line() + &ONE_SPAN_JSON[..40]));
    append(&directory.path().join("not-a.json"), &line());
    let mut rig = Rig::start(directory, vec![], |_| {});
    rig.expect(2).await;
    append(&file, &ONE_SPAN_JSON[40..]);
    append(&file, "\n");
    append(&rig.path("b.json"), &line());
    rig.expect(2).await;
    // Renamed it is the same file, and goes on where it was.
    fs::rename(&file, rig.path("c.json")).unwrap();
    append(&rig.path("c.json"), &line());
    rig.expect(1).await;
    fs::write(rig.path("b.json"), "").unwrap();
    let metrics = rig.end().await;
    assert!(metrics.contains("otlpjsonfile/otlpjsonfile_receiver"), "{metrics}");
    assert!(metrics.contains("\"file\"") && metrics.ends_with(" 5"), "{metrics}");
}

#[tokio::test]
async fn what_is_no_request_or_too_long_is_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.json");
    let long = format!("{{\"x\": \"{}\"}}\n", "y".repeat(100_000));
    append(&file, &("{\"resourceSpans\": 7}\n".to_owned() + &long + "garbage\n" + &line()));
    let mut rig = Rig::start(directory, vec![], |_| {});
    rig.expect(1).await;
    assert!(rig.end().await.ends_with(" 1"));
}

#[tokio::test]
async fn files_that_are_there_are_read_from_their_end_and_new_ones_from_their_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let settings = OtlpFileSettings { from_beginning: false, ..settings(directory.path()) };
    let (mut receiver, mut pushed) = receiver(settings);
    let path = |name: &str| directory.path().join(name);
    let mut count = || std::iter::from_fn(|| pushed.try_recv().ok()).count();
    append(&path("a.json"), &(line() + &line()));
    receiver.look(true).await.unwrap();
    assert_eq!(count(), 0);
    append(&path("a.json"), &line());
    append(&path("b.json"), &(line() + &line()));
    receiver.look(false).await.unwrap();
    assert_eq!(count(), 3);
    // Truncated: what is there now is new.
    fs::write(path("b.json"), line()).unwrap();
    receiver.look(false).await.unwrap();
    assert_eq!(count(), 1);
    receiver.look(false).await.unwrap();
    assert_eq!(count(), 0);
}

#[tokio::test]
async fn busy_sink_is_asked_again_and_a_refusal_is_final() {
    let directory = tempfile::tempdir().unwrap();
    append(&directory.path().join("a.json"), &(line() + &line()));
    let retry_after = Duration::from_millis(1);
    let unavailable = PushError::Unavailable { message: "busy".to_owned(), retry_after };
    let limited = PushError::RateLimited { message: "slow".to_owned(), retry_after };
    let refused = PushError::Invalid("no".to_owned());
    // The last is the first answer.
    let mut rig = Rig::start(directory, vec![refused, limited, unavailable], |_| {});
    rig.expect(4).await;
    let metrics = rig.registry.encode();
    assert!(metrics.contains("tempo_receiver_refused_spans"), "{metrics}");
    assert!(rig.end().await.ends_with(" 1"));
}

#[tokio::test(start_paused = true)]
async fn line_over_a_limit_that_names_no_pause_is_skipped_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    append(&directory.path().join("a.json"), &(line() + &line()));
    let message = || "too large".to_owned();
    let never = || PushError::RateLimited { message: message(), retry_after: Duration::ZERO };
    let mut answers: Vec<_> = (0..=MAX_RETRIES).map(|_| never()).collect();
    let retry_after = Duration::ZERO;
    answers.push(PushError::Unavailable { message: message(), retry_after });
    let mut rig = Rig::start(directory, answers, |_| {});
    rig.expect(MAX_RETRIES as usize + 3).await;
    let metrics = rig.registry.encode();
    let mut lines = metrics.lines();
    let refused = lines.find(|line| line.starts_with("tempo_receiver_refused_spans{"));
    assert!(refused.unwrap().ends_with(" 1"), "{metrics}");
    assert!(rig.end().await.ends_with(" 1"));
}

#[tokio::test(start_paused = true)]
async fn file_with_two_names_is_read_once_and_stays_known_while_its_directory_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let (files, away) = (directory.path().join("in"), directory.path().join("away"));
    fs::create_dir(&files).unwrap();
    let (mut receiver, mut pushed) = receiver(settings(&files));
    let mut count = || std::iter::from_fn(|| pushed.try_recv().ok()).count();
    let file = files.join("a.json");
    append(&file, &(line() + &line()));
    std::os::unix::fs::symlink("a.json", files.join("b.json")).unwrap();
    receiver.look(true).await.unwrap();
    assert_eq!(count(), 2);
    append(&file, &line());
    receiver.look(false).await.unwrap();
    assert_eq!(count(), 1);
    fs::rename(&files, &away).unwrap();
    tokio::time::advance(2 * FORGET_AFTER).await;
    receiver.look(false).await.unwrap();
    fs::rename(&away, &files).unwrap();
    receiver.look(false).await.unwrap();
    assert_eq!(count(), 0);
    fs::remove_file(&file).unwrap();
    receiver.look(false).await.unwrap();
    assert_eq!(receiver.places.len(), 1);
    tokio::time::advance(FORGET_AFTER).await;
    receiver.look(false).await.unwrap();
    assert!(receiver.places.is_empty());
}

#[tokio::test]
async fn replay_reads_the_same_again() {
    let directory = tempfile::tempdir().unwrap();
    append(&directory.path().join("a.json"), &line());
    let mut rig = Rig::start(directory, vec![], |settings| settings.replay = true);
    rig.expect(3).await;
    rig.stop.cancel();
    rig.task.await.unwrap();
}

#[test]
fn chunk_of_lines_is_bounded_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let text = "x".repeat(1 << 20) + "\n";
    fs::write(&path, text.repeat(10)).unwrap();
    let found = identify(&path).unwrap();
    let mut place = 0;
    let mut counts = Vec::new();
    loop {
        let lines = read_lines(&path, found.id, place, 2 << 20).unwrap();
        counts.push(lines.found.len());
        place = lines.end;
        if !lines.has_more {
            break;
        }
    }
    assert_eq!((counts, place), (vec![4, 4, 2], found.bytes));
    let other = directory.path().join("b");
    fs::write(&other, "x\n").unwrap();
    let lines = read_lines(&other, found.id, 0, 9).unwrap();
    assert_eq!((lines.found.len(), lines.end), (0, 0), "another file");
    let exact = read_lines(&other, identify(&other).unwrap().id, 0, 1).unwrap();
    assert_eq!(exact.found, [Line::Request(Bytes::from_static(b"x"))]);
}
