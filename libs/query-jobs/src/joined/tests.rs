use std::sync::atomic::{AtomicU64, AtomicUsize};

use proptest::prelude::*;
use tactus_block::read::BytesSource;

use super::windows::{join, join_closest};
use super::*;

/// A file whose bytes tell their places, and how often it was read.
struct Counting {
    file: BytesSource,
    requests: AtomicUsize,
    bytes: AtomicU64,
}

const LENGTH: u64 = 40 << 20;

static FILE: std::sync::LazyLock<Bytes> = std::sync::LazyLock::new(|| {
    (0..LENGTH / 4).flat_map(|word| (word as u32).to_le_bytes()).collect()
});

impl ByteSource for Counting {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read(&self, range: Range<u64>) -> tactus_block::Result<Bytes> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        self.file.read(range)
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> tactus_block::Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }

    fn is_remote(&self) -> bool {
        true
    }
}

/// A source with windows for these ranges of row groups.
fn source(
    first: &[(Range<u64>, usize)],
    then: &[(Range<u64>, usize)],
) -> (JoinedSource, Arc<Counting>) {
    let all = join(first.iter().chain(then).cloned().collect(), MAX_GAP, MAX_BYTES);
    with(join(first.to_vec(), MAX_GAP, MAX_BYTES), all)
}

fn with(first: Vec<Window>, all: Vec<Window>) -> (JoinedSource, Arc<Counting>) {
    let file = BytesSource::new(FILE.clone());
    let inner =
        Arc::new(Counting { file, requests: AtomicUsize::new(0), bytes: AtomicU64::new(0) });
    let firsts = first.len();
    let windows = first.into_iter().chain(all).collect();
    let shared: Arc<dyn ByteSource> = Arc::clone(&inner) as _;
    (JoinedSource { inner: shared, windows, firsts, reads_all: AtomicBool::new(false) }, inner)
}

fn expected(range: &Range<u64>) -> Bytes {
    FILE.slice(range.start as usize..range.end as usize)
}

fn ranges() -> impl Strategy<Value = Vec<(Range<u64>, usize)>> {
    let range = (0..LENGTH, 0..3 * MAX_GAP, 0..6usize);
    let range =
        range.prop_map(|(start, length, group)| (start..(start + length).min(LENGTH), group));
    proptest::collection::vec(range, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_cover_all_ranges_and_are_no_longer_than_they_may(ranges in ranges()) {
        let windows = join(ranges.clone(), MAX_GAP, MAX_BYTES);
        for (range, group) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
            let holds = |window: &Window| window.covers(range) && window.row_groups.contains(group);
            prop_assert!(windows.iter().any(holds));
        }
        for window in &windows {
            let within: Vec<_> = ranges.iter().filter(|(range, _)| window.covers(range)).collect();
            let longest = within.iter().map(|(range, _)| range.end - range.start).max();
            prop_assert!(window.length() <= MAX_BYTES.max(longest.unwrap_or(0)));
        }
    }

    #[test]
    fn closest_windows_are_joined_until_they_are_few(ranges in ranges(), few in 1..8usize) {
        let before = join(ranges.clone(), MAX_GAP, MAX_BYTES);
        let bytes = |windows: &[Window]| windows.iter().map(Window::length).sum::<u64>();
        let (count, length) = (before.len(), bytes(&before));
        let windows = join_closest(before, few, MAX_BYTES);
        prop_assert!(windows.len() <= count && windows.len() >= few.min(count));
        prop_assert!(bytes(&windows) <= 2 * length);
        for (range, group) in ranges.iter().filter(|(range, _)| !range.is_empty()) {
            let holds = |window: &Window| window.covers(range) && window.row_groups.contains(group);
            prop_assert!(windows.iter().any(holds));
        }
    }

    #[test]
    fn reads_are_those_of_the_file_in_any_order(
        first in ranges(),
        then in ranges(),
        others in ranges(),
        order in proptest::collection::vec((any::<prop::sample::Index>(), 1..4usize, any::<bool>()), 1..20),
    ) {
        let (source, _) = source(&first, &then);
        let all: Vec<_> = [first, then, others].concat();
        prop_assume!(!all.is_empty());
        for (index, count, ends) in order {
            let from = index.index(all.len());
            let part = &all[from..(from + count).min(all.len())];
            let wanted: Vec<_> = part.iter().map(|(range, _)| range.clone()).collect();
            let read = source.read_many(&wanted).unwrap();
            prop_assert_eq!(read, wanted.iter().map(expected).collect::<Vec<_>>());
            if ends {
                source.windows.iter().for_each(|window| window.end(part[0].1));
            }
        }
    }
}

/// The hot and the further columns of row groups as blocks have them: in stripes of two, every other one turned.
fn stripes(count: usize) -> Vec<[Range<u64>; 2]> {
    let (hot, further, cold) = (300 << 10, 600 << 10, 1100 << 10);
    let stripe = 2 * (hot + further + cold);
    let of = |group: usize| {
        let (start, within) = ((group / 2) as u64 * stripe, (group % 2) as u64);
        let is_turned = (group / 2) % 2 == 1;
        let (hot_at, further_at) =
            if is_turned { (0, 2 * hot) } else { (2 * (cold + further), 2 * cold) };
        let part =
            |at: u64, length: u64| start + at + within * length..start + at + (within + 1) * length;
        [part(hot_at, hot), part(further_at, further)]
    };
    (0..count).map(of).collect()
}

fn read_stripes(matches: impl Fn(usize) -> bool) -> (usize, u64) {
    const GROUPS: usize = 20;
    let places = stripes(GROUPS);
    let part = |which: usize| -> Vec<_> {
        places.iter().enumerate().map(|(group, ranges)| (ranges[which].clone(), group)).collect()
    };
    let (source, inner) = source(&part(0), &part(1));
    for (group, [hot, further]) in places.iter().enumerate() {
        assert_eq!(source.read(hot.clone()).unwrap(), expected(hot));
        if matches(group) {
            assert_eq!(source.read(further.clone()).unwrap(), expected(further));
        }
        source.windows.iter().for_each(|window| window.end(group));
    }
    assert!(source.windows.iter().all(|window| window.bytes.lock().is_none()));
    (inner.requests.load(Ordering::Relaxed), inner.bytes.load(Ordering::Relaxed) >> 10)
}

#[test]
fn columns_of_four_row_groups_are_one_request() {
    assert_eq!(read_stripes(|_| false), (5, 20 * 300));
}

#[test]
fn what_was_needed_once_is_read_with_the_rest_from_then_on() {
    let (requests, kib) = read_stripes(|_| true);
    assert!(requests <= 6 && kib <= 20 * 900 + 4 * 300, "{requests} {kib}");
}

#[test]
fn matches_in_few_row_groups_ask_for_these() {
    let (requests, _) = read_stripes(|group| group == 19);
    assert_eq!(requests, 6);
}

/// Requests for two columns of the row groups of a stripe, of which the first is read alone. `far`: bytes between the columns.
fn read_stripe(far: u64) -> usize {
    const GROUPS: usize = 6;
    let length = 100 << 10;
    let columns = |group: usize| {
        [0, GROUPS as u64 * length + far].map(|at| {
            let start = at + group as u64 * length;
            start..start + length
        })
    };
    let of = |groups: Range<usize>| -> Vec<_> {
        groups.flat_map(|group| columns(group).map(|range| (range, group))).collect()
    };
    let (source, inner) = with(windows_of(of(0..1), of(1..GROUPS), MAX_BYTES), Vec::new());
    for group in 0..GROUPS {
        for range in columns(group) {
            assert_eq!(source.read(range.clone()).unwrap(), expected(&range));
        }
        source.windows.iter().for_each(|window| window.end(group));
    }
    inner.requests.load(Ordering::Relaxed)
}

#[test]
fn row_groups_among_each_other_are_one_request() {
    assert_eq!(read_stripe(1 << 20), 1);
    assert_eq!(read_stripe(8 << 20), 2);
}

#[test]
fn bytes_that_were_dropped_are_not_asked_for_again() {
    let window = |range, group| Window::new(range, vec![group]);
    let (source, inner) = with(vec![window(0..100, 0), window(50..150, 1)], Vec::new());
    source.read(0..100).unwrap();
    source.windows.iter().for_each(|window| window.end(0));
    for at in [50, 60, 70] {
        assert_eq!(source.read(at..at + 10).unwrap(), expected(&(at..at + 10)));
    }
    assert_eq!(inner.requests.load(Ordering::Relaxed), 2);
}

#[test]
fn end_of_a_row_group_does_not_wait_for_who_has_its_bytes() {
    let window = Window::new(0..10, vec![3]);
    let mut bytes = window.lock();
    *bytes = Some(Bytes::from_static(b"0123456789"));
    window.end(3);
    assert!(window.has_ended() && bytes.is_some());
}
