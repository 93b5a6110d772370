//! Remote write against a receiver that judges samples as Prometheus does.

mod connections;
mod ending;
mod logged;
mod receiver;
mod redirects;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tactus_config::PromDuration;
use tactus_config::sections::remote_write::{QueueConfig, RemoteWrite as Config};

use super::*;
use crate::series::{Exemplar, NativeHistogram, Series, Sink};
use receiver::{Receiver, Then};

/// A process with one tenant.
struct Process {
    dir: tempfile::TempDir,
    registry: Registry,
    remote: Arc<RemoteWrite>,
    handle: Option<TenantRemoteWrite>,
}

fn tenant() -> TenantId {
    TenantId::parse("team-a").unwrap()
}

fn quick(change: impl FnOnce(&mut Config), receiver: &Receiver) -> Vec<Config> {
    let mut config = Config { url: receiver.url(), ..Config::default() };
    change(&mut config);
    vec![config]
}

fn storage(dir: &Path, remote_write: Vec<Config>) -> GeneratorStorage {
    let path = dir.to_str().unwrap().to_owned();
    GeneratorStorage { path, remote_write, ..GeneratorStorage::default() }
}

impl Process {
    fn start(dir: tempfile::TempDir, remotes: Vec<Config>) -> Self {
        Self::start_with(dir, remotes, |_| ())
    }

    fn start_with(
        dir: tempfile::TempDir,
        remotes: Vec<Config>,
        change: impl FnOnce(&mut GeneratorStorage),
    ) -> Self {
        let registry = Registry::new();
        let mut storage = storage(dir.path(), remotes);
        change(&mut storage);
        let remote = RemoteWrite::open(&storage, &registry).unwrap();
        let handle = remote.tenant(&tenant(), &BTreeMap::new(), 0).unwrap();
        Self { dir, registry, remote, handle: Some(handle) }
    }

    fn handle(&self) -> &TenantRemoteWrite {
        self.handle.as_ref().unwrap()
    }

    /// One sample of each of so many series.
    fn collect(&self, time_ms: i64, series: u64) {
        let mut collection = self.handle().begin(time_ms);
        for number in 0..series {
            let name = format!("calls_{number}_total");
            let series = Series { reference: number, labels: &[], name: &name, le: None };
            collection.float(&series, time_ms, time_ms as f64);
        }
        collection.commit().unwrap();
    }

    async fn flush(&self) {
        self.remote.flush(Duration::from_secs(20)).await;
        assert!(self.handle.as_ref().is_none_or(TenantRemoteWrite::is_drained));
    }

    /// What a `kill -9` now would leave on disk.
    fn crash_image(&self) -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        copy(self.dir.path(), image.path());
        image
    }

    fn shows(&self, metric: &str, value: &str) -> bool {
        let text = self.registry.encode();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
        let mut values = lines.filter_map(|line| line.rsplit(' ').next());
        values.any(|shown| shown == value)
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else if std::fs::copy(entry.path(), &to).is_err() {
            // A cursor that was just replaced.
            assert_eq!(to.extension().and_then(|e| e.to_str()), Some("new"));
        }
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_arrive_in_order_with_the_headers_of_the_protocol() {
    let receiver = Receiver::start().await;
    let process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    process.collect(1_000, 3);
    process.collect(2_000, 3);
    process.flush().await;
    for request in receiver.requests() {
        let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-encoding"), Some("snappy"));
        assert_eq!(header("content-type"), Some("application/x-protobuf"));
        assert_eq!(header("x-prometheus-remote-write-version"), Some("0.1.0"));
        assert_eq!(header("x-scope-orgid"), Some("team-a"));
        assert_eq!(header("retry-attempt"), None);
        assert!(header("user-agent").unwrap().starts_with("tactus/"));
    }
    for number in 0..3 {
        let samples = receiver.samples(&format!("calls_{number}_total"));
        assert_eq!(samples, [(1_000, 1_000.0), (2_000, 2_000.0)]);
    }
    assert_eq!(receiver.refused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_and_refusals_are_dropped_and_counted() {
    let receiver = Receiver::start().await;
    let process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    receiver.then([
        Then::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Then::Status(StatusCode::BAD_GATEWAY),
        Then::Take,
        Then::Status(StatusCode::TOO_MANY_REQUESTS),
        Then::Status(StatusCode::BAD_REQUEST),
    ]);
    for (requests, time_ms) in [(3, 1_000), (4, 2_000), (5, 3_000), (6, 4_000)] {
        process.collect(time_ms, 2);
        eventually("the request", || receiver.requests().len() >= requests).await;
        eventually("its end", || process.handle().is_drained()).await;
    }
    let requests = receiver.requests();
    let attempts: Vec<_> = requests
        .iter()
        .map(|request| request.headers.get("retry-attempt").map(|value| value.to_str().unwrap()))
        .collect();
    assert_eq!(attempts, [None, Some("1"), Some("2"), None, None, None]);
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].body, requests[2].body);
    assert_eq!(receiver.samples("calls_1_total"), [(1_000, 1_000.0), (4_000, 4_000.0)]);
    assert!(process.shows("prometheus_remote_storage_samples_failed_total", "4"));
    assert!(process.shows("prometheus_remote_storage_samples_retried_total", "4"));
    assert!(process.shows("prometheus_remote_storage_samples_pending", "0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_tried_again_after_the_time_that_is_asked_for() {
    let receiver = Receiver::start().await;
    let retry = |config: &mut Config| config.queue_config.retry_on_http_429 = true;
    let process = Process::start(tempfile::tempdir().unwrap(), quick(retry, &receiver));
    receiver.then([Then::RetryAfter(1)]);
    process.collect(1_000, 1);
    process.flush().await;
    let [first, second] = &receiver.requests()[..] else { panic!("not two requests") };
    assert!(second.at - first.at >= Duration::from_secs(1));
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_and_death_of_the_process_lose_and_reorder_nothing() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let small = |shards: i64| {
        move |config: &mut Config| {
            let queue = &mut config.queue_config;
            (queue.max_samples_per_send, queue.min_shards) = (25, shards);
        }
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(small(4), &receiver));
    for time_ms in 1..=6 {
        process.collect(time_ms * 1_000, 40);
    }
    // Each image is of a process that dies with some requests of a window taken and others not: the last one that was
    // taken is not known to have been.
    let mut image = process.crash_image();
    process.remote.stop.cancel();
    for (round, shards) in [(0, 4), (1, 3), (2, 2), (3, 1)] {
        let process = Process::start(image, quick(small(shards), &receiver));
        process.collect(10_000 + round * 1_000, 40);
        let before = receiver.answered();
        receiver.judge_then_hang(3);
        eventually("three requests are judged", || receiver.answered() >= before + 3).await;
        eventually("another one hangs", || receiver.hanging() > 0).await;
        image = process.crash_image();
        process.remote.stop.cancel();
        receiver.fail().await;
    }
    receiver.set(Then::Take);
    let process = Process::start(image, quick(small(1), &receiver));
    process.collect(20_000, 40);
    process.flush().await;
    let times: Vec<i64> =
        (1..=6).chain(10..=13).chain([20]).map(|seconds| seconds * 1_000).collect();
    for number in 0..40 {
        let samples = receiver.samples(&format!("calls_{number}_total"));
        let arrived: Vec<i64> = samples.iter().map(|(time_ms, _)| *time_ms).collect();
        assert_eq!(arrived, times, "series {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_ends_in_time_and_the_rest_is_sent_after_the_next_start() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    process.collect(1_000, 2);
    let start = Instant::now();
    process.remote.flush(Duration::from_millis(200)).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!process.handle().is_drained());
    let Process { dir, remote, handle, .. } = process;
    drop((remote, handle));
    receiver.set(Then::Take);
    let registry = Registry::new();
    let storage = storage(dir.path(), quick(|_| (), &receiver));
    eventually("the lock is free", || {
        let remote = RemoteWrite::open(&storage, &registry).unwrap();
        assert_eq!(remote.tenants_left_behind(), [tenant()]);
        remote.resume(&tenant(), &BTreeMap::new(), 5_000).is_ok()
    })
    .await;
    eventually("what was left is sent", || !receiver.samples("calls_1_total").is_empty()).await;
    assert_eq!(receiver.samples("calls_1_total"), [(1_000, 1_000.0)]);
    eventually("nothing is left", || !dir.path().join("team-a").exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_tenant_sends_what_it_has_and_another_handle_takes_it_over() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let mut process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    process.collect(1_000, 1);
    let again = process.remote.tenant(&tenant(), &BTreeMap::new(), 0);
    assert!(matches!(again, Err(OpenError::InUse(_))));
    process.handle.take().unwrap().close();
    process.handle = Some(process.remote.tenant(&tenant(), &BTreeMap::new(), 1_500).unwrap());
    // Not newer than the new instance.
    process.collect(1_500, 1);
    process.collect(2_000, 1);
    receiver.set(Then::Take);
    process.handle.take().unwrap().close();
    let path = process.dir.path().join("team-a");
    eventually("it has ended", || !path.exists()).await;
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0), (2_000, 2_000.0)]);
    assert!(!process.registry.encode().contains("prometheus_remote_storage_shards{"));
    process.handle = Some(process.remote.tenant(&tenant(), &BTreeMap::new(), 2_500).unwrap());
    process.collect(3_000, 1);
    process.flush().await;
    assert_eq!(receiver.samples("calls_0_total").len(), 3);
    let ended = process.remote.tenant(&TenantId::single(), &BTreeMap::new(), 0);
    assert!(matches!(ended, Err(OpenError::Ended)));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_protocol_is_sent_and_what_is_not_confirmed_is_counted() {
    let receiver = Receiver::start().await;
    let v2 = |config: &mut Config| {
        config.protobuf_message = "io.prometheus.write.v2.Request".to_owned();
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(v2, &receiver));
    receiver.set(Then::Confirm(2));
    process.collect(1_000, 3);
    process.flush().await;
    let requests = receiver.requests();
    let header = |name: &str| requests[0].headers.get(name).unwrap().to_str().unwrap();
    let kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(header("content-type"), kind);
    assert_eq!(header("x-prometheus-remote-write-version"), "2.0.0");
    assert!(process.shows("prometheus_remote_storage_samples_total", "3"));
    assert!(process.shows("prometheus_remote_storage_samples_failed_total", "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_and_exemplars_arrive() {
    let receiver = Receiver::start().await;
    let process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    let series = Series { reference: 1, labels: &[], name: "latency", le: None };
    let value = NativeHistogram { count: 2.0, sum: 0.5, schema: 3, ..NativeHistogram::default() };
    let exemplar = Exemplar { label: "traceID", trace_id: "ab", value: 0.2, timestamp_ms: 1_000 };
    let mut collection = process.handle().begin(1_000);
    collection.histogram(&series, 1_000, &value);
    collection.exemplar(&series, &exemplar);
    collection.commit().unwrap();
    process.flush().await;
    let body = receiver.requests()[0].decoded();
    let [histogram, exemplar] = &body.timeseries[..] else { panic!("{body:?}") };
    assert_eq!(histogram.histograms[0].count_int, Some(2));
    assert_eq!(exemplar.exemplars[0].labels[0].value, "ab");
    assert!(process.shows("prometheus_remote_storage_histograms_total", "1"));
    assert!(process.shows("prometheus_remote_storage_exemplars_total", "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_without_remotes_ends_and_may_come_again() {
    let mut process = Process::start(tempfile::tempdir().unwrap(), Vec::new());
    process.handle = None;
    eventually("the tenant ends", || process.remote.tenants.lock().is_empty()).await;
    process.handle = Some(process.remote.tenant(&tenant(), &BTreeMap::new(), 0).unwrap());
    let flushed = tokio::time::timeout(Duration::from_secs(20), process.flush()).await;
    assert!(flushed.is_ok(), "the end of the process waits for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn relabelling_leaves_series_out_for_one_remote_only() {
    let (all, few) = (Receiver::start().await, Receiver::start().await);
    let rule = tactus_config::sections::remote_write::RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: "calls_1_total".to_owned(),
        action: "keep".to_owned(),
        ..Default::default()
    };
    let mut remotes = quick(|_| (), &all);
    remotes.extend(quick(|config| config.write_relabel_configs = vec![rule], &few));
    let process = Process::start(tempfile::tempdir().unwrap(), remotes);
    process.collect(1_000, 3);
    process.flush().await;
    let names = |receiver: &Receiver| {
        let kept = |number: &u64| !receiver.samples(&format!("calls_{number}_total")).is_empty();
        (0..3).filter(kept).collect::<Vec<_>>()
    };
    assert_eq!(names(&all), [0, 1, 2]);
    assert_eq!(names(&few), [1]);
    assert!(process.shows("prometheus_remote_storage_samples_dropped_total", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_over_its_size_drops_the_oldest_and_counts_it() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let remotes = quick(|_| (), &receiver);
    let process = Process::start_with(tempfile::tempdir().unwrap(), remotes, |storage| {
        storage.wal.max_bytes = 1;
    });
    let per_collection = 2_000;
    for collection in 1..=100 {
        process.collect(collection * 1_000, per_collection);
    }
    let bytes = process.handle().queue_bytes();
    assert!(bytes <= 10 * MIN_PART_BYTES, "{bytes} bytes");
    receiver.set(Then::Take);
    process.flush().await;
    let arrived: usize =
        (0..per_collection).map(|n| receiver.samples(&format!("calls_{n}_total")).len()).sum();
    let text = process.registry.encode();
    let dropped = text
        .lines()
        .find(|line| line.contains("samples_dropped_total{") && line.contains("queue_full"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    assert_eq!(dropped.unwrap() + arrived, 100 * per_collection as usize);
    assert!(receiver.samples("calls_7_total").ends_with(&[(100_000, 100_000.0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_over_the_age_limit_are_dropped_before_they_are_sent() {
    let receiver = Receiver::start().await;
    let limit = |config: &mut Config| {
        config.queue_config =
            QueueConfig { sample_age_limit: PromDuration::hours(1), ..QueueConfig::default() };
    };
    let process = Process::start(tempfile::tempdir().unwrap(), quick(limit, &receiver));
    process.collect(1_000, 2);
    process.flush().await;
    assert_eq!(receiver.requests().len(), 0);
    assert!(process.shows("prometheus_remote_storage_samples_dropped_total", "2"));
}
