//! Merges the spans that ingesters send for a live tail.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use tactus_api::live_tail::SpanRate;
use tactus_proto::tactus::v1::{TailAttribute, TailResponse, TailSpan};

use super::Place;

/// Replicas of a span arrive within this time of each other.
const REPLICA_DELAY: Duration = Duration::from_secs(30);
/// Bytes of the spans that wait for the reader. Beyond it the oldest are dropped: a span may have a hundred thousand.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Number of origins that are remembered for that time.
const MAX_ORIGINS: usize = 100_000;

/// Numbers since the tail began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Spans that match.
    pub(crate) matched: u64,
    /// Matching spans that were sent to the reader.
    pub(crate) shown: u64,
    /// Matching spans that were not sent, because there were too many a second or the reader was too slow.
    pub(crate) dropped: u64,
    /// Upper bound on the spans that no ingester had time to evaluate.
    pub(crate) skipped: u64,
    /// Streams that are open, and streams that should be.
    pub(crate) followed: usize,
    pub(crate) expected: usize,
}

/// One message to the reader.
#[derive(Debug)]
pub(crate) struct Update {
    /// In order of arrival.
    pub(crate) spans: Vec<TailSpan>,
    /// Memory of the spans.
    pub(crate) bytes: usize,
    pub(crate) counts: Counts,
}

/// The spans that wait for the reader, and the counts.
pub(super) struct Merge {
    rate: SpanRate,
    max_waiting: usize,
    copies: u64,
    origins: Origins,
    waiting: VecDeque<TailSpan>,
    waiting_bytes: usize,
    matched: u64,
    shown: u64,
    /// Summed over replicas.
    skipped: u64,
    followed: HashSet<Place>,
    expected: usize,
    told: Option<Counts>,
}

impl Merge {
    /// `copies`: number of ingesters that store each span.
    pub(super) fn new(spans_per_second: u32, max_waiting: usize, copies: u64) -> Self {
        Self {
            rate: SpanRate::new(spans_per_second, Instant::now()),
            max_waiting,
            copies,
            origins: Origins::new(Instant::now()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            matched: 0,
            shown: 0,
            skipped: 0,
            followed: HashSet::new(),
            expected: 0,
            told: None,
        }
    }

    /// Sets the number of streams that should be open.
    pub(super) fn expect(&mut self, streams: usize) {
        self.expected = streams;
    }

    /// Notes that the stream of a place ended.
    pub(super) fn lost(&mut self, place: &Place) {
        self.followed.remove(place);
    }

    /// Adds a message of a place. The first of several replicas counts.
    pub(super) fn add(&mut self, place: &Place, response: TailResponse) {
        if !self.followed.contains(place) {
            self.followed.insert(place.clone());
        }
        self.skipped += response.skipped_spans;
        let now = Instant::now();
        for run in response.runs {
            if run.origin != 0 && !self.origins.insert(run.origin, now) {
                continue;
            }
            self.matched += run.matched_spans;
            let available = self.rate.available(now).min(run.spans.len());
            self.rate.take(available);
            for span in run.spans.into_iter().take(available) {
                self.waiting_bytes += bytes_of(&span);
                self.waiting.push_back(span);
            }
        }
        while self.waiting.len() > self.max_waiting || self.waiting_bytes > MAX_WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= bytes_of(&oldest);
        }
    }

    fn counts(&self, shown: u64) -> Counts {
        Counts {
            matched: self.matched,
            shown,
            dropped: self.matched.saturating_sub(shown),
            skipped: self.skipped.div_ceil(self.copies),
            followed: self.followed.len(),
            expected: self.expected,
        }
    }

    /// True if there is something that the reader has not been told.
    pub(super) fn has_news(&self) -> bool {
        // Until the first ingester has answered, there is nothing to say.
        !self.waiting.is_empty()
            || (!self.followed.is_empty() || self.told.is_some())
                && self.told != Some(self.counts(self.shown))
    }

    /// Takes all that waits for the reader.
    pub(super) fn take_update(&mut self) -> Update {
        let spans: Vec<_> = std::mem::take(&mut self.waiting).into();
        self.shown += spans.len() as u64;
        let counts = self.counts(self.shown);
        self.told = Some(counts);
        Update { spans, bytes: std::mem::take(&mut self.waiting_bytes), counts }
    }
}

/// About the memory of a span.
fn bytes_of(span: &TailSpan) -> usize {
    let texts = span.service.len() + span.name.len() + span.status_message.len();
    let of_attribute = |it: &TailAttribute| size_of_val(it) + it.key.len() + it.value.len();
    let attributes: usize = span.attributes.iter().map(of_attribute).sum();
    size_of_val(span) + span.trace_id.len() + span.span_id.len() + texts + attributes
}

/// Origins that were seen a short time ago.
struct Origins {
    young: HashSet<u64>,
    old: HashSet<u64>,
    turned: Instant,
}

impl Origins {
    fn new(now: Instant) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), turned: now }
    }

    /// False if it was seen before.
    fn insert(&mut self, origin: u64, now: Instant) -> bool {
        let is_late = now.saturating_duration_since(self.turned) > REPLICA_DELAY;
        if is_late || self.young.len() >= MAX_ORIGINS {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        !self.old.contains(&origin) && self.young.insert(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_proto::tactus::v1::TailRun;

    fn run(origin: u64, matched_spans: u64, spans: usize) -> TailRun {
        let spans = (0..spans).map(|n| TailSpan { start_nanos: n as u64, ..TailSpan::default() });
        TailRun { origin, matched_spans, spans: spans.collect() }
    }

    fn response(runs: Vec<TailRun>, skipped_spans: u64) -> TailResponse {
        TailResponse { runs, skipped_spans }
    }

    fn place(name: &str) -> Place {
        (0, name.to_owned())
    }

    #[test]
    fn replicas_count_once_and_spans_without_replicas_each_time() {
        let mut merge = Merge::new(100, 100, 3);
        for ingester in ["a", "b", "c"] {
            merge.add(&place(ingester), response(vec![run(7, 5, 2), run(8, 1, 1)], 2));
        }
        merge.add(&place("a"), response(vec![run(0, 1, 1), run(0, 1, 1)], 0));
        let update = merge.take_update();
        let counts = update.counts;
        assert_eq!(update.spans.len(), 5);
        assert_eq!((counts.matched, counts.shown, counts.dropped), (8, 5, 3));
        assert_eq!((counts.skipped, counts.followed), (2, 3));
    }

    #[test]
    fn slow_reader_gets_the_newest_and_the_number_of_the_others() {
        let mut merge = Merge::new(1_000, 3, 1);
        merge.add(&place("a"), response(vec![run(0, 5, 5)], 0));
        let update = merge.take_update();
        let starts: Vec<_> = update.spans.iter().map(|span| span.start_nanos).collect();
        assert_eq!(starts, [2, 3, 4]);
        assert_eq!((update.counts.shown, update.counts.dropped), (3, 2));
        assert!(!merge.has_news());
    }

    #[test]
    fn spans_for_a_slow_reader_are_bounded_by_their_bytes() {
        let mut merge = Merge::new(1_000, 1_000, 1);
        let large =
            TailAttribute { key: "k".to_owned(), value: "x".repeat(MAX_WAITING_BYTES / 10) };
        for number in 0..100 {
            let mut of_one = run(number + 1, 1, 1);
            of_one.spans[0].start_nanos = number;
            of_one.spans[0].attributes = vec![large.clone()];
            merge.add(&place("a"), response(vec![of_one], 0));
        }
        let update = merge.take_update();
        let starts: Vec<_> = update.spans.iter().map(|span| span.start_nanos).collect();
        assert_eq!(starts, (91..100).collect::<Vec<u64>>());
        assert!((MAX_WAITING_BYTES / 2..=MAX_WAITING_BYTES).contains(&update.bytes));
        assert_eq!((update.counts.shown, update.counts.dropped), (9, 91));
        merge.add(&place("a"), response(vec![run(200, 1, 1)], 0));
        assert!(merge.take_update().bytes < 1_000);
    }

    #[test]
    fn rate_bounds_what_is_shown() {
        let mut merge = Merge::new(2, 100, 1);
        merge.add(&place("a"), response(vec![run(1, 4, 4), run(2, 4, 4)], 0));
        let update = merge.take_update();
        assert_eq!((update.spans.len(), update.counts.matched, update.counts.dropped), (2, 8, 6));
    }

    #[test]
    fn origins_are_forgotten_after_a_while_and_never_many() {
        let start = Instant::now();
        let mut origins = Origins::new(start);
        assert!(origins.insert(1, start));
        assert!(!origins.insert(1, start + REPLICA_DELAY));
        let late = start + REPLICA_DELAY * 2;
        assert!(!origins.insert(1, late), "what came just before is known");
        assert!(origins.insert(2, late + REPLICA_DELAY * 2));
        assert!(origins.insert(1, late + REPLICA_DELAY * 4));
        for origin in 10..10 + 3 * MAX_ORIGINS as u64 {
            origins.insert(origin, late);
        }
        assert!(origins.young.len() + origins.old.len() <= 2 * MAX_ORIGINS);
    }

    #[test]
    fn loss_of_an_ingester_is_news() {
        let mut merge = Merge::new(2, 100, 1);
        merge.expect(2);
        assert!(!merge.has_news());
        merge.add(&place("a"), TailResponse::default());
        assert!(merge.has_news());
        merge.take_update();
        assert!(!merge.has_news());
        merge.lost(&place("a"));
        let counts = merge.take_update().counts;
        assert_eq!((counts.followed, counts.expected), (0, 2));
    }
}
