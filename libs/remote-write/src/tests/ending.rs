//! The end of tenants.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn closed_tenant_whose_receiver_stays_down_ends_when_its_samples_are_too_old() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let remotes = quick(|_| (), &receiver);
    let mut process = Process::start_with(tempfile::tempdir().unwrap(), remotes, |storage| {
        storage.wal.max_wal_time = 1;
    });
    process.collect(1_000, 1);
    let left = Arc::clone(&process.handle().tenant);
    process.handle = None;
    tokio::time::sleep(Duration::from_millis(5)).await;
    // What is done once a minute.
    left.enforce_limits();
    drop(left);
    eventually("it has ended", || process.remote.tenants.lock().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenant_that_is_resumed_can_be_opened_at_once() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let mut process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    process.collect(1_000, 1);
    let image = process.crash_image();
    process.remote.stop.cancel();
    let storage = storage(image.path(), quick(|_| (), &receiver));
    process.remote = RemoteWrite::open(&storage, &process.registry).unwrap();
    let (remote, headers) = (Arc::clone(&process.remote), BTreeMap::new());
    remote.resume(&tenant(), &headers, 1_500).unwrap();
    process.handle = Some(remote.tenant(&tenant(), &headers, 1_500).unwrap());
    remote.resume(&tenant(), &headers, 1_500).unwrap();
    process.collect(2_000, 1);
    receiver.set(Then::Take);
    process.handle = None;
    eventually("it has ended", || remote.tenants.lock().is_empty()).await;
    assert_eq!(receiver.samples("calls_0_total"), [(1_000, 1_000.0), (2_000, 2_000.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_only_remote_is_dropped_and_counted_when_it_is_removed() {
    let receiver = Receiver::start().await;
    receiver.set(Then::Status(StatusCode::SERVICE_UNAVAILABLE));
    let process = Process::start(tempfile::tempdir().unwrap(), quick(|_| (), &receiver));
    process.collect(1_000, 3);
    let image = process.crash_image();
    process.remote.stop.cancel();
    let registry = Registry::new();
    let remote = RemoteWrite::open(&storage(image.path(), Vec::new()), &registry).unwrap();
    assert_eq!(remote.tenants_left_behind(), [tenant()]);
    remote.resume(&tenant(), &BTreeMap::new(), 5_000).unwrap();
    let page = registry.encode();
    let mut lines = page.lines().filter(|line| line.contains("_samples_dropped_total{"));
    let line = lines.next().unwrap();
    assert!(line.contains("\"remote_removed\"") && line.ends_with(" 3"), "{line}");
    eventually("nothing is left", || !image.path().join("team-a").exists()).await;
}
