//! The work of an ingester in the background, and what it writes before it ends.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tactus_telemetry::error_text;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    ingester::Ingester,
    tail_sampling::{Due, MAX_DECIDING},
};

/// What a stopping ingester writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastFlush {
    /// As much as can be written in this time, without another attempt after a failure.
    Within(Duration),
    /// All. What fails is tried again until for `flush_op_timeout` nothing at all could be written.
    All,
}

/// Longest pause between attempts to write all.
const MAX_LAST_PAUSE: Duration = Duration::from_secs(10);

impl Ingester {
    /// Cuts and flushes in the background until cancelled. Then it stops: it refuses pushes, cuts live spans, and
    /// writes what `last` says at that time. What is not written stays on disk for the next start; false if anything does.
    ///
    /// Errors: why not all was written, of [`LastFlush::All`] only.
    pub async fn run(
        self: Arc<Self>,
        cancel: CancellationToken,
        last: impl FnOnce() -> LastFlush,
    ) -> Result<bool, Error> {
        let look = self.settings.ingester.flush_check_period.as_std().min(Duration::from_secs(1));
        let mut cut_task: Option<JoinHandle<()>> = None;
        let mut flush_task: Option<JoinHandle<()>> = None;
        let mut decisions = JoinSet::new();
        let mut read_task: Option<JoinHandle<()>> = None;
        let is_free =
            |task: &Option<JoinHandle<()>>| task.as_ref().is_none_or(|it| it.is_finished());
        while !cancel.is_cancelled() {
            let is_cutting = cut_task.is_some();
            // A push wakes this loop when a cut is needed. One may already be running.
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.wake.notified(), if !is_cutting => {}
                () = ended(&mut cut_task), if is_cutting => {}
                () = tokio::time::sleep(look) => {}
            }
            self.measure_live_bytes();
            if cut_task.is_none() && self.is_cut_due() {
                let ingester = Arc::clone(&self);
                cut_task = Some(tokio::spawn(async move { ingester.cut(look).await }));
            }
            while decisions.try_join_next().is_some() {}
            // A round that takes long with a tenant is overtaken by the next one, which leaves that tenant out.
            if self.has_pending.load(Ordering::Acquire) && decisions.len() < MAX_DECIDING {
                let ingester = Arc::clone(&self);
                decisions.spawn(async move {
                    // Errors are logged where they happen, and the next round tries again.
                    let _ = ingester.decide(Due::Waited).await;
                });
            }
            // A disk may take long to say that it cannot read something. Flushes do not wait for that.
            if !self.unreadable.is_empty() && is_free(&read_task) {
                let ingester = Arc::clone(&self);
                read_task = Some(tokio::task::spawn_blocking(move || ingester.read_again(false)));
            }
            if is_free(&flush_task) {
                let ingester = Arc::clone(&self);
                flush_task = Some(tokio::spawn(async move {
                    ingester.flush_due().await;
                }));
            }
        }
        self.stop_pushes();
        let all_written = match last() {
            LastFlush::All => self.flush_all_patiently().await.map(|()| true)?,
            LastFlush::Within(time) => match tokio::time::timeout(time, self.flush_all()).await {
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = error_text(&error),
                        "spans stay on local disk until the next start"
                    );
                    false
                }
                Ok(Ok(())) => true,
                Err(_) => {
                    tracing::warn!(
                        "stopped before all spans were flushed; they stay on local disk"
                    );
                    false
                }
            },
        };
        if all_written {
            tracing::info!("all spans are in object storage");
        }
        Ok(all_written)
    }

    /// As [`Self::flush_all`], again and again while it fails, until for `flush_op_timeout` no block was written.
    async fn flush_all_patiently(self: &Arc<Self>) -> Result<(), Error> {
        let (mut pause, mut since) = (self.settings.retry_pause, Instant::now());
        let mut written = self.metrics.blocks_flushed.get();
        while let Err(error) = self.flush_all().await {
            let now_written = self.metrics.blocks_flushed.get();
            if now_written > written {
                (written, since, pause) = (now_written, Instant::now(), self.settings.retry_pause);
            }
            let (segments, bytes, log_bytes) = self.unflushed();
            if since.elapsed() >= self.settings.ingester.flush_op_timeout.as_std() {
                tracing::error!(
                    error = error_text(&error), segments, bytes, log_bytes, directory = %self.directory().display(),
                    "not all spans are in object storage: they stay on this disk, and are lost with it unless an ingester starts on it again"
                );
                return Err(error);
            }
            tracing::warn!(
                error = error_text(&error),
                segments,
                bytes,
                log_bytes,
                "not all spans are in object storage yet: trying again before the end"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_LAST_PAUSE);
        }
        Ok(())
    }

    /// What is in no block: segments, their bytes, and bytes of the log.
    fn unflushed(&self) -> (usize, u64, u64) {
        let tenants = self.all_tenants();
        let all: Vec<_> =
            tenants.iter().flat_map(|(_, tenant)| tenant.unflushed_segments()).collect();
        let bytes = all.iter().map(|segment| segment.bytes()).sum();
        (all.len(), bytes, self.wal.total_bytes())
    }

    fn is_cut_due(&self) -> bool {
        // The lock is held while the generation is replaced. That waits for pushes, which wait for the disk.
        let is_due = self.current.try_read().is_some_and(|current| current.is_due(&self.settings));
        // After a failed sync it is unknown how much of the log is on disk, so the spans may be in memory only.
        let failed_syncs = self.wal.stats().sync_errors;
        is_due
            || self.has_waiting_cuts.load(Ordering::Acquire)
            || failed_syncs > self.cut_after_failed_syncs.load(Ordering::Acquire)
    }

    /// Cuts live spans. After an error it frees space, and takes at least this long.
    async fn cut(self: &Arc<Self>, pause: Duration) {
        let Err(error) = self.seal().await else { return };
        tracing::error!(error = error_text(&error), "cannot cut live spans to segments");
        // Segments whose block is in object storage are not needed on disk.
        if let Err(error) = self.release_held(true).await {
            tracing::error!(error = error_text(&error), "cannot free space on the disk");
        }
        // If the disk is full, trying again for each push does not help.
        tokio::time::sleep(pause).await;
    }
}

/// Waits until a task has ended, and forgets it.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    if let Some(running) = task {
        // A panic is logged elsewhere, and the next task tries again.
        let _ = running.await;
    }
    *task = None;
}
