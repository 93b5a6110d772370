//! Remote write: sends the collections of a tenant to receivers that speak Prometheus' protocol.
//!
//! ```text
//! Collection --commit--> log of the tenant, on disk --each remote at its own pace--> relabel -> shards -> POST
//! ```
//!
//! What is committed survives the end of the process and outages of receivers, within the limits of the log. It is
//! deleted when every remote has it. Samples of a series arrive in order. This crate does not know spans.
#![warn(missing_docs)]

mod answer;
mod client;
mod collection;
mod connections;
mod cursor;
mod entry;
mod metrics;
mod queue;
mod reader;
mod relabel;
mod sender;
pub mod series;
mod settings;
mod shards;
mod tenant;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::{Condvar, Mutex};
use tactus_config::Secret;
use tactus_config::sections::generator::GeneratorStorage;
use tactus_model::TenantId;
use tactus_telemetry::metrics::Registry;
use tokio::runtime;
use tokio_util::sync::CancellationToken;

pub use collection::Collection;
pub use connections::{ClientError, InvalidHeader};
pub use relabel::RelabelError;
pub use settings::{Reason, SettingsError};

use metrics::Families;
use queue::Limits;
use settings::Remote;
use tenant::Tenant;

/// Smallest part of a log. Smaller parts would have little but the definitions of series.
const MIN_PART_BYTES: u64 = 64 << 10;

/// How long to wait for a tenant that is ending, whose senders have been told to stop.
const ENDING: Duration = Duration::from_secs(5);

/// How often what a tenant without a handle could not send is looked at for its age.
const LIMITS_INTERVAL: Duration = Duration::from_secs(60);

/// Remote write cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Called outside of a runtime.
    #[error("remote write needs a runtime")]
    Runtime(#[from] runtime::TryCurrentError),
}

/// A collection was not written to the queue.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the remote-write queue")]
pub struct CommitError(#[source] tactus_wal::Error);

/// A tenant cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is open already, or is just ending. Another attempt may succeed.
    #[error("remote write of tenant {0} is in use")]
    InUse(TenantId),
    /// The process ends.
    #[error("remote write has ended")]
    Ended,
    /// The log, as when another process holds it.
    #[error("cannot open the remote-write queue")]
    Queue(#[from] tactus_wal::Error),
    /// `remote_write_headers` of the tenant.
    #[error("remote_write_headers: {0}")]
    Headers(Reason),
}

/// Checks `metrics_generator.storage` as [`RemoteWrite::open`] does, without creating anything. Reads certificates.
///
/// Errors: the first entry that cannot be used.
pub fn check(storage: &GeneratorStorage) -> Result<(), SettingsError> {
    settings::remotes(&storage.remote_write).map(|_| ())
}

/// Checks `remote_write_headers` of a tenant.
///
/// Errors: the first header that cannot be used. The text does not have its value.
pub fn check_headers(headers: &BTreeMap<String, Secret>) -> Result<(), Reason> {
    headers.iter().try_for_each(|(name, value)| tenant::own_header(name, value).map(drop))
}

/// The configured remotes, for all tenants of a process.
pub struct RemoteWrite {
    path: PathBuf,
    limits: Limits,
    add_org_id: bool,
    remotes: Vec<Arc<Remote>>,
    families: Arc<Families>,
    runtime: runtime::Handle,
    tenants: Mutex<HashMap<TenantId, Entry>>,
    /// A tenant has gone from `tenants`.
    gone: Condvar,
    stop: CancellationToken,
}

struct Entry {
    tenant: Arc<Tenant>,
    /// True while there is a handle. Otherwise the tenant ends when everything is sent.
    open: bool,
}

impl RemoteWrite {
    /// Checks the configuration and reads certificates. Call it within the runtime that will send.
    ///
    /// Errors: the first entry that cannot be used.
    pub fn open(storage: &GeneratorStorage, registry: &Registry) -> Result<Arc<Self>, Error> {
        let max_bytes = storage.wal.max_bytes.max(8 * MIN_PART_BYTES);
        let segment = u64::try_from(storage.wal.wal_segment_size).unwrap_or(0).max(MIN_PART_BYTES);
        let max_age_ms = u64::try_from(storage.wal.max_wal_time).unwrap_or(0);
        Ok(Arc::new(Self {
            path: PathBuf::from(&storage.path),
            limits: Limits {
                part_bytes: segment.min(max_bytes / 8),
                max_bytes,
                max_age: Duration::from_millis(max_age_ms.max(1)),
            },
            add_org_id: storage.remote_write_add_org_id_header,
            remotes: settings::remotes(&storage.remote_write)?,
            families: Arc::new(Families::register(registry)),
            runtime: runtime::Handle::try_current()?,
            tenants: Mutex::default(),
            gone: Condvar::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Tenants of which an earlier process left samples in the queue. [`Self::resume`] sends these.
    pub fn tenants_left_behind(&self) -> Vec<TenantId> {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let left = entries.flatten().filter(|entry| has_parts(&entry.path().join("wal")));
        left.filter_map(|entry| TenantId::parse(entry.file_name().to_str()?).ok()).collect()
    }

    /// Opens the queue of a tenant and sends what is in it, as long as the handle exists, and after that until
    /// everything is sent. Samples that are not newer than `started_ms` (Unix milliseconds, when the tenant's instance
    /// was created) are dropped. `headers`: `remote_write_headers` of the tenant's overrides.
    ///
    /// Blocks while it reads the queue, so do not call it on a thread of the runtime, on which the tenant may be
    /// ending.
    ///
    /// Errors: see [`OpenError`].
    pub fn tenant(
        self: &Arc<Self>,
        id: &TenantId,
        headers: &BTreeMap<String, Secret>,
        started_ms: i64,
    ) -> Result<TenantRemoteWrite, OpenError> {
        let mut tenants = self.tenants.lock();
        let deadline = Instant::now() + ENDING;
        while tenants.get(id).is_some_and(|entry| entry.tenant.stop.is_cancelled()) {
            if self.stop.is_cancelled() {
                break;
            }
            if self.gone.wait_until(&mut tenants, deadline).timed_out() {
                return Err(OpenError::InUse(id.clone()));
            }
        }
        if self.stop.is_cancelled() {
            return Err(OpenError::Ended);
        }
        let tenant = match tenants.get_mut(id) {
            Some(entry) if entry.open => return Err(OpenError::InUse(id.clone())),
            Some(entry) => {
                entry.tenant.set_headers(headers).map_err(OpenError::Headers)?;
                entry.tenant.writer.lock().restart(started_ms);
                entry.open = true;
                Arc::clone(&entry.tenant)
            }
            None => {
                let tenant = self.open_tenant(id, headers, started_ms)?;
                let entry = Entry { tenant: Arc::clone(&tenant), open: true };
                tenants.insert(id.clone(), entry);
                tenant
            }
        };
        Ok(TenantRemoteWrite { remote: Arc::clone(self), tenant })
    }

    /// Sends what an earlier process left in the queue of a tenant. Blocks as [`Self::tenant`] does, which may be called
    /// at any time: there is no handle of this tenant yet.
    ///
    /// Errors: see [`OpenError`].
    pub fn resume(
        self: &Arc<Self>,
        id: &TenantId,
        headers: &BTreeMap<String, Secret>,
        started_ms: i64,
    ) -> Result<(), OpenError> {
        let mut tenants = self.tenants.lock();
        if self.stop.is_cancelled() {
            return Err(OpenError::Ended);
        }
        if tenants.contains_key(id) {
            return Ok(());
        }
        let tenant = self.open_tenant(id, headers, started_ms)?;
        tenants.insert(id.clone(), Entry { tenant: Arc::clone(&tenant), open: false });
        self.runtime.spawn(Arc::clone(self).retire(tenant));
        Ok(())
    }

    fn open_tenant(
        &self,
        id: &TenantId,
        headers: &BTreeMap<String, Secret>,
        started_ms: i64,
    ) -> Result<Arc<Tenant>, OpenError> {
        let all = tenant::all_headers(&self.remotes, id, headers, self.add_org_id);
        let headers = all.map_err(OpenError::Headers)?;
        Ok(Arc::new(Tenant::open(self, id, headers, started_ms)?))
    }

    fn dir(&self, id: &TenantId) -> PathBuf {
        self.path.join(id.as_str()).join("wal")
    }

    /// Sends what is queued for at most `deadline`, then ends. The rest is sent after the next start. Commit the last
    /// collections before calling it.
    pub async fn flush(&self, deadline: Duration) {
        let tenants: Vec<_> =
            self.tenants.lock().values().map(|entry| Arc::clone(&entry.tenant)).collect();
        let drained = join_all(tenants.iter().map(|tenant| tenant.drained()));
        let in_time = tokio::time::timeout(deadline, drained).await.is_ok();
        self.stop.cancel();
        join_all(tenants.iter().map(|tenant| tenant.senders.wait())).await;
        if in_time {
            return;
        }
        for tenant in tenants {
            if let Some(queue) = tenant.queue.as_ref().filter(|queue| !queue.is_drained()) {
                tracing::warn!(tenant = %tenant.id, bytes = queue.bytes(), "remote write could not send everything before the end: the rest stays on disk for the next start");
            }
        }
    }

    /// Ends a tenant without a handle after it has sent everything.
    async fn retire(self: Arc<Self>, tenant: Arc<Tenant>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tenant.drained() => break,
                // No collection does that any more.
                () = tokio::time::sleep(LIMITS_INTERVAL) => tenant.enforce_limits(),
            }
        }
        if !self.claim(&tenant) {
            return;
        }
        tenant.senders.wait().await;
        let id = tenant.id.clone();
        let (remote, dir) = (Arc::clone(&self), self.dir(&id));
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(queue) = &tenant.queue {
                queue.delete();
            }
            remove_empty(&dir);
            tenant.metrics.forget();
            // Lets go of the log, together with the entry.
            drop(tenant);
            let mut tenants = remote.tenants.lock();
            drop(tenants.remove(&id));
            remote.gone.notify_all();
        });
        if ended.await.is_err() {
            tracing::error!("a tenant's remote write ended early");
        }
    }

    /// Stops the tenant, unless there is a handle again.
    fn claim(&self, tenant: &Arc<Tenant>) -> bool {
        let tenants = self.tenants.lock();
        let mut mine = tenants.get(&tenant.id).filter(|entry| Arc::ptr_eq(&entry.tenant, tenant));
        // There may have been two handles meanwhile. One task is enough to end the tenant.
        mine = mine.filter(|entry| !entry.open && !tenant.stop.is_cancelled());
        let drained = tenant.queue.as_ref().is_none_or(|queue| queue.is_drained());
        if mine.is_none() || !drained {
            return false;
        }
        tenant.stop.cancel();
        true
    }
}

tactus_telemetry::debug_of!(RemoteWrite { path });

/// Whether a directory has parts of a log.
fn has_parts(dir: &Path) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|file| file.path()).any(|file| file.extension() == Some("wal".as_ref()))
}

/// Removes the directories of a tenant if they are empty.
fn remove_empty(dir: &Path) {
    let _ = std::fs::remove_file(dir.join("LOCK"));
    if std::fs::remove_dir(dir).is_ok()
        && let Some(tenant) = dir.parent()
    {
        let _ = std::fs::remove_dir(tenant);
    }
}

/// Remote write of one tenant, of which there is one at a time. After it is dropped, what is queued is still sent.
pub struct TenantRemoteWrite {
    remote: Arc<RemoteWrite>,
    tenant: Arc<Tenant>,
}

impl TenantRemoteWrite {
    /// Begins a collection at `now_ms` (Unix milliseconds). Only one can be in progress; others wait. It writes to the
    /// queue as it is filled, so do not use it on a thread of the runtime.
    pub fn begin(&self, now_ms: i64) -> Collection<'_> {
        self.tenant.begin(now_ms)
    }

    /// Uses these `remote_write_headers` from the next request on, also for samples that are already queued.
    ///
    /// Errors: one of them cannot be used. Then the old ones stay, and the failure is counted.
    pub fn set_headers(&self, headers: &BTreeMap<String, Secret>) -> Result<(), Reason> {
        self.tenant.set_headers(headers)
    }

    /// False if there are no remotes, so that collections would be dropped.
    pub fn has_remotes(&self) -> bool {
        self.tenant.queue.is_some()
    }

    /// True if every remote has everything that was committed.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        self.tenant.queue.as_ref().is_none_or(|queue| queue.is_drained())
    }

    /// Bytes of the queue on disk.
    pub fn queue_bytes(&self) -> u64 {
        self.tenant.queue.as_ref().map_or(0, |queue| queue.bytes())
    }

    /// Ends the tenant after everything is sent. The same as dropping it.
    pub fn close(self) {}
}

impl Drop for TenantRemoteWrite {
    fn drop(&mut self) {
        // A collection borrows the handle, so that none is under way.
        self.tenant.close_part();
        if let Some(entry) = self.remote.tenants.lock().get_mut(&self.tenant.id) {
            entry.open = false;
        }
        let remote = Arc::clone(&self.remote);
        self.remote.runtime.spawn(remote.retire(Arc::clone(&self.tenant)));
    }
}

tactus_telemetry::debug_of!(it: TenantRemoteWrite { tenant = it.tenant.id });

#[cfg(test)]
mod tests;
