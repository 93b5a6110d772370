use std::path::Path;

use proptest::prelude::*;
use tactus_config::GoDuration;
use tactus_storage::BucketSettings;
use tactus_telemetry::metrics::Registry;

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
