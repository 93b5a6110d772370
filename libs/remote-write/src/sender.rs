//! Sends the queue of a tenant to one remote.
//!
//! The samples that are read at a time, a window, are distributed over the shards by a hash of the labels. Each shard
//! sends its part in order, and the next window is read only when all are done. So samples of a series stay in order
//! even if the number of shards changes, and at most one window is in memory, or sent again after a crash. How a window
//! is divided is recorded before it is sent, see [`InFlight`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use tactus_model::TenantId;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::cursor::{InFlight, Mark, Place};
use super::entry::Counts;
use super::metrics::{RemoteMetrics, TenantMetrics};
use super::queue::Queue;
use super::reader::{Bound, Reader, Window};
use super::settings::Remote;
use super::shards::{Progress, Shards};
use super::wire::{Item, Protocol, Value};

const WRITE_VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const OUR_USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tactus/", env!("CARGO_PKG_VERSION")));

/// Most requests at once, whatever a cursor says.
pub(super) const MAX_SHARDS: u64 = 1_000;

/// Pause before a log that cannot be read is tried again.
const READ_RETRY: Duration = Duration::from_secs(1);

/// Headers of a tenant's requests; replaced when its overrides change.
pub(super) type TenantHeaders = Arc<RwLock<Arc<HeaderMap>>>;

pub(super) struct Sender {
    pub(super) tenant: TenantId,
    pub(super) index: usize,
    pub(super) remote: Arc<Remote>,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<TenantMetrics>,
    pub(super) headers: TenantHeaders,
    /// End now.
    pub(super) stop: CancellationToken,
}

/// What is sent at once.
struct Work {
    items: Vec<Item>,
    in_flight: InFlight,
    /// Requests of it may have arrived already, sent by an earlier process.
    again: bool,
}

impl Sender {
    /// Until `stop`.
    pub(super) async fn run(self) {
        let Some(metrics) = self.metrics.remote(self.index) else { return };
        let relabeling = Arc::clone(&self.remote.relabeling);
        let mut reader = Reader::new(Arc::clone(&self.queue), self.index, relabeling);
        let mut shards = Shards::new(&self.remote.queue, Instant::now());
        let progress = Mutex::new(Progress::default());
        let mut left = self.queue.mark(self.index).and_then(|mark| mark.in_flight);
        loop {
            metrics.shards.set(shards.count() as f64);
            metrics.shards_desired.set(shards.desired());
            let again = left.is_some();
            let plan = left.take().unwrap_or_else(|| self.plan(shards.count()));
            let (queue, index) = (Arc::clone(&self.queue), self.index);
            let read = tokio::task::spawn_blocking(move || {
                let mut window = Window::default();
                let filled = read(&mut reader, &queue, index, plan, &mut window);
                (reader, window, filled)
            });
            let Ok((back, window, filled)) = read.await else {
                tracing::error!(tenant = %self.tenant, remote_name = self.remote.name, "remote write ended unexpectedly: this is a bug");
                return;
            };
            reader = back;
            metrics.drop_unsent(window.relabeled_away, "dropped_series");
            self.metrics.damaged(window.damaged);
            self.metrics.set_queue_bytes(self.queue.bytes());
            if window.items.is_empty() {
                left = (again && filled.is_err()).then_some(plan);
                if !self.wait(filled, again).await {
                    return;
                }
                continue;
            }
            let in_flight = InFlight { end: window.end, ..plan };
            let work = Work { items: window.items, in_flight, again };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.send_window(work, metrics, &progress) => {}
            }
            let mut now = *progress.lock();
            now.incoming = metrics.incoming.load(Ordering::Relaxed);
            shards.decide(Instant::now(), now, metrics.pending());
        }
    }

    /// How the next window is divided; its end is not known yet.
    fn plan(&self, shards: usize) -> InFlight {
        let queue = &self.remote.queue;
        let batch = queue.max_samples_per_send.min(queue.capacity) as usize;
        InFlight { end: Place::default(), shards: shards as u64, batch: batch as u64 }
    }

    /// Waits for something to send; false at the end.
    async fn wait(&self, filled: tactus_wal::Result<()>, again: bool) -> bool {
        if let Err(error) = filled {
            let error = tactus_telemetry::error_text(&error);
            tactus_telemetry::log_limited!(error, tenant = %self.tenant, error, "cannot read the remote-write queue");
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(READ_RETRY) => return true,
            }
        }
        if again {
            // There may be something behind what was in flight.
            return !self.stop.is_cancelled();
        }
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = self.queue.committed(self.index) => true,
        }
    }

    async fn send_window(&self, work: Work, metrics: &RemoteMetrics, progress: &Mutex<Progress>) {
        let Work { items, in_flight, again } = work;
        let batch = usize::try_from(in_flight.batch.max(1)).unwrap_or(usize::MAX);
        let mut parts = vec![Vec::new(); in_flight.shards.clamp(1, MAX_SHARDS) as usize];
        let count = parts.len() as u64;
        for item in items {
            let hash = xxhash_rust::xxh64::xxh64(&item.labels, 0);
            parts[(hash % count) as usize].push(item);
        }
        let in_order = async |mut rest: &[Item]| {
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(self.batch_length(rest, batch));
                rest = after;
                self.send_batch(batch.to_vec(), again, metrics, progress).await;
            }
        };
        join_all(parts.iter().map(|part| in_order(part))).await;
    }

    /// The second protocol has exemplars only with their sample, so that these stay together.
    fn batch_length(&self, items: &[Item], batch: usize) -> usize {
        let length = batch.min(items.len());
        if self.remote.protocol == Protocol::V1 {
            return length;
        }
        let exemplar = |item: &&Item| matches!(item.value, Value::Exemplar { .. });
        length + items[length..].iter().take_while(exemplar).count()
    }

    /// Sends until it is accepted or refused for good.
    async fn send_batch(
        &self,
        mut items: Vec<Item>,
        again: bool,
        metrics: &RemoteMetrics,
        progress: &Mutex<Progress>,
    ) {
        let settings = &self.remote.queue;
        self.drop_old(&mut items, metrics);
        let mut counts = counts(&items);
        metrics.sending(counts);
        let mut body = self.body(&items);
        let mut backoff = settings.min_backoff.as_std();
        for attempt in 0_u64.. {
            if items.is_empty() {
                return;
            }
            let started = Instant::now();
            let answer = self.request(body.clone(), attempt).await;
            let took = started.elapsed();
            metrics.observe(took);
            let retry_after = match answer {
                Answer::Accepted { written } => {
                    metrics.bytes.inc_by(body.len() as u64);
                    metrics.delivered(counts, newest(&items));
                    if let Some(missing) = answer::not_written(counts, written) {
                        metrics.not_written(missing);
                        let error = "the receiver's answer does not confirm all that was sent";
                        tactus_telemetry::log_limited!(error, tenant = %self.tenant, remote_name = self.remote.name, address = self.remote.address, missing = missing.total(), error, "samples may be lost");
                    }
                    let mut progress = progress.lock();
                    progress.outgoing += counts.total();
                    progress.busy_seconds += took.as_secs_f64();
                    return;
                }
                Answer::Refused(error) => {
                    metrics.refused(counts);
                    self.log_refusal(counts, &error, again);
                    return;
                }
                Answer::Failed { error, retry_after } => {
                    // The first time, and then more and more rarely.
                    if (attempt + 1).is_power_of_two() {
                        tracing::warn!(tenant = %self.tenant, remote_name = self.remote.name, address = self.remote.address, attempt, error, "remote write failed, trying again");
                    }
                    retry_after
                }
            };
            metrics.retrying(counts);
            tokio::time::sleep(retry_after.unwrap_or(backoff)).await;
            backoff = backoff.saturating_mul(2).min(settings.max_backoff.as_std());
            if self.drop_old(&mut items, metrics) {
                counts = self::counts(&items);
                body = self.body(&items);
            }
        }
    }

    fn log_refusal(&self, counts: Counts, error: &str, again: bool) {
        let [samples, histograms, exemplars] = counts.by_kind();
        let (remote_name, address) = (&*self.remote.name, &*self.remote.address);
        if again {
            tactus_telemetry::log_limited!(warn, tenant = %self.tenant, remote_name, address, samples, histograms, exemplars, error, "remote write refused what was sent again after a restart: it may have arrived before");
        } else {
            tactus_telemetry::log_limited!(error, tenant = %self.tenant, remote_name, address, samples, histograms, exemplars, error, "remote write refused: samples dropped");
        }
    }

    /// Leaves out what is older than the limit. True if there was something.
    fn drop_old(&self, items: &mut Vec<Item>, metrics: &RemoteMetrics) -> bool {
        let Some(limit) = self.remote.queue.sample_age_limit.non_zero() else { return false };
        // The clock that gave them their times.
        let now = tactus_clock::since_epoch();
        let oldest_ms = i64::try_from(now.saturating_sub(limit).as_millis()).unwrap_or(i64::MAX);
        let mut dropped = Counts::default();
        items.retain(|item| {
            let keep = item.timestamp_ms >= oldest_ms;
            if !keep {
                dropped.add(item.kind());
            }
            keep
        });
        metrics.drop_unsent(dropped, "too_old");
        dropped.total() > 0
    }

    fn body(&self, items: &[Item]) -> Bytes {
        let request = self.remote.protocol.encode(items);
        // Only a request of more than 4 GiB is refused.
        Bytes::from(snap::raw::Encoder::new().compress_vec(&request).unwrap_or_default())
    }

    async fn request(&self, body: Bytes, attempt: u64) -> Answer {
        let mut headers = HeaderMap::clone(&self.headers.read());
        let protocol = self.remote.protocol;
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.content_type()));
        headers.insert(USER_AGENT, OUR_USER_AGENT);
        headers.insert(WRITE_VERSION, HeaderValue::from_static(protocol.version()));
        if attempt > 0 {
            headers.insert(RETRY_ATTEMPT, HeaderValue::from(attempt));
        }
        match self.remote.client.send(headers, body).await {
            Ok(answered) => {
                answer::judge(answered, protocol, self.remote.queue.retry_on_http_429).await
            }
            Err(error) => {
                Answer::Failed { error: tactus_telemetry::error_text(&error), retry_after: None }
            }
        }
    }
}

/// Reads the next window and notes it: what lies before it is done with, and it is about to be sent.
fn read(
    reader: &mut Reader,
    queue: &Queue,
    remote: usize,
    plan: InFlight,
    window: &mut Window,
) -> tactus_wal::Result<()> {
    let done = reader.place();
    let bound = match plan.end {
        end if end != Place::default() => Bound::Place(end),
        _ => Bound::Items(usize::try_from(plan.shards.saturating_mul(plan.batch)).unwrap_or(1)),
    };
    let filled = reader.fill(window, bound);
    let end = window.end;
    if !window.items.is_empty() {
        queue.set_mark(remote, Mark { done, in_flight: Some(InFlight { end, ..plan }) });
    } else if filled.is_ok() {
        queue.set_mark(remote, Mark { done: end, in_flight: None });
    }
    filled
}

fn counts(items: &[Item]) -> Counts {
    let mut counts = Counts::default();
    items.iter().for_each(|item| counts.add(item.kind()));
    counts
}

fn newest(items: &[Item]) -> i64 {
    items.iter().map(|item| item.timestamp_ms).max().unwrap_or(i64::MIN)
}
