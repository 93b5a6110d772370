//! Measures the remote-write queue while its receiver is away: `outage [samples a second] [seconds] [address]`.
//!
//! Collections of 15 seconds, up to now, are made one after the other without waiting, then the queue's bytes on disk and the
//! process's resident memory are shown. With the address of a receiver that comes back meanwhile, waits for it and shows how
//! long it takes to send everything.

#![expect(clippy::print_stdout, reason = "a measurement reports to its terminal")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tactus_config::sections::generator::GeneratorStorage;
use tactus_config::sections::remote_write::RemoteWrite as Remote;
use tactus_model::TenantId;
use tactus_remote_write::RemoteWrite;
use tactus_remote_write::series::{Series, Sink};
use tactus_telemetry::metrics::Registry;

const INTERVAL_SECONDS: u64 = 15;

/// Bounds of the default buckets of span-metrics, without the last.
const BOUNDS: [&str; 14] = [
    "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512", "1.024",
    "2.048", "4.096", "8.192", "16.384",
];

type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Labels of one combination of service, span name, kind and status.
fn labels(set: u64) -> Labels {
    let pair = |name: &str, value: String| (Arc::from(name), Arc::from(value));
    vec![
        pair("__metrics_gen_instance", "metrics-generator-0".to_owned()),
        pair("service", format!("service-{}", set % 40)),
        pair("span_kind", "SPAN_KIND_SERVER".to_owned()),
        pair("span_name", format!("GET /api/v1/resource-{}", set / 40)),
        pair("status_code", "STATUS_CODE_UNSET".to_owned()),
    ]
}

/// The 18 series of one combination.
fn collect(sink: &mut impl Sink, set: u64, labels: &Labels, time_ms: i64, tick: u64) {
    let count = tick * (set % 97 + 1);
    let mut part = 0;
    let mut float = |name: &str, le: Option<&str>, value: f64| {
        let series = Series { reference: set * 32 + part, labels, name, le };
        sink.float(&series, time_ms, value);
        part += 1;
    };
    float("traces_spanmetrics_calls_total", None, count as f64);
    float("traces_spanmetrics_latency_sum", None, count as f64 * 0.0371);
    float("traces_spanmetrics_latency_count", None, count as f64);
    for (bucket, le) in BOUNDS.iter().enumerate() {
        let below = count * (bucket as u64 + 1) / 15;
        float("traces_spanmetrics_latency_bucket", Some(le), below as f64);
    }
    float("traces_spanmetrics_latency_bucket", Some("+Inf"), count as f64);
}

fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn argument(index: usize, default: u64) -> Result<u64, std::num::ParseIntError> {
    std::env::args().nth(index).map_or(Ok(default), |text| text.parse())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (rate, seconds) = (argument(1, 1_000)?, argument(2, 3_600)?);
    // Nobody listens there.
    let url = std::env::args().nth(3).unwrap_or_else(|| "http://127.0.0.1:9/write".to_owned());
    let wait = std::env::args().len() > 3;
    let sets = rate * INTERVAL_SECONDS / 18;
    let dir = std::env::temp_dir().join(format!("outage-{}", std::process::id()));
    let storage = GeneratorStorage {
        path: dir.to_string_lossy().into_owned(),
        remote_write: vec![Remote { url, ..Remote::default() }],
        ..GeneratorStorage::default()
    };
    let all: Vec<_> = (0..sets).map(labels).collect();
    let before = resident_kib();
    let remote = RemoteWrite::open(&storage, &Registry::new())?;
    let handle = remote.tenant(&TenantId::single(), &BTreeMap::new(), 0)?;
    let ticks = seconds / INTERVAL_SECONDS;
    let first_ms =
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64 - seconds * 1_000;
    let started = Instant::now();
    for tick in 1..=ticks {
        let time_ms = i64::try_from(first_ms + tick * INTERVAL_SECONDS * 1_000)?;
        let mut collection = handle.begin(time_ms);
        for (set, labels) in (0..).zip(&all) {
            collect(&mut collection, set, labels, time_ms, tick);
        }
        collection.commit()?;
    }
    let took = started.elapsed();
    let samples = ticks * sets * 18;
    println!(
        "{samples} samples of {} series in {ticks} collections, written in {took:.1?}",
        sets * 18
    );
    println!(
        "queue: {} bytes, {:.2} a sample",
        handle.queue_bytes(),
        handle.queue_bytes() as f64 / samples as f64
    );
    println!("resident: {before:?} KiB before, {:?} KiB now", resident_kib());
    let started = Instant::now();
    remote.flush(if wait { Duration::from_secs(3_600) } else { Duration::ZERO }).await;
    if wait {
        let (took, resident) = (started.elapsed(), resident_kib());
        println!("sent in {took:.1?}, resident: {resident:?} KiB");
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
