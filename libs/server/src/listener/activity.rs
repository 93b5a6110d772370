//! Tracks what a connection is doing, so that idle ones can be closed.

mod requests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ListenerSettings;
use super::backlog::Share;
use super::frames::{Frames, Unfinished};
use super::places::Place;
use super::socket::Socket;
use super::windows::Window;
use super::wrong_protocol::begins_tls;

pub(super) use requests::WatchedService;

/// "Never" and "not now" in the fields of [`Activity`].
const NONE: u64 = 0;

/// Smaller writes are no progress of a response: answers to pings, acknowledgements of HTTP/2.
const PROGRESS_BYTES: usize = 128;

/// How often one looks whether the client of a request has left, and how long it must have sent nothing.
const LEFT_AFTER: Duration = Duration::from_secs(2);

/// How long a connection is idle before it gives its place to one that waits for it.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(10);

/// Why a connection of which the client knows that it closes is cut.
const LEFT_OPEN: &str = "the client does not close an idle connection";

/// How long nothing is open, and nothing comes, before a connection of a port that closes is cut. A client that reads slowly what
/// the system still has for it sends more often that it has room.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Bytes that a body may take without a piece of it: many times what the HTTP library reads ahead. The length of a chunk may
/// have any number of zeros before it.
const MAX_FRUITLESS_BYTES: u64 = 4 << 20;

/// A byte of the head of a request of HTTP/2 may be a header line, of which the HTTP library keeps this much.
const HTTP2_LINE_BYTES: u64 = 75;

/// The HTTP library takes no more lines than fill a head of the largest size, at 33 bytes each. So all that it keeps is no
/// more than this many times that size.
const MOST_TIMES_HEAD: u64 = 3;

/// Times are milliseconds since the connection began, plus one.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    is_http2: AtomicBool,
    /// The first bytes were those of a TLS handshake.
    is_tls: AtomicBool,
    /// Whether there was a request.
    is_used: AtomicBool,
    /// Requests between their head and the end of their response.
    open: AtomicUsize,
    /// Told when there is an open request.
    opened: Notify,
    /// When bytes last came.
    read: AtomicU64,
    /// Responses that have begun and not ended, without those of gRPC: streams may be silent.
    sending: AtomicUsize,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// When the first byte of the head that is being read came. With HTTP/2, when the first read ended that left one unfinished.
    head_since: AtomicU64,
    /// When a response last made progress.
    wrote: AtomicU64,
    /// Since when the other side takes no more bytes.
    blocked_since: AtomicU64,
    /// The last request was not read to its end.
    is_unread: AtomicBool,
    /// What the head that is being read counts for: its bytes, or with HTTP/2 what may have become of them.
    head_bytes: AtomicU64,
    max_head_bytes: u64,
    /// HTTP/1.1: bytes read during a request since a piece of its body came out of them.
    fruitless_bytes: AtomicU64,
    /// The memory of the connection.
    share: Arc<Share>,
    /// The flow control window; `None` once the connection is known to be HTTP/1.
    window: Mutex<Option<Window>>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing is open: it may end in peace.
    Idle,
    /// The client is too slow: it is cut.
    Slow(&'static str),
}

impl Activity {
    pub(super) fn new(share: Arc<Share>, window: Window, max_head_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_head_bytes: max_head_bytes as u64,
            share,
            window: Mutex::new(Some(window)),
            head_bytes: AtomicU64::new(0),
            fruitless_bytes: AtomicU64::new(0),
            began: Instant::now(),
            is_http2: AtomicBool::new(false),
            is_tls: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            opened: Notify::new(),
            read: AtomicU64::new(NONE),
            sending: AtomicUsize::new(0),
            idle_since: AtomicU64::new(NONE),
            head_since: AtomicU64::new(NONE),
            wrote: AtomicU64::new(NONE),
            blocked_since: AtomicU64::new(NONE),
            is_unread: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// Notes what came. Errors: it is a body of which nothing comes.
    pub(super) fn read(&self, bytes: &[u8], is_first: bool, frames: &mut Frames) -> io::Result<()> {
        if is_first {
            self.is_tls.store(begins_tls(bytes), Relaxed);
        }
        self.read.store(self.now(), Relaxed);
        frames.pass(bytes);
        if frames.are_there() {
            self.is_http2.store(true, Relaxed);
            self.note_http2_head(frames.unfinished_head());
            return Ok(());
        }
        let count = bytes.len() as u64;
        if self.open.load(Relaxed) > 0 {
            let fruitless = self.fruitless_bytes.fetch_add(count, Relaxed) + count;
            return if fruitless <= MAX_FRUITLESS_BYTES {
                Ok(())
            } else {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the length of a chunk has no end"))
            };
        }
        if self.head_since.load(Relaxed) == NONE {
            self.head_since.store(self.now(), Relaxed);
        }
        self.head_bytes.fetch_add(count, Relaxed);
        self.share.add(count);
        Ok(())
    }

    /// Notes a head of HTTP/2 that has not ended.
    fn note_http2_head(&self, head: Option<Unfinished>) {
        let was_unfinished = self.head_since.load(Relaxed) != NONE;
        if head.is_none() && !was_unfinished {
            return;
        }
        let most = self.max_head_bytes.saturating_mul(MOST_TIMES_HEAD);
        let counts = head.map_or(0, |Unfinished { bytes, .. }| {
            bytes.saturating_mul(HTTP2_LINE_BYTES).min(most).max(bytes)
        });
        match head {
            None => self.head_since.store(NONE, Relaxed),
            Some(head) if head.is_new || !was_unfinished => {
                self.head_since.store(self.now(), Relaxed);
            }
            Some(_) => {}
        }
        let before = self.head_bytes.swap(counts, Relaxed);
        if counts > before {
            self.share.add(counts - before);
        } else {
            self.share.remove(before - counts);
        }
    }

    /// Notes that a piece of a request's body has come.
    pub(super) fn note_body(&self) {
        self.fruitless_bytes.store(0, Relaxed);
    }

    /// Whether the client sent a TLS handshake where HTTP was to come.
    pub(super) fn began_with_tls(&self) -> bool {
        self.is_tls.load(Relaxed)
    }

    /// Returns when the connection is to end for the sake of others.
    pub(super) async fn cut(&self) {
        self.share.cut().await;
    }

    /// Returns when the client of an open request has left. The HTTP library notices that itself only if it has nothing to read:
    /// not while a body that nobody reads, or a further request, comes before the end.
    pub(super) async fn left(&self, socket: &Socket) {
        loop {
            if self.open.load(Relaxed) == 0 {
                self.opened.notified().await;
            }
            tokio::time::sleep(LEFT_AFTER).await;
            if self.open.load(Relaxed) > 0 && self.sent_nothing_for(LEFT_AFTER) && socket.is_left()
            {
                return;
            }
        }
    }

    fn sent_nothing_for(&self, time: Duration) -> bool {
        let silent = self.now().saturating_sub(self.read.load(Relaxed));
        u128::from(silent) >= time.as_millis()
    }

    /// Returns when the connection is idle while others wait for its place.
    pub(super) async fn gives_way(&self, place: &Place) {
        place.is_wanted(|| self.is_idle_for(GIVES_WAY_AFTER)).await;
    }

    fn is_idle_for(&self, time: Duration) -> bool {
        let idle = self.now().saturating_sub(self.idle_since().max(1));
        self.open.load(Relaxed) == 0 && u128::from(idle) >= time.as_millis()
    }

    fn request_began(&self) {
        self.share.begin_request();
        if self.open.fetch_add(1, Relaxed) == 0 {
            self.opened.notify_one();
        }
        self.is_used.store(true, Relaxed);
        // With HTTP/2 the head of the next request may have begun.
        if !self.is_http2.load(Relaxed) {
            self.share.remove(self.head_bytes.swap(0, Relaxed));
            self.head_since.store(NONE, Relaxed);
        }
        self.is_unread.store(false, Relaxed);
        self.note_body();
    }

    /// Others may have the window of this connection.
    fn needs_no_window(&self) {
        self.window.lock().take();
    }

    /// Notes that nobody will read the rest of a request's body.
    pub(super) fn left_unread(&self) {
        self.is_unread.store(true, Relaxed);
    }

    /// Whether more of the last request may come. Not so with HTTP/2, where one request does not end the connection.
    pub(super) fn may_receive_more(&self) -> bool {
        self.is_unread.load(Relaxed) && !self.is_http2.load(Relaxed)
    }

    fn request_ended(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.open.fetch_sub(1, Relaxed);
        self.share.end_request();
    }

    /// Returns when a connection of which the client knows that it closes is to be cut, and why: others wait for its `place`,
    /// or it breaks a time limit of the settings.
    pub(super) async fn overdue(&self, settings: &ListenerSettings, place: &Place) -> &'static str {
        // For the client to close its side. It may have sent a request before it knew, which gets its time.
        let grace = settings.handshake_timeout;
        let gives_way = async {
            tokio::time::sleep(grace).await;
            self.gives_way(place).await;
        };
        let expired = async {
            loop {
                match self.expired(settings).await {
                    Expired::Slow(reason) => return reason,
                    Expired::Idle => tokio::time::sleep(grace).await,
                }
                if self.is_idle_for(grace) {
                    return LEFT_OPEN;
                }
            }
        };
        tokio::select! {
            () = gives_way => LEFT_OPEN,
            reason = expired => reason,
        }
    }

    /// Returns when nothing was open and nothing came for a moment from now on, and nothing of a request or an answer is on its
    /// way. Before it ends a connection of HTTP/2, the HTTP library waits for an answer that a client without power or network
    /// does not give.
    pub(super) async fn silent(&self) {
        tokio::time::sleep(SILENT_AFTER).await;
        while !self.is_idle_for(SILENT_AFTER)
            || !self.sent_nothing_for(SILENT_AFTER)
            || self.holds_something()
        {
            tokio::time::sleep(SILENT_AFTER / 4).await;
        }
    }

    /// Whether there is something of a head, or of an answer that the HTTP library has already.
    fn holds_something(&self) -> bool {
        !self.share.is_empty() || self.blocked_since.load(Relaxed) != NONE
    }

    /// Returns when the connection breaks a time limit of the settings.
    pub(super) async fn expired(&self, settings: &ListenerSettings) -> Expired {
        let limits = [settings.idle_timeout, settings.header_timeout, settings.write_timeout];
        let Some(shortest) = limits.into_iter().flatten().min() else {
            return std::future::pending().await;
        };
        loop {
            let (deadline, reason) = match self.limit(settings) {
                Some((since, limit, reason)) => {
                    let since = Duration::from_millis(since.saturating_sub(1));
                    (self.began.checked_add(since + limit), Some(reason))
                }
                None => (None, None),
            };
            let now = Instant::now();
            if let (Some(deadline), Some(reason)) = (deadline, reason)
                && deadline <= now
            {
                return reason;
            }
            // Anything that begins from now on cannot end before this, so no wake-up is missed.
            let later = now.checked_add(shortest);
            match deadline.into_iter().chain(later).min() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The limit that holds at the moment: since when, how long, and what it means to break it.
    fn limit(&self, settings: &ListenerSettings) -> Option<(u64, Duration, Expired)> {
        let reason = Expired::Slow("the client does not read the response");
        let blocked_since = self.blocked_since.load(Relaxed);
        if blocked_since != NONE
            && let Some(limit) = settings.write_timeout
        {
            return Some((blocked_since, limit, reason));
        }
        let (http2, used) = (self.is_http2.load(Relaxed), self.is_used.load(Relaxed));
        let head_since = self.head_since.load(Relaxed);
        let no_head = Expired::Slow("no request head in time");
        // Until it has ended, nothing else is read of the connection.
        if http2
            && head_since != NONE
            && let Some(limit) = settings.header_timeout
        {
            return Some((head_since, limit, no_head));
        }
        if self.open.load(Relaxed) > 0 {
            let sends = self.sending.load(Relaxed) > 0;
            let limit = settings.write_timeout.filter(|_| sends)?;
            return Some((self.wrote.load(Relaxed), limit, reason));
        }
        // A connection that never had a request counts from its beginning.
        let limit = match (used, head_since) {
            (false, _) => settings.header_timeout.into_iter().chain(settings.idle_timeout).min(),
            (true, NONE) => None,
            (true, _) => settings.header_timeout,
        };
        if let Some(limit) = limit.filter(|_| !http2) {
            let since = if used { head_since } else { NONE };
            return Some((since, limit, no_head));
        }
        Some((self.idle_since(), settings.idle_timeout?, Expired::Idle))
    }

    /// Since when nothing is open. A response may be in our buffers long after hyper is done with it.
    fn idle_since(&self) -> u64 {
        self.idle_since.load(Relaxed).max(self.wrote.load(Relaxed))
    }

    /// Notes what became of a write.
    pub(super) fn note_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(count)) => {
                self.blocked_since.store(NONE, Relaxed);
                if *count >= PROGRESS_BYTES {
                    self.wrote.store(self.now(), Relaxed);
                }
            }
            Poll::Pending if self.blocked_since.load(Relaxed) == NONE => {
                self.blocked_since.store(self.now(), Relaxed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::PREFACE;
    use super::super::places::Places;
    use super::*;

    fn of_http2() -> Arc<Activity> {
        let settings = ListenerSettings::default();
        let window = Window::take(&settings.backlog, settings.http2.connection_window);
        let activity = Activity::new(settings.backlog.share(), window, settings.max_head_bytes);
        activity.read(PREFACE, true, &mut Frames::new()).unwrap();
        activity
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_not_overdue_while_a_request_that_came_late_is_open() {
        let of_one_minute = Some(Duration::from_secs(60));
        for (idle_timeout, is_wanted) in [(of_one_minute, false), (None, true)] {
            let settings = ListenerSettings { idle_timeout, ..ListenerSettings::default() };
            let (activity, places) = (of_http2(), Arc::new(Places::new(1)));
            let place = places.free().await.unwrap();
            let other = Arc::clone(&places);
            let _waiting =
                is_wanted.then(|| tokio::spawn(async move { other.free().await.is_ok() }));
            // It was idle for long when it was told to go.
            tokio::time::sleep(Duration::from_secs(600)).await;
            let mut overdue = std::pin::pin!(activity.overdue(&settings, &place));
            let soon = tokio::time::timeout(Duration::from_secs(9), overdue.as_mut());
            assert!(soon.await.is_err());
            activity.request_began();
            let later = tokio::time::timeout(Duration::from_secs(600), overdue.as_mut());
            assert!(later.await.is_err());
            activity.request_ended();
            assert_eq!(overdue.await, LEFT_OPEN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connection_is_silent_once_nothing_is_open_or_on_its_way_or_comes() {
        const LONG: Duration = Duration::from_secs(600);
        let activity = of_http2();
        activity.request_began();
        let mut silent = std::pin::pin!(activity.silent());
        assert!(tokio::time::timeout(LONG, silent.as_mut()).await.is_err());
        activity.request_ended();
        activity.share.add(1);
        assert!(tokio::time::timeout(LONG, silent.as_mut()).await.is_err());
        activity.share.remove(1);
        // It reads slowly.
        for _ in 0..100 {
            activity.read.store(activity.now(), Relaxed);
            assert!(tokio::time::timeout(SILENT_AFTER / 2, silent.as_mut()).await.is_err());
        }
        silent.await;
    }
}
