//! How much memory and disk space an ingester uses, and whether it can take more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tactus_model::TenantId;
use tactus_telemetry::metrics::OVERFLOW;

use super::Ingester;
use crate::{
    disk::Room,
    error::PushError,
    generation::{RELEASED_MEMORY, Tenant},
    head::Head,
};

/// Estimated memory of a tenant in addition to its heads and segments: its state, its entries in maps, its metrics.
const TENANT_BYTES: usize = size_of::<Tenant>() + 1_500;
/// If pushes exceed the limit, live spans are measured at most this often.
const MEASURE_AGAIN: Duration = Duration::from_millis(20);

/// One part in this many of the memory is for tenants that hold less than that.
const PART_FOR_OTHERS: usize = 8;

impl Ingester {
    /// Errors: there is no room for a push of this many bytes.
    pub(crate) fn check_room(&self, tenant: &TenantId, bytes: usize) -> Result<(), PushError> {
        if self.check_memory(tenant, bytes).is_err() {
            self.wake.notify_one();
            // The estimate may be old, so measure before refusing. Measuring visits all tenants, so only one thread
            // does it, and not for each refused push.
            {
                let mut measured = self.measured.lock();
                if measured.is_none_or(|at| at.elapsed() >= MEASURE_AGAIN) {
                    *measured = Some(Instant::now());
                    self.sum_live_bytes();
                }
            }
            self.check_memory(tenant, bytes)?;
        }
        self.has_directory_room().map_err(PushError::DiskFull)?;
        if self.disk.note(self.room(bytes as u64)) {
            self.has_room().map_err(PushError::DiskFull)?;
        }
        Ok(())
    }

    /// Counts spans that have become live. Returns the bytes of all.
    pub(crate) fn add_live_bytes(&self, bytes: usize) -> usize {
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Tenants that hold much leave the last part to others, if there are others.
    fn check_memory(&self, tenant: &TenantId, bytes: usize) -> Result<(), PushError> {
        let limit_bytes = self.settings.ingester.max_live_bytes as usize;
        let part = limit_bytes / PART_FOR_OTHERS;
        let live = self.live_bytes.load(Ordering::Relaxed) + bytes;
        if live <= limit_bytes - part {
            return Ok(());
        }
        if live > limit_bytes {
            return Err(PushError::Full { limit_bytes });
        }
        let own = self.tenant(tenant).map_or(0, |tenant| live_bytes(&tenant.heads()));
        if own + bytes > part && self.tenants.read().len() > 1 {
            return Err(PushError::FullForTenant { limit_bytes });
        }
        Ok(())
    }

    /// Errors: the disk had no space for pushes when it was last checked; the text is for operators. Never waits for
    /// the disk.
    pub fn has_room(&self) -> Result<(), String> {
        self.has_directory_room()?;
        self.disk.lack(self.live_bytes.load(Ordering::Relaxed) as u64).map_or(Ok(()), Err)
    }

    /// Errors: the directory has more than `max_disk_bytes`; the text is for operators.
    pub(crate) fn has_directory_room(&self) -> Result<(), String> {
        let (limit, bytes) = (self.settings.ingester.max_disk_bytes, self.directory_bytes());
        if limit == 0 || bytes <= limit {
            return Ok(());
        }
        let directory = self.directory().display();
        Err(format!("{bytes} bytes are in {directory}, ingester.max_disk_bytes is {limit}"))
    }

    /// The space on the disk after writing `new_bytes`, and the space that must stay free for cutting live spans and
    /// deciding pending segments. Asks the system.
    pub(crate) fn room(&self, new_bytes: u64) -> Option<Room> {
        let decided_at_a_time = match self.has_pending.load(Ordering::Relaxed) {
            true => self.settings.generation_bytes,
            false => 0,
        };
        let live = self.live_bytes.load(Ordering::Relaxed) + decided_at_a_time;
        self.disk.room(new_bytes, live as u64)
    }

    /// Bytes in the directory. Blocks in progress take none there.
    pub(crate) fn directory_bytes(&self) -> u64 {
        self.wal.total_bytes() + self.segment_cache.file_bytes() + self.disk.other_bytes()
    }

    /// The memory of live spans of all tenants, and of the tenants and segments themselves.
    fn sum_live_bytes(&self) -> usize {
        let tenants = self.all_tenants();
        let of_tenant = |tenant: &Tenant| live_bytes(&tenant.heads()) + tenant.large_traces_bytes();
        let spans: usize = tenants.iter().map(|(_, tenant)| of_tenant(tenant)).sum();
        let bytes = spans + tenants.len() * TENANT_BYTES + self.segment_cache.heap_bytes();
        self.live_bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Measures the live spans of all tenants, and records the result.
    pub(crate) fn measure_live_bytes(&self) -> usize {
        self.metrics.show_replay_errors("");
        let (mut traces_of_others, mut bytes_of_others, mut has_others) = (0.0, 0.0, false);
        for (id, tenant) in self.all_tenants() {
            tenant.forget_large_traces(self.large_traces_memory());
            let heads = tenant.heads();
            let live_bytes = live_bytes(&heads);
            let live: usize = heads.iter().map(|head| head.live_traces()).sum();
            let (live, live_bytes) = (live as f64, live_bytes as f64);
            let gauges = &self.metrics;
            match (
                gauges.live_traces.try_with([id.as_str()]),
                gauges.live_trace_bytes.try_with([id.as_str()]),
            ) {
                (Some(traces), Some(bytes)) => {
                    traces.set(live);
                    bytes.set(live_bytes);
                }
                _ => {
                    has_others = true;
                    traces_of_others += live;
                    bytes_of_others += live_bytes;
                }
            }
            self.metrics.show_replay_errors(id.as_str());
        }
        if has_others {
            self.metrics.live_traces.with([OVERFLOW]).set(traces_of_others);
            self.metrics.live_trace_bytes.with([OVERFLOW]).set(bytes_of_others);
        }
        let bytes = self.sum_live_bytes();
        self.metrics.live_bytes.set(bytes as f64);
        bytes
    }

    /// [`Self::update_gauges`] on a blocking task, because it may wait for the disk.
    pub(crate) async fn refresh_gauges(self: &Arc<Self>) {
        let ingester = Arc::clone(self);
        // Fails while the process ends.
        let _ = tokio::task::spawn_blocking(move || ingester.update_gauges()).await;
    }

    pub(crate) fn update_gauges(&self) {
        self.measure_live_bytes();
        self.metrics.segments.set(self.segment_cache.segments() as f64);
        self.metrics.segment_bytes.set(self.segment_cache.file_bytes() as f64);
        self.metrics.wal_bytes.set(self.wal.total_bytes() as f64);
        self.measure_disk();
        self.forget_idle_tenants(RELEASED_MEMORY);
    }

    /// Asks the system for the state of the disk, for gauges and limits.
    pub(crate) fn measure_disk(&self) -> Option<Room> {
        self.disk.look_for_others(&self.layout, self.has_pending.load(Ordering::Relaxed));
        self.metrics.directory_bytes.set(self.directory_bytes() as f64);
        let room = self.room(0);
        self.disk.note(room);
        if let Some(room) = room {
            self.metrics.disk_free_bytes.set(room.free as f64);
            self.metrics.disk_kept_bytes.set(room.kept as f64);
        }
        room
    }
}

/// Memory of the live spans of a tenant.
fn live_bytes(heads: &[Arc<Head>]) -> usize {
    heads.iter().map(|head| head.heap_bytes()).sum()
}
