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
