//! Limits the memory of connections outside of complete requests: heads that have not completely arrived, and pieces of
//! answers that were not read. And the number of open requests, each of which takes some memory even if nothing comes of it.
//!
//! A single connection has little of that, because both are bounded, but thousands of connections whose clients do
//! nothing else would have much. So there is a limit for all connections of a process together. Beyond it, the
//! connection is cut that has cost the most so far: bytes times the time since it last made progress. Connections that
//! hold little are only cut if together they hold most: very many unfinished heads must not cost others their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Buf;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Default limit for all connections of a process.
const DEFAULT_MAX_BYTES: u64 = 64 << 20;

/// Connections that hold less hold little.
const SMALL: u64 = 8 << 10;

/// Longer pieces are no memory of their own, but parts of a file in the program.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// What an open request takes in the HTTP library and at its service, however small it is.
const OPEN_REQUEST_BYTES: u64 = 8 << 10;

/// Connections with fewer open requests have few.
const MANY_REQUESTS: u64 = 16;

/// The longest time that open requests count with: those that last for hours must not be the first to go.
const MOST_TIME: Duration = Duration::from_secs(1);

/// The time without progress that a new connection counts with from the start.
const LEAST_TIME: Duration = Duration::from_millis(50);

/// The memory of connections that share a limit.
#[derive(Debug)]
pub struct Backlog {
    pub(super) max_bytes: AtomicU64,
    used: AtomicU64,
    /// Open requests of all connections.
    requests: AtomicU64,
    /// Bytes that clients of HTTP/2 may send in advance: see [`Window`](super::windows::Window).
    pub(super) windows: AtomicU64,
    next: AtomicU64,
    /// All connections, by number.
    open: Mutex<HashMap<u64, Arc<Holding>>>,
    /// A connection was cut and is not gone yet. Until then nobody looks through all of them again.
    is_cutting: AtomicBool,
    /// The same for one that is cut because of its open requests.
    is_cutting_requests: AtomicBool,
}

#[derive(Debug)]
struct Holding {
    bytes: AtomicU64,
    /// Between their head and the end of their answer.
    requests: AtomicU64,
    /// When one of them last ended, or the first one began.
    answered: Mutex<Instant>,
    /// When it last held less, or began to hold something.
    got_on: Mutex<Instant>,
    cut: CancellationToken,
}

/// The memory of one connection.
#[derive(Debug)]
pub(super) struct Share {
    backlog: Arc<Backlog>,
    number: u64,
    holding: Arc<Holding>,
}

impl Backlog {
    /// A bound of its own.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes: AtomicU64::new(max_bytes),
            used: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            windows: AtomicU64::new(0),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            is_cutting: AtomicBool::new(false),
            is_cutting_requests: AtomicBool::new(false),
        })
    }

    /// The one of the process, which all ports share but those of [`Self::of_services`].
    pub fn of_process() -> Arc<Self> {
        static BACKLOG: LazyLock<Arc<Backlog>> = LazyLock::new(|| Backlog::new(DEFAULT_MAX_BYTES));
        Arc::clone(&BACKLOG)
    }

    /// The one of the port on which services of the cluster call each other: connections of strangers to other ports leave
    /// them their windows.
    pub fn of_services() -> Arc<Self> {
        static BACKLOG: LazyLock<Arc<Backlog>> = LazyLock::new(|| Backlog::new(DEFAULT_MAX_BYTES));
        Arc::clone(&BACKLOG)
    }

    /// Sets the limit for all connections.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.max_bytes.store(max_bytes, Relaxed);
    }

    /// Nothing yet, of a new connection.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let now = Instant::now();
        let holding = Holding {
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            answered: Mutex::new(now),
            got_on: Mutex::new(now),
            cut: CancellationToken::new(),
        };
        let (number, holding) = (self.next.fetch_add(1, Relaxed), Arc::new(holding));
        self.open.lock().insert(number, Arc::clone(&holding));
        Arc::new(Share { backlog: Arc::clone(self), number, holding })
    }

    /// Cuts the connection that has cost most, of those that hold much or of those that hold little, whichever hold more
    /// together. Not if one is on its way out already.
    fn cut_one(&self) {
        if self.is_cutting.swap(true, Relaxed) {
            return;
        }
        let open = self.open.lock();
        let of_large: u64 =
            open.values().map(|holding| holding.bytes()).filter(|&bytes| bytes >= SMALL).sum();
        let is_of_large = of_large >= self.used.load(Relaxed) / 2;
        let chosen = open.values().filter(|holding| {
            (holding.bytes() >= SMALL) == is_of_large && !holding.cut.is_cancelled()
        });
        let now = Instant::now();
        match chosen.max_by_key(|holding| holding.cost(now)) {
            Some(most) => most.cut.cancel(),
            None => self.is_cutting.store(false, Relaxed),
        }
    }

    /// If too many requests are open, cuts the connection whose have cost most, of those that have many or of those that have
    /// few, whichever have more together. Not if one is on its way out already.
    fn bound_requests(&self) {
        let most = self.max_bytes.load(Relaxed) / OPEN_REQUEST_BYTES;
        if self.requests.load(Relaxed) <= most || self.is_cutting_requests.swap(true, Relaxed) {
            return;
        }
        let open = self.open.lock();
        let requests = open.values().map(|holding| holding.requests());
        let of_many: u64 = requests.filter(|&requests| requests >= MANY_REQUESTS).sum();
        let is_of_many = of_many >= self.requests.load(Relaxed) / 2;
        let chosen = open.values().filter(|holding| {
            (holding.requests() >= MANY_REQUESTS) == is_of_many && !holding.cut.is_cancelled()
        });
        let now = Instant::now();
        match chosen.max_by_key(|holding| holding.cost_of_requests(now)) {
            Some(chosen) if chosen.requests() > 0 => chosen.cut.cancel(),
            _ => self.is_cutting_requests.store(false, Relaxed),
        }
    }
}

impl Holding {
    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    fn cost(&self, now: Instant) -> u128 {
        let time = now.saturating_duration_since(*self.got_on.lock()).max(LEAST_TIME);
        u128::from(self.bytes()) * time.as_millis()
    }

    fn cost_of_requests(&self, now: Instant) -> u128 {
        let time = now.saturating_duration_since(*self.answered.lock());
        u128::from(self.requests()) * time.clamp(LEAST_TIME, MOST_TIME).as_millis()
    }
}

impl Share {
    pub(super) fn add(&self, bytes: u64) {
        if self.holding.bytes.fetch_add(bytes, Relaxed) == 0 {
            *self.holding.got_on.lock() = Instant::now();
        }
        let used = self.backlog.used.fetch_add(bytes, Relaxed) + bytes;
        if used > self.backlog.max_bytes.load(Relaxed) {
            self.backlog.cut_one();
        }
    }

    pub(super) fn remove(&self, bytes: u64) {
        let before = self.holding.bytes.fetch_sub(bytes, Relaxed);
        self.backlog.used.fetch_sub(bytes, Relaxed);
        if bytes > 0 && before > bytes {
            *self.holding.got_on.lock() = Instant::now();
        }
        // What is left of it may stay for long, in a task that still has a piece of a request.
        if before - bytes < SMALL && self.holding.cut.is_cancelled() {
            self.backlog.is_cutting.store(false, Relaxed);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holding.bytes() == 0
    }

    /// A request begins.
    pub(super) fn begin_request(&self) {
        if self.holding.requests.fetch_add(1, Relaxed) == 0 {
            *self.holding.answered.lock() = Instant::now();
        }
        self.backlog.requests.fetch_add(1, Relaxed);
        self.backlog.bound_requests();
    }

    /// A request ends.
    pub(super) fn end_request(&self) {
        *self.holding.answered.lock() = Instant::now();
        self.backlog.requests.fetch_sub(1, Relaxed);
        if self.holding.requests.fetch_sub(1, Relaxed) == 1 && self.holding.cut.is_cancelled() {
            self.backlog.is_cutting_requests.store(false, Relaxed);
            // More may have begun meanwhile than ended.
            self.backlog.bound_requests();
        }
    }

    /// Returns when the connection is to end for the sake of others.
    pub(super) async fn cut(&self) {
        self.holding.cut.cancelled().await;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.backlog.open.lock().remove(&self.number);
        let bytes = self.holding.bytes();
        let left = self.backlog.used.fetch_sub(bytes, Relaxed) - bytes;
        if self.holding.cut.is_cancelled() {
            self.backlog.is_cutting_requests.store(false, Relaxed);
            self.backlog.is_cutting.store(false, Relaxed);
            // What came meanwhile may need more room than this connection left.
            if left > self.backlog.max_bytes.load(Relaxed) {
                self.backlog.cut_one();
            }
        }
    }
}

/// A piece of an answer that counts until the connection releases it.
pub(super) struct Piece<D> {
    data: D,
    bytes: u64,
    share: Arc<Share>,
}

impl<D: Buf> Piece<D> {
    pub(super) fn new(data: D, share: &Arc<Share>) -> Self {
        let bytes = data.remaining().min(MAX_PIECE_BYTES) as u64;
        share.add(bytes);
        Self { data, bytes, share: Arc::clone(share) }
    }
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        self.data.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> bytes::Bytes {
        self.data.copy_to_bytes(count)
    }
}

impl<D> Drop for Piece<D> {
    fn drop(&mut self) {
        self.share.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_that_does_not_get_on_is_cut_for_others() {
        let backlog = Backlog::new(100_000);
        let [stuck, quick, small] = [(); 3].map(|()| backlog.share());
        let _stuck_piece = Piece::new(&[0_u8; 40_000][..], &stuck);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(Piece::new(&[0_u8; 50_000][..], &quick));
        }
        small.add(1_000);
        assert_eq!(backlog.used.load(Relaxed), 41_000);
        let _more = Piece::new(&[0_u8; 60_000][..], &quick);
        stuck.cut().await;
        assert!(!quick.holding.cut.is_cancelled() && !small.holding.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_hold_little_do_not_cost_a_reader_its_answer() {
        let backlog = Backlog::new(100_000);
        let idle = backlog.share();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let begun: Vec<_> = (0..12).map(|_| backlog.share()).collect();
        for share in &begun {
            share.add(7_900);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // It was idle for long, and begins a request now.
        idle.add(1_000);
        let reader = backlog.share();
        let _piece = Piece::new(&[0_u8; 40_000][..], &reader);
        begun[0].cut().await;
        let is_cut = |share: &Arc<Share>| share.holding.cut.is_cancelled();
        assert!(!begun[1..].iter().chain([&idle, &reader]).any(is_cut));
    }

    #[test]
    fn connections_are_cut_until_the_rest_is_within_the_limit() {
        let backlog = Backlog::new(100_000);
        let mut open: Vec<_> = (0..20).map(|_| backlog.share()).collect();
        open.iter().for_each(|share| share.add(20_000));
        while let Some(cut) = open.iter().position(|share| share.holding.cut.is_cancelled()) {
            drop(open.swap_remove(cut));
        }
        assert_eq!(open.len(), 5);
    }

    #[test]
    fn nothing_is_left_of_connections_that_ended() {
        let backlog = Backlog::new(1 << 20);
        let share = backlog.share();
        let piece = Piece::new(&[0_u8; 20_000][..], &share);
        share.add(9_000);
        share.remove(4_000);
        assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (25_000, 1));
        drop(piece);
        assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (5_000, 1));
        drop(share);
        assert_eq!((backlog.used.load(Relaxed), backlog.open.lock().len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn connection_of_most_requests_that_do_not_get_on_is_cut_for_others() {
        let backlog = Backlog::new(100 * OPEN_REQUEST_BYTES);
        let [lasting, flood, quick] = [(); 3].map(|()| backlog.share());
        (0..20).for_each(|_| lasting.begin_request());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        (0..30).for_each(|_| flood.begin_request());
        tokio::time::sleep(MOST_TIME).await;
        (0..50).for_each(|_| quick.begin_request());
        quick.end_request();
        let is_cut = |share: &Arc<Share>| share.holding.cut.is_cancelled();
        quick.begin_request();
        assert!(!is_cut(&lasting) && !is_cut(&flood) && !is_cut(&quick));
        quick.begin_request();
        assert!(!is_cut(&lasting) && is_cut(&flood) && !is_cut(&quick));
        (0..30).for_each(|_| flood.end_request());
        assert!(!backlog.is_cutting_requests.load(Relaxed));
        assert_eq!(backlog.requests.load(Relaxed), 71);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_many_connections_do_not_cost_one_its_many_that_end() {
        let backlog = Backlog::new(1000 * OPEN_REQUEST_BYTES);
        let gateway = backlog.share();
        let stalled: Vec<_> = (0..801).map(|_| backlog.share()).collect();
        stalled[..800].iter().for_each(|share| share.begin_request());
        tokio::time::sleep(MOST_TIME).await;
        (0..200).for_each(|_| gateway.begin_request());
        stalled[800].begin_request();
        assert!(!gateway.holding.cut.is_cancelled());
        assert_eq!(stalled.iter().filter(|share| share.holding.cut.is_cancelled()).count(), 1);
    }

    #[test]
    fn bound_that_is_set_holds_from_then_on() {
        let backlog = Backlog::new(1 << 20);
        let share = backlog.share();
        share.add(100_000);
        backlog.set_max_bytes(110_000);
        share.add(10_000);
        assert!(!share.holding.cut.is_cancelled());
        share.add(1);
        assert!(share.holding.cut.is_cancelled());
    }

    #[test]
    fn large_piece_is_a_part_of_a_file_of_the_program() {
        let backlog = Backlog::new(1 << 20);
        let _piece = Piece::new(&[0_u8; 900_000][..], &backlog.share());
        assert_eq!(backlog.used.load(Relaxed), 64 << 10);
    }
}
