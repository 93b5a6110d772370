use std::path::Path;

use proptest::prelude::*;
use tactus_config::sections::object_store::S3;
use tactus_config::{GoDuration, Secret};
use tactus_storage::BucketSettings;
use tactus_telemetry::metrics::Registry;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::{EnumForm, to_json};

const MINUTE: u64 = 60_000;
/// The end of an interval.
const START: u64 = 28_333_334 * MINUTE;

/// Processes over one bucket.
struct World {
    folder: tempfile::TempDir,
    settings: AdaptiveSampling,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings: AdaptiveSampling {
                calculation_delay: GoDuration::ZERO,
                ..AdaptiveSampling::default()
            },
        }
    }

    fn bucket(&self) -> Bucket {
        Bucket::open(&BucketSettings::Local { path: self.folder.path().to_owned() }).unwrap()
    }

    fn process(&self, name: &str) -> Arc<Adaptive> {
        let metrics = Metrics::new(&Registry::new());
        Adaptive::new(self.settings.clone(), name, self.bucket(), metrics)
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(Path::new(self.folder.path()).join(name), content).unwrap();
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// Traces that clients sampled with `probability`.
fn send(process: &Adaptive, to: &str, operation: &str, traces: u64, probability: f64) {
    let span = SampledSpan {
        service: "s",
        operation,
        kind: SamplerKind::Probabilistic,
        param: probability,
    };
    let spans = vec![span; usize::try_from(traces).unwrap()];
    process.count(&tenant(to), &spans);
}

fn served(process: &Adaptive, to: &str, operation: &str) -> Option<f64> {
    let strategy = process.strategy(Some(&tenant(to)), "s");
    let sampling = strategy.operation_sampling.clone()?;
    let mut listed = sampling.per_operation_strategies.into_iter();
    let found = listed.find(|entry| entry.operation == operation)?;
    found.probabilistic_sampling.map(|it| it.sampling_rate)
}

#[tokio::test]
async fn unknown_service_gets_the_form_without_operations() {
    let process = World::new().process("a");
    for of in [None, Some(tenant("t"))] {
        assert_eq!(
            to_json(&process.strategy(of.as_ref(), "s"), EnumForm::Text),
            r#"{"strategyType":"PROBABILISTIC","operationSampling":{"defaultSamplingProbability":0.001,"defaultLowerBoundTracesPerSecond":0.016666666666666666,"perOperationStrategies":[],"defaultUpperBoundTracesPerSecond":0}}"#
        );
    }
}

#[tokio::test]
async fn counts_of_all_processes_make_the_probabilities_that_all_serve() {
    let world = World::new();
    let (leader, follower) = (world.process("a"), world.process("b"));
    send(&leader, "t", "o", 60, 0.001);
    send(&follower, "t", "o", 60, 0.001);
    send(&follower, "t", "a", 6, 0.001);
    send(&follower, "other", "o", 6, 0.001);
    leader.flush(START + 5).await.unwrap();
    follower.flush(START + 9).await.unwrap();
    leader.calculate(START + 30).await.unwrap();
    follower.refresh().await.unwrap();
    for process in [&leader, &follower] {
        assert_eq!(served(process, "t", "o"), Some(0.0005));
        assert_eq!(served(process, "t", "a"), Some(0.002));
        assert_eq!(served(process, "other", "o"), Some(0.002));
        assert_eq!(served(process, "third", "o"), None);
        assert_eq!(
            to_json(&process.strategy(Some(&tenant("t")), "s"), EnumForm::Text),
            r#"{"strategyType":"PROBABILISTIC","operationSampling":{"defaultSamplingProbability":0.001,"defaultLowerBoundTracesPerSecond":0.016666666666666666,"perOperationStrategies":[{"operation":"a","probabilisticSampling":{"samplingRate":0.002}},{"operation":"o","probabilisticSampling":{"samplingRate":0.0005}}],"defaultUpperBoundTracesPerSecond":0}}"#
        );
    }
}

#[tokio::test]
async fn delay_keeps_the_last_intervals_out() {
    let mut world = World::new();
    world.settings.calculation_delay = GoDuration::seconds(120);
    let process = world.process("a");
    send(&process, "t", "o", 120, 0.001);
    process.flush(START).await.unwrap();
    process.calculate(START + MINUTE).await.unwrap();
    assert_eq!(served(&process, "t", "o"), None);
    process.calculate(START + 2 * MINUTE).await.unwrap();
    assert_eq!(served(&process, "t", "o"), Some(0.0005));
}

#[tokio::test]
async fn interval_is_calculated_once_whoever_leads() {
    let world = World::new();
    let (first, second) = (world.process("a"), world.process("b"));
    send(&first, "t", "o", 120, 0.001);
    first.flush(START).await.unwrap();
    first.calculate(START).await.unwrap();
    first.calculate(START + 7).await.unwrap();
    second.calculate(START + 9).await.unwrap();
    second.refresh().await.unwrap();
    assert_eq!(served(&first, "t", "o"), Some(0.0005));
    assert_eq!(served(&second, "t", "o"), Some(0.0005));
}

#[tokio::test]
async fn process_that_starts_serves_what_was_calculated_and_goes_on_with_it() {
    let world = World::new();
    let before = world.process("a");
    send(&before, "t", "o", 120, 0.001);
    before.flush(START).await.unwrap();
    before.calculate(START).await.unwrap();
    let after = world.process("a");
    after.refresh().await.unwrap();
    assert_eq!(served(&after, "t", "o"), Some(0.0005));
    // Its clients did not take 0.0005 over.
    send(&after, "t", "o", 1200, 0.001);
    after.flush(START + MINUTE).await.unwrap();
    after.calculate(START + MINUTE).await.unwrap();
    assert_eq!(served(&after, "t", "o"), Some(0.0005));
    send(&after, "t", "o", 120, 0.0005);
    after.flush(START + 2 * MINUTE).await.unwrap();
    after.calculate(START + 2 * MINUTE).await.unwrap();
    assert_eq!(served(&after, "t", "o"), Some(0.00025));
}

#[tokio::test]
async fn objects_out_of_time_are_deleted_and_damaged_ones_left_out() {
    let world = World::new();
    let process = world.process("a");
    send(&process, "t", "o", 120, 0.001);
    process.flush(START).await.unwrap();
    let old = START - 12 * MINUTE;
    for (stamp, content) in [(old, "{}"), (START + 100 * MINUTE, "{}"), (START, "{\"version\":")] {
        world.put(&format!("tactus-sampling.counts.{stamp:014}.b.json"), content);
    }
    world.put("tactus-sampling.probabilities.json", "damaged");
    assert_eq!(world.files().len(), 5);
    process.calculate(START).await.unwrap();
    assert_eq!(served(&process, "t", "o"), Some(0.0005));
    assert_eq!(process.metrics.damaged_objects.get(), 2);
    let left = world.files();
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(left[2], "tactus-sampling.probabilities.json");
}

#[tokio::test]
async fn clock_that_jumps_begins_anew() {
    let world = World::new();
    let process = world.process("a");
    send(&process, "t", "o", 120, 0.001);
    process.flush(START).await.unwrap();
    process.calculate(START).await.unwrap();
    let later = START + 1000 * MINUTE;
    send(&process, "t", "o", 120, 0.0005);
    process.flush(later).await.unwrap();
    process.calculate(later).await.unwrap();
    assert_eq!(served(&process, "t", "o"), Some(0.00025));
    send(&process, "t", "o", 120, 0.00025);
    process.flush(START).await.unwrap();
    process.calculate(START).await.unwrap();
    assert_eq!(served(&process, "t", "o"), Some(0.000125));
}

#[tokio::test]
async fn stop_writes_what_was_counted() {
    let world = World::new();
    let process = world.process("a");
    send(&process, "t", "o", 1, 0.001);
    let stop = CancellationToken::new();
    stop.cancel();
    Arc::clone(&process).run(Arc::new(|| true), stop).await;
    assert_eq!(world.files().len(), 1);
}

/// As when the clock of the process that calculates jumps, or nobody can write counts.
#[tokio::test]
async fn intervals_without_any_counts_keep_what_was_calculated_and_what_was_counted() {
    let mut world = World::new();
    world.settings.aggregation_buckets = 2;
    let (leader, follower, next) = (world.process("a"), world.process("b"), world.process("c"));
    send(&leader, "t", "o", 120, 0.001);
    leader.flush(START).await.unwrap();
    leader.calculate(START).await.unwrap();
    let before = world.files();
    assert_eq!(before.len(), 2);
    for minutes in [60, 61, 62, 63] {
        leader.calculate(START + minutes * MINUTE).await.unwrap();
    }
    next.calculate(START + 70 * MINUTE).await.unwrap();
    follower.refresh().await.unwrap();
    for process in [&leader, &follower, &next, &world.process("d")] {
        process.refresh().await.unwrap();
        assert_eq!(served(process, "t", "o"), Some(0.0005));
    }
    assert_eq!(world.files(), before);
    // The counts are deleted once there are others.
    send(&next, "t", "o", 120, 0.0005);
    next.flush(START + 71 * MINUTE).await.unwrap();
    next.calculate(START + 71 * MINUTE).await.unwrap();
    assert_eq!(served(&next, "t", "o"), Some(0.00025));
    assert_eq!(world.files().len(), 2);
    assert_ne!(world.files(), before);
}

#[tokio::test]
async fn intervals_that_nobody_counted_do_not_lower_the_rate() {
    let process = World::new().process("a");
    for minutes in [0, 3] {
        let now = START + minutes * MINUTE;
        send(&process, "t", "o", 60, 0.001);
        process.flush(now).await.unwrap();
        process.calculate(now).await.unwrap();
        assert_eq!(served(&process, "t", "o"), Some(0.001), "{minutes}");
    }
}

/// What becomes of the first write.
#[derive(Clone, Copy, PartialEq)]
enum FirstWrite {
    Fails,
    HasNoAnswer,
}

/// A bucket that has no objects, in which the first write goes wrong. Notes the paths of writes.
async fn store_with(first: FirstWrite, writes: mpsc::Sender<String>) -> Bucket {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut is_first = true;
        let mut unanswered = Vec::new();
        loop {
            let mut stream = BufStream::new(listener.accept().await.unwrap().0);
            let (mut request, mut length) = (String::new(), 0);
            stream.read_line(&mut request).await.unwrap();
            loop {
                let mut header = String::new();
                stream.read_line(&mut header).await.unwrap();
                let header = header.trim_end().to_ascii_lowercase();
                if let Some(bytes) = header.strip_prefix("content-length: ") {
                    length = bytes.parse().unwrap();
                }
                if header.is_empty() {
                    break;
                }
            }
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            let path = request.strip_prefix("PUT ");
            let goes_wrong = path.is_some() && std::mem::take(&mut is_first);
            let status = match path {
                None => "404 Not Found",
                Some(_) if goes_wrong => "503 Service Unavailable",
                Some(_) => "200 OK\r\nETag: \"1\"",
            };
            if let Some(path) = path {
                writes.send(format!("{status} {path}")).await.unwrap();
            }
            if goes_wrong && first == FirstWrite::HasNoAnswer {
                unanswered.push(stream);
                continue;
            }
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let settings = S3 {
        bucket: "b".to_owned(),
        endpoint,
        insecure: true,
        access_key: "key".to_owned(),
        secret_key: Secret::new("secret"),
        retry_max_attempts: 5,
        retry_backoff_initial: GoDuration::millis(200),
        ..S3::default()
    };
    Bucket::open(&BucketSettings::S3(Box::new(settings))).unwrap()
}

#[tokio::test]
async fn stop_during_a_flush_waits_for_its_end() {
    let (sender, mut writes) = mpsc::channel(10);
    let settings = AdaptiveSampling {
        calculation_interval: GoDuration::seconds(1),
        ..AdaptiveSampling::default()
    };
    let bucket = store_with(FirstWrite::Fails, sender).await;
    let process = Adaptive::new(settings, "a", bucket, Metrics::new(&Registry::new()));
    let stop = CancellationToken::new();
    let run = tokio::spawn(Arc::clone(&process).run(Arc::new(|| false), stop.clone()));
    send(&process, "t", "o", 1, 0.001);
    assert!(writes.recv().await.unwrap().starts_with("503"));
    stop.cancel();
    run.await.unwrap();
    assert!(writes.try_recv().unwrap().contains("/b/tactus-sampling.counts."));
}

#[tokio::test]
async fn counts_that_cannot_be_written_are_not_taken_for_those_of_a_later_interval() {
    let (sender, mut writes) = mpsc::channel(10);
    let settings = AdaptiveSampling {
        calculation_interval: GoDuration::seconds(1),
        ..AdaptiveSampling::default()
    };
    let bucket = store_with(FirstWrite::HasNoAnswer, sender).await;
    let process = Adaptive::new(settings, "a", bucket, Metrics::new(&Registry::new()));
    let stop = CancellationToken::new();
    let run = tokio::spawn(Arc::clone(&process).run(Arc::new(|| false), stop.clone()));
    send(&process, "t", "o", 1, 0.001);
    let key = |write: String| {
        let mut words = write.split_whitespace();
        words.find(|word| word.starts_with("/b/")).unwrap().to_owned()
    };
    let first = key(writes.recv().await.unwrap());
    assert_eq!(process.metrics.store_failures.with(["flush"]).get(), 0);
    send(&process, "t", "o", 1, 0.001);
    let second = key(writes.recv().await.unwrap());
    assert!(first < second, "{first} {second}");
    assert_eq!(process.metrics.store_failures.with(["flush"]).get(), 1);
    stop.cancel();
    run.await.unwrap();
}

/// What happens in an interval: traces of two operations, at which process, and who calculates.
type Interval = ([u64; 2], bool, usize, bool);

/// The probabilities after each interval, if `leader` calculates.
async fn play(
    world: &World,
    intervals: &[Interval],
    leader: impl Fn(usize, &Interval) -> usize,
) -> Vec<[Option<f64>; 2]> {
    let mut processes = [world.process("a"), world.process("b")];
    let mut found = Vec::new();
    let mut probabilities = [Some(0.001); 2];
    for (number, interval) in intervals.iter().enumerate() {
        let (traces, at_second, _, restarts) = interval;
        let receiver = &processes[usize::from(*at_second)];
        for (operation, (traces, probability)) in
            ["x", "y"].iter().zip(traces.iter().zip(probabilities))
        {
            // A client that was told nothing has the initial probability.
            send(receiver, "t", operation, *traces, probability.unwrap_or(0.001));
        }
        let now = START + number as u64 * MINUTE;
        for process in &processes {
            process.flush(now).await.unwrap();
        }
        let leading = leader(number, interval);
        processes[leading].calculate(now).await.unwrap();
        processes[1 - leading].refresh().await.unwrap();
        let of = |process: &Adaptive| ["x", "y"].map(|operation| served(process, "t", operation));
        assert_eq!(of(&processes[0]), of(&processes[1]));
        probabilities = of(&processes[0]);
        found.push(probabilities);
        if *restarts {
            processes[leading] = world.process("c");
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn who_calculates_makes_no_difference(
        intervals in prop::collection::vec(
            (
                prop_oneof![Just([0, 0]), [0u64..200, 0u64..200]],
                any::<bool>(),
                0usize..2,
                prop::bool::weighted(0.2),
            ),
            1..16,
        ),
        kept in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = || {
            let mut world = World::new();
            world.settings.aggregation_buckets = kept;
            world.settings.calculation_buckets = 2;
            world
        };
        let changing = runtime.block_on(play(&world(), &intervals, |_, interval| interval.2));
        let steady: Vec<_> =
            intervals.iter().map(|interval| (interval.0, interval.1, 0, false)).collect();
        let steady = runtime.block_on(play(&world(), &steady, |_, _| 0));
        prop_assert_eq!(changing, steady);
    }
}
