//! The flow control windows of HTTP/2: how much clients may send before anybody reads it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Backlog, Http2Settings};

/// The window that every connection has to begin with (RFC 9113, section 6.9.2).
const SMALLEST: u32 = 65_535;

/// A connection gets one part in this many of what is left.
const SHARE: u64 = 16;

/// Requests of a connection that are not read fill its window only together, so that others of it get on. Not where the window
/// is the smallest: that of the connection bounds the memory, and a smaller one for a request only makes it slow.
const STREAMS: u32 = 4;

/// The window of one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Window {
    backlog: Arc<Backlog>,
    bytes: u32,
}

impl Window {
    /// Takes the window of a new connection: `wanted` bytes, or less if other connections have most of the memory.
    pub(super) fn take(backlog: &Arc<Backlog>, wanted: u32) -> Self {
        let max_bytes = backlog.max_bytes.load(Relaxed);
        let granted = |taken| {
            let left = max_bytes.saturating_sub(taken);
            u32::try_from(left / SHARE).unwrap_or(u32::MAX).min(wanted).max(SMALLEST)
        };
        let add = |taken| Some(taken + u64::from(granted(taken)));
        let (Ok(before) | Err(before)) = backlog.windows.fetch_update(Relaxed, Relaxed, add);
        Self { backlog: Arc::clone(backlog), bytes: granted(before) }
    }

    /// The window of all requests of the connection together.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The window of one request.
    pub(super) fn stream_bytes(&self, settings: &Http2Settings) -> u32 {
        if self.bytes >= settings.connection_window {
            return settings.stream_window;
        }
        settings.stream_window.min(self.bytes / STREAMS).max(SMALLEST)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.backlog.windows.fetch_sub(u64::from(self.bytes), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Http2Settings = Http2Settings {
        max_concurrent_streams: None,
        keepalive_interval: None,
        keepalive_timeout: std::time::Duration::ZERO,
        stream_window: 1 << 20,
        connection_window: 4 << 20,
        max_frame_bytes: 16 << 10,
        max_pending_resets: 0,
        max_error_resets: 0,
    };

    #[test]
    fn first_connections_have_wide_windows_and_all_together_little_more_than_the_bound() {
        let backlog = Backlog::new(64 << 20);
        let windows: Vec<_> =
            (0..500).map(|_| Window::take(&backlog, SETTINGS.connection_window)).collect();
        let bytes = |number: usize| windows[number].bytes();
        let streams = |number: usize| windows[number].stream_bytes(&SETTINGS);
        assert_eq!((bytes(0), streams(0)), (4 << 20, 1 << 20));
        assert!((1 << 20..2 << 20).contains(&bytes(20)), "{}", bytes(20));
        assert_eq!(streams(20), bytes(20) / 4);
        assert_eq!((bytes(499), streams(499)), (SMALLEST, SMALLEST));
        let sum: u64 = windows.iter().map(|window| u64::from(window.bytes)).sum();
        assert_eq!(sum, backlog.windows.load(Relaxed));
        assert!(sum < (64 << 20) + 450 * u64::from(SMALLEST), "{sum}");
        drop(windows);
        assert_eq!(backlog.windows.load(Relaxed), 0);
        assert_eq!(Window::take(&backlog, 4 << 20).bytes(), 4 << 20);
    }
}
