//! Writes to caches in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tactus_telemetry::error_text;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, mpsc};

use crate::metrics::{Method, Metrics};
use crate::store::{Error, Store};

/// Bytes of all values that wait in one queue.
const MAX_QUEUED_BYTES: usize = 64 << 20;

/// A value on its way, in its frame.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) value: Bytes,
}

/// A bounded queue and its writers. The writers end when this is dropped and all writes are done.
#[derive(Debug)]
pub(crate) struct Background {
    queue: mpsc::Sender<Write>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Background {
    /// Starts this many writers on `runtime`; at most `buffer` writes wait.
    pub(crate) fn start(
        writers: usize,
        buffer: usize,
        store: &Arc<dyn Store>,
        metrics: &Arc<Metrics>,
        runtime: &Handle,
    ) -> Self {
        let (queue, receiver) = mpsc::channel(buffer.clamp(1, Semaphore::MAX_PERMITS));
        let receiver = Arc::new(Mutex::new(receiver));
        let (waiting, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let state = Arc::new(State { waiting, bytes, metrics: Arc::clone(metrics) });
        for _ in 0..writers.max(1) {
            let receiver = Arc::clone(&receiver);
            runtime.spawn(write_all(receiver, Arc::clone(store), Arc::clone(&state)));
        }
        Self { queue, state }
    }

    /// Queues a write; drops it if too many wait.
    pub(crate) fn put(&self, write: Write) {
        let bytes = write.value.len();
        let state = &self.state;
        let held = state.bytes.fetch_add(bytes, Ordering::Relaxed);
        state.waits(1);
        if held + bytes > MAX_QUEUED_BYTES || self.queue.try_send(write).is_err() {
            state.done(bytes);
            state.metrics.dropped.inc();
        }
    }
}

impl State {
    fn waits(&self, more: usize) {
        let waiting = self.waiting.fetch_add(more, Ordering::Relaxed) + more;
        self.metrics.queued.set(waiting as f64);
    }

    fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let waiting = self.waiting.fetch_sub(1, Ordering::Relaxed) - 1;
        self.metrics.queued.set(waiting as f64);
    }
}

async fn write_all(
    queue: Arc<Mutex<mpsc::Receiver<Write>>>,
    store: Arc<dyn Store>,
    state: Arc<State>,
) {
    loop {
        let next = queue.lock().await.recv().await;
        let Some(Write { key, value }) = next else { return };
        let bytes = value.len();
        let started = Instant::now();
        let metrics = &state.metrics;
        match store.set(&key, value).await {
            Ok(()) => metrics.called(Method::Put, "200", started.elapsed()),
            Err(Error::Refused(_)) => metrics.skipped.inc(),
            // Nobody was asked.
            Err(Error::Unavailable) => metrics.dropped.inc(),
            Err(error) => {
                metrics.called(Method::Put, "500", started.elapsed());
                let error = error_text(&error);
                tracing::debug!(cache = metrics.name(), error, "cannot write to the cache");
            }
        }
        state.done(bytes);
    }
}
