//! Limits the memory of connections outside of complete requests: heads that have not completely arrived, and pieces of
//! answers that were not read. And the number of open requests, each of which takes some memory even if nothing comes of it.
//!
//! A single connection has little of that, because both are bounded, but thousands of connections whose clients do
//! nothing else would have much. So there is a limit for all connections of a process together. Beyond it, the
//! connection is cut that has cost the most so far: bytes times the time since it last made progress. Connections that
//! hold little are only cut if together they hold most: very many unfinished heads must not cost others their answers.

use std::cmp::Reverse;
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
    /// Open requests of all connections but those that were cut for theirs.
    requests: AtomicU64,
    /// Bytes that clients of HTTP/2 may send in advance: see [`Window`](super::windows::Window).
    pub(super) windows: AtomicU64,
    next: AtomicU64,
    /// All connections, by number.
    open: Mutex<HashMap<u64, Arc<Holding>>>,
    /// A connection was cut and is not gone yet. Until then nobody looks through all of them again.
    is_cutting: AtomicBool,
}

#[derive(Debug)]
struct Holding {
    bytes: AtomicU64,
    requests: Mutex<OpenRequests>,
    /// When it last held less, or began to hold something.
    got_on: Mutex<Instant>,
    cut: CancellationToken,
}

/// The requests of a connection between their head and the end of their answer.
#[derive(Debug, Clone, Copy)]
struct OpenRequests {
    count: u64,
    /// When one of them last ended, or the first one began.
    answered: Instant,
    /// The connection was cut for them: they do not count any more.
    is_cut: bool,
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
            requests: Mutex::new(OpenRequests { count: 0, answered: now, is_cut: false }),
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

    /// If too many requests are open, cuts connections whose have cost most, of those that have many or of those that have few,
    /// whichever have more together. A flood opens them faster than a connection ends, so those that were cut do not count.
    fn bound_requests(&self) {
        let most = self.max_bytes.load(Relaxed) / OPEN_REQUEST_BYTES;
        if self.requests.load(Relaxed) <= most {
            return;
        }
        let open = self.open.lock();
        let all = self.requests.load(Relaxed);
        if all <= most {
            return;
        }
        let held = open.values().map(|holding| (holding, *holding.requests.lock()));
        let mut held: Vec<_> =
            held.filter(|(_, requests)| requests.count > 0 && !requests.is_cut).collect();
        let has_many = |requests: &OpenRequests| requests.count >= MANY_REQUESTS;
        let of_many = held.iter().map(|(_, requests)| requests).filter(|it| has_many(it));
        let is_of_many = of_many.map(|requests| requests.count).sum::<u64>() >= all / 2;
        held.retain(|(_, requests)| has_many(requests) == is_of_many);
        let now = Instant::now();
        held.sort_by_cached_key(|(_, requests)| Reverse(requests.cost(now)));
        for (holding, _) in held {
            // Some more, so that not each further request looks through all connections.
            if self.requests.load(Relaxed) <= most - most / 64 {
                break;
            }
            let mut requests = holding.requests.lock();
            requests.is_cut = true;
            self.requests.fetch_sub(requests.count, Relaxed);
            holding.cut.cancel();
        }
    }
}

impl OpenRequests {
    fn cost(&self, now: Instant) -> u128 {
        let time = now.saturating_duration_since(self.answered);
        u128::from(self.count) * time.clamp(LEAST_TIME, MOST_TIME).as_millis()
    }
}

impl Holding {
    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn cost(&self, now: Instant) -> u128 {
        let time = now.saturating_duration_since(*self.got_on.lock()).max(LEAST_TIME);
        u128::from(self.bytes()) * time.as_millis()
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
        {
            let mut requests = self.holding.requests.lock();
            if requests.count == 0 {
                requests.answered = Instant::now();
            }
            requests.count += 1;
            if requests.is_cut {
                return;
            }
            self.backlog.requests.fetch_add(1, Relaxed);
        }
        self.backlog.bound_requests();
    }

    /// A request ends.
    pub(super) fn end_request(&self) {
        let mut requests = self.holding.requests.lock();
        requests.answered = Instant::now();
        requests.count -= 1;
        if !requests.is_cut {
            self.backlog.requests.fetch_sub(1, Relaxed);
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
mod tests;
