mod ended;
mod remotes;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::collection::{Collection, Writer};
use super::super::metrics::{Families, TenantMetrics};
use super::super::reader::{Bound, Reader, Window};
use super::super::relabel::Relabeling;
use super::super::wire::Value;
use super::*;
use crate::entry::Counts;
use crate::series::{NativeHistogram, Series, Sink};

const LIMITS: Limits =
    Limits { part_bytes: 1 << 20, max_bytes: 8 << 20, max_age: Duration::from_secs(4 * 3600) };

/// A tenant's queue without senders.
struct Tenant {
    dir: tempfile::TempDir,
    queue: Option<Arc<Queue>>,
    writer: Mutex<Writer>,
    metrics: TenantMetrics,
}

/// Series number, time and value of each sample.
type Samples = Vec<(u64, i64, f64)>;

impl Tenant {
    fn new() -> Self {
        let families = Arc::new(Families::register(&tactus_telemetry::metrics::Registry::new()));
        let mut tenant = Self {
            dir: tempfile::tempdir().unwrap(),
            queue: None,
            writer: Mutex::new(Writer::new(0)),
            metrics: TenantMetrics::new(&families, "t", &[]),
        };
        tenant.restart(LIMITS, &["a"]);
        tenant
    }

    fn restart(&mut self, limits: Limits, remotes: &[&str]) {
        let key = |key: &&str| RemoteKey { key: (*key).to_owned(), content: format!("{key}2") };
        self.restart_with(limits, &remotes.iter().map(key).collect::<Vec<_>>());
    }

    fn restart_with(&mut self, limits: Limits, keys: &[RemoteKey]) {
        self.queue = None;
        self.queue = Some(Arc::new(Queue::open(self.dir.path(), limits, keys).unwrap()));
        self.writer = Mutex::new(Writer::new(0));
    }

    fn queue(&self) -> &Arc<Queue> {
        self.queue.as_ref().unwrap()
    }

    fn begin(&self, now_ms: i64) -> Collection<'_> {
        Collection::begin(self.writer.lock(), self.queue.as_deref(), &self.metrics, now_ms)
    }

    /// One collection of `count` series at a time.
    fn collect(&self, time_ms: i64, count: u64) -> Samples {
        let mut collection = self.begin(time_ms);
        let samples = fill(&mut collection, time_ms, count);
        collection.commit().unwrap();
        samples
    }

    /// Everything that a remote would send from here on, as series, time and value, and how many places were damaged.
    fn read(&self, remote: usize, limit: usize) -> (Samples, u64) {
        let relabeling = Arc::new(Relabeling::default());
        let mut reader = Reader::new(Arc::clone(self.queue()), remote, relabeling);
        let (mut samples, mut damaged) = (Vec::new(), 0);
        loop {
            let mut window = Window::default();
            reader.fill(&mut window, Bound::Items(limit)).unwrap();
            damaged += window.damaged;
            if window.items.is_empty() {
                return (samples, damaged);
            }
            for item in window.items {
                // The only label of a series in these tests is its number, the last two bytes are its digits.
                let text = String::from_utf8_lossy(&item.labels).into_owned();
                let number = text.rsplit('n').next().unwrap().parse().unwrap();
                let Value::Float(value) = item.value else { panic!("{:?}", item.value) };
                samples.push((number, item.timestamp_ms, value));
            }
        }
    }

    fn parts(&self) -> Vec<PathBuf> {
        let mut parts: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
            .collect();
        parts.sort();
        parts
    }
}

fn fill(sink: &mut impl Sink, time_ms: i64, count: u64) -> Samples {
    let of = |number: u64| (number, time_ms, number as f64 + time_ms as f64 / 7.0);
    let samples: Samples = (0..count).map(of).collect();
    for (number, time_ms, value) in &samples {
        let name = format!("n{number}");
        let series = Series { reference: *number, labels: &[], name: &name, le: None };
        sink.float(&series, *time_ms, *value);
    }
    samples
}

#[test]
fn committed_collections_come_back_after_a_restart_in_order() {
    let mut tenant = Tenant::new();
    let mut expected = tenant.collect(1_000, 3);
    expected.extend(tenant.collect(2_000, 5));
    assert_eq!(tenant.read(0, 2).0, expected);
    tenant.restart(LIMITS, &["a"]);
    expected.extend(tenant.collect(3_000, 4));
    assert_eq!(tenant.read(0, 3).0, expected);
}

#[test]
fn log_cut_off_anywhere_gives_whole_collections() {
    let mut tenant = Tenant::new();
    let mut ends = Vec::new();
    let mut expected = Vec::new();
    for time_ms in [1_000, 2_000, 3_000] {
        expected.extend(tenant.collect(time_ms, 4));
        ends.push((tenant.queue().bytes(), expected.len()));
    }
    tenant.queue = None;
    let path = tenant.parts().remove(0);
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        tenant.restart(LIMITS, &["a"]);
        let complete = ends.iter().rev().find(|(end, _)| *end <= cut as u64);
        let complete = complete.map_or(0, |(_, samples)| *samples);
        let left: u64 = tenant.queue().left_behind().iter().map(|counts| counts.total()).sum();
        assert_eq!(left, complete as u64, "cut at {cut}");
        assert_eq!(tenant.read(0, 5).0, expected[..complete], "cut at {cut}");
        tenant.queue = None;
    }
}

#[test]
fn collection_of_several_frames_that_is_cut_off_is_not_there() {
    let mut tenant = Tenant::new();
    let first = tenant.collect(1_000, 10);
    let end = tenant.queue().bytes();
    tenant.collect(2_000, 40_000);
    let path = tenant.parts().remove(0);
    tenant.queue = None;
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() as u64 - end > 3 * (256 << 10), "{} bytes", whole.len());
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    tenant.restart(LIMITS, &["a"]);
    let mut expected = first;
    expected.extend(tenant.collect(3_000, 2));
    let (samples, damaged) = tenant.read(0, 1_000);
    assert_eq!(samples, expected);
    assert_eq!(damaged, 0, "what was never committed is not damage");
}

#[test]
fn corrupt_record_costs_the_rest_of_its_part_and_is_counted() {
    let mut tenant = Tenant::new();
    let mut expected = tenant.collect(1_000, 4);
    let at = tenant.queue().bytes();
    tenant.collect(2_000, 4);
    tenant.collect(3_000, 4);
    let path = tenant.parts().remove(0);
    tenant.restart(LIMITS, &["a"]);
    expected.extend(tenant.collect(4_000, 4));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at as usize + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    tenant.restart(LIMITS, &["a"]);
    assert_eq!(tenant.read(0, 100), (expected, 1));
}

#[test]
fn collection_that_was_given_up_is_never_sent() {
    let mut tenant = Tenant::new();
    let mut expected = tenant.collect(1_000, 2);
    let mut given_up = tenant.begin(2_000);
    fill(&mut given_up, 2_000, 40_000);
    drop(given_up);
    // Its times are free again.
    expected.extend(tenant.collect(1_500, 2));
    assert_eq!(tenant.read(0, 7).0, expected);
    tenant.restart(LIMITS, &["a"]);
    assert_eq!(tenant.read(0, 7).0, expected);
}

#[test]
fn samples_not_newer_than_the_last_are_left_out() {
    let tenant = Tenant::new();
    let mut expected = tenant.collect(2_000, 2);
    tenant.collect(2_000, 2);
    tenant.collect(1_000, 2);
    expected.extend(tenant.collect(2_001, 2));
    assert_eq!(tenant.read(0, 100).0, expected);
}

#[test]
fn same_labels_under_another_reference_stay_in_order() {
    let tenant = Tenant::new();
    let series = |reference| Series { reference, labels: &[], name: "n0", le: None };
    for (reference, time_ms) in [(1, 2_000), (2, 1_000), (2, 3_000)] {
        let mut collection = tenant.begin(time_ms);
        collection.float(&series(reference), time_ms, 1.0);
        collection.commit().unwrap();
    }
    assert_eq!(tenant.read(0, 100).0, [(0, 2_000, 1.0), (0, 3_000, 1.0)]);
}

#[test]
fn labels_that_go_on_under_another_reference_get_no_marker() {
    use crate::series::STALE;
    let tenant = Tenant::new();
    let series = |reference| Series { reference, labels: &[], name: "n0", le: None };
    for (time_ms, samples) in [
        (1_000, &[(1, 1.0)][..]),
        // The buckets of a histogram change.
        (2_000, &[(2, 1.0), (1, STALE)]),
        (3_000, &[(2, 1.0)]),
        // Both end, and which of them is first is not known.
        (4_000, &[(1, STALE), (2, STALE)]),
        (5_000, &[(3, 1.0)]),
    ] {
        let mut collection = tenant.begin(time_ms);
        for (reference, value) in samples {
            collection.float(&series(*reference), time_ms, *value);
        }
        collection.commit().unwrap();
    }
    // One whose only collection was given up does not count.
    let mut given_up = tenant.begin(6_000);
    given_up.float(&series(4), 6_000, 1.0);
    drop(given_up);
    let mut collection = tenant.begin(7_000);
    collection.float(&series(3), 7_000, STALE);
    collection.commit().unwrap();
    let (samples, _) = tenant.read(0, 100);
    let seen: Vec<_> =
        samples.iter().map(|(_, at, value)| (*at, value.to_bits() == STALE.to_bits())).collect();
    let ended = [4_000, 7_000];
    let expected = [1_000, 2_000, 3_000, 4_000, 5_000, 7_000].map(|at| (at, ended.contains(&at)));
    assert_eq!(seen, expected);
}

#[test]
fn samples_up_to_the_start_are_left_out() {
    let tenant = Tenant::new();
    tenant.writer.lock().restart(1_500);
    tenant.collect(1_500, 2);
    let expected = tenant.collect(1_501, 2);
    assert_eq!(tenant.read(0, 100).0, expected);
}

#[test]
fn remote_goes_on_at_its_mark_and_a_new_one_begins_now() {
    let mut tenant = Tenant::new();
    let mut expected = tenant.collect(1_000, 6);
    let relabeling = Arc::new(Relabeling::default());
    let mut reader = Reader::new(Arc::clone(tenant.queue()), 0, relabeling);
    let mut window = Window::default();
    reader.fill(&mut window, Bound::Items(4)).unwrap();
    tenant.queue().set_mark(0, Mark { done: window.end, in_flight: None });
    drop(reader);
    tenant.restart(LIMITS, &["a", "b"]);
    assert_eq!(tenant.queue().left_behind()[0].floats, 2);
    assert_eq!(tenant.queue().left_behind()[1].floats, 0);
    let later = tenant.collect(2_000, 3);
    expected.drain(..4);
    expected.extend_from_slice(&later);
    assert_eq!(tenant.read(0, 100).0, expected);
    assert_eq!(tenant.read(1, 100).0, later);
}

#[test]
fn log_over_its_size_loses_the_oldest_and_says_what() {
    let mut tenant = Tenant::new();
    let limits = Limits { part_bytes: 4 << 10, max_bytes: 16 << 10, ..LIMITS };
    tenant.restart(limits, &["a"]);
    let mut written = Vec::new();
    let mut lost = Counts::default();
    for collection in 1..200 {
        written.extend(tenant.collect(collection * 1_000, 20));
        // Commit enforced them already, but told the metrics: count what it lost by what is left.
    }
    let (left, _) = tenant.read(0, 1_000);
    assert!(tenant.queue().bytes() <= limits.max_bytes + limits.part_bytes);
    assert!(!left.is_empty() && left.len() < written.len());
    assert_eq!(left, written[written.len() - left.len()..], "the newest are left");
    for loss in tenant.queue().enforce_limits(Instant::now() + 2 * LIMITS.max_age) {
        assert_eq!((loss.remote, loss.reason), (0, DropReason::TooOld));
        lost.merge(loss.counts);
    }
    assert_eq!(lost.total(), 0, "what is read is on its way");
    tenant.restart(limits, &["a"]);
    let (left, _) = tenant.read(0, 1_000);
    tenant.restart(limits, &["a"]);
    for loss in tenant.queue().enforce_limits(Instant::now() + 2 * LIMITS.max_age) {
        lost.merge(loss.counts);
    }
    assert_eq!(lost.floats, left.len() as u64);
    assert_eq!(tenant.read(0, 1_000).0, []);
    assert!(tenant.queue().is_drained(), "what was dropped is not waited for");
}

#[test]
fn part_written_in_the_future_ages_from_now_on() {
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    assert!(instant_of(tomorrow).elapsed() < Duration::from_secs(3_600));
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    let age = instant_of(yesterday).elapsed();
    assert!(age >= Duration::from_secs(86_400) && age < Duration::from_secs(90_000), "{age:?}");
}

#[test]
fn parts_that_every_remote_has_are_deleted() {
    let mut tenant = Tenant::new();
    // A part is of a sixteenth of this time.
    tenant.restart(Limits { max_age: Duration::from_secs(16), ..LIMITS }, &["a", "b"]);
    for collection in 1..4 {
        tenant.collect(collection * 1_000, 20);
    }
    assert_eq!(tenant.parts().len(), 3);
    let pass = |remote| {
        let relabeling = Arc::new(Relabeling::default());
        let mut reader = Reader::new(Arc::clone(tenant.queue()), remote, relabeling);
        let mut window = Window::default();
        reader.fill(&mut window, Bound::Items(1_000)).unwrap();
        tenant.queue().set_mark(remote, Mark { done: window.end, in_flight: None });
    };
    pass(0);
    assert_eq!(tenant.parts().len(), 3);
    assert!(!tenant.queue().is_drained());
    pass(1);
    assert_eq!(tenant.parts().len(), 1);
    assert!(tenant.queue().is_drained());
    tenant.queue().delete();
    assert_eq!(tenant.parts(), Vec::<PathBuf>::new());
}

#[test]
fn histograms_and_exemplars_come_back_with_their_series() {
    let tenant = Tenant::new();
    let value = NativeHistogram { count: 2.0, sum: 0.5, schema: 3, ..NativeHistogram::default() };
    let series = Series { reference: 1, labels: &[], name: "h", le: None };
    let mut collection = tenant.begin(1_000);
    collection.histogram(&series, 1_000, &value);
    for trace_id in ["ab", "ab", "cd", &"x".repeat(200)] {
        let exemplar = crate::series::Exemplar {
            label: "traceID",
            trace_id,
            value: 0.25,
            timestamp_ms: 1_000,
        };
        collection.exemplar(&series, &exemplar);
    }
    collection.commit().unwrap();
    let mut reader = Reader::new(Arc::clone(tenant.queue()), 0, Arc::default());
    let mut window = Window::default();
    reader.fill(&mut window, Bound::Items(1)).unwrap();
    let [first, second, third] = &window.items[..] else { panic!("{:?}", window.items) };
    assert!(matches!(&first.value, Value::Histogram(read) if **read == value));
    for (item, expected) in [(second, "ab"), (third, "cd")] {
        let Value::Exemplar { trace_id, .. } = &item.value else { panic!("{item:?}") };
        assert_eq!((&**trace_id, &item.labels), (expected, &first.labels));
    }
}

#[test]
fn directory_that_is_created_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("above/tenant");
    let _queue = Queue::open(&dir, LIMITS, &[]).unwrap();
    for path in [dir.parent().unwrap(), &dir] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
