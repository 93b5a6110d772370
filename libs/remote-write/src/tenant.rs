//! Remote write of one tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::{Mutex, RwLock};
use tactus_config::Secret;
use tactus_model::TenantId;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::collection::{Collection, Writer};
use super::connections::{InvalidHeader, header};
use super::metrics::TenantMetrics;
use super::queue::Queue;
use super::sender::{Sender, TenantHeaders};
use super::settings::{self, Reason, Remote};
use super::{RemoteWrite, has_parts};

const ORG_ID: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Queue and senders of one tenant.
pub(super) struct Tenant {
    pub(super) id: TenantId,
    remotes: Vec<Arc<Remote>>,
    add_org_id: bool,
    pub(super) writer: Mutex<Writer>,
    /// None without remotes.
    pub(super) queue: Option<Arc<Queue>>,
    pub(super) metrics: Arc<TenantMetrics>,
    headers: Vec<TenantHeaders>,
    /// Ends the senders; once it is cancelled the tenant is no longer used.
    pub(super) stop: CancellationToken,
    pub(super) senders: TaskTracker,
}

impl Tenant {
    /// Opens the queue and begins to send what is in it. Without remotes what is in it is dropped.
    pub(super) fn open(
        all: &RemoteWrite,
        id: &TenantId,
        headers: Vec<Arc<HeaderMap>>,
        started_ms: i64,
    ) -> Result<Self, tactus_wal::Error> {
        let metrics = Arc::new(TenantMetrics::new(&all.families, id.as_str(), &all.remotes));
        let dir = all.dir(id);
        let queue = match &all.remotes[..] {
            [] => {
                if has_parts(&dir) {
                    let queue = Queue::open(&dir, all.limits, &[])?;
                    queue.removed().iter().for_each(|counts| metrics.removed(*counts));
                    queue.delete();
                }
                None
            }
            remotes => {
                let keys: Vec<_> = remotes.iter().map(|remote| remote.key.clone()).collect();
                Some(Arc::new(Queue::open(&dir, all.limits, &keys)?))
            }
        };
        let tenant = Self {
            id: id.clone(),
            remotes: all.remotes.clone(),
            add_org_id: all.add_org_id,
            writer: Mutex::new(Writer::new(started_ms)),
            queue,
            metrics,
            headers: headers.into_iter().map(|headers| Arc::new(RwLock::new(headers))).collect(),
            stop: all.stop.child_token(),
            senders: TaskTracker::new(),
        };
        if let Some(queue) = &tenant.queue {
            tenant.start(queue, &all.runtime);
        }
        // Also without senders: who waits for their end waits for this.
        tenant.senders.close();
        Ok(tenant)
    }

    fn start(&self, queue: &Arc<Queue>, runtime: &runtime::Handle) {
        queue.removed().iter().for_each(|counts| self.metrics.removed(*counts));
        for (index, counts) in queue.left_behind().into_iter().enumerate() {
            if let Some(remote) = self.metrics.remote(index) {
                remote.expect(counts);
            }
        }
        self.enforce_limits();
        for (index, (remote, headers)) in self.remotes.iter().zip(&self.headers).enumerate() {
            let sender = Sender {
                tenant: self.id.clone(),
                index,
                remote: Arc::clone(remote),
                queue: Arc::clone(queue),
                metrics: Arc::clone(&self.metrics),
                headers: Arc::clone(headers),
                stop: self.stop.clone(),
            };
            self.senders.spawn_on(sender.run(), runtime);
        }
    }

    /// Drops what is older than the limits allow.
    pub(super) fn enforce_limits(&self) {
        let losses = self.queue.iter().flat_map(|queue| queue.enforce_limits(Instant::now()));
        losses.for_each(|loss| self.metrics.dropped(&loss));
    }

    pub(super) fn set_headers(&self, overrides: &BTreeMap<String, Secret>) -> Result<(), Reason> {
        let headers = all_headers(&self.remotes, &self.id, overrides, self.add_org_id)
            .inspect_err(|_| self.metrics.update_failed())?;
        for (current, headers) in self.headers.iter().zip(headers) {
            *current.write() = headers;
        }
        Ok(())
    }

    /// Until every remote has everything.
    pub(super) async fn drained(&self) {
        if let Some(queue) = &self.queue {
            queue.drained().await;
        }
    }

    /// Closes the part that is written, which limits would spare for ever if nothing follows.
    pub(super) fn close_part(&self) {
        if let Some(queue) = &self.queue {
            let mut writer = self.writer.lock();
            queue.rotate();
            writer.next_part();
        }
    }

    pub(super) fn begin(&self, now_ms: i64) -> Collection<'_> {
        Collection::begin(self.writer.lock(), self.queue.as_deref(), &self.metrics, now_ms)
    }
}

/// The headers of each remote: configured ones, those of the tenant over them, and the tenant's name.
pub(super) fn all_headers(
    remotes: &[Arc<Remote>],
    tenant: &TenantId,
    overrides: &BTreeMap<String, Secret>,
    add_org_id: bool,
) -> Result<Vec<Arc<HeaderMap>>, Reason> {
    let add_org_id = add_org_id && *tenant != TenantId::single();
    remotes.iter().map(|remote| headers(remote, tenant, overrides, add_org_id)).collect()
}

/// A header of `remote_write_headers`. Errors: it cannot be sent, or must not be set.
pub(super) fn own_header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), Reason> {
    match settings::check_header(name) {
        // Credentials of a tenant's own go before those of the remote.
        Ok(()) | Err(Reason::AuthorizationHeader) => Ok(header(name, value.reveal())?),
        Err(error) => Err(error),
    }
}

fn headers(
    remote: &Remote,
    tenant: &TenantId,
    overrides: &BTreeMap<String, Secret>,
    add_org_id: bool,
) -> Result<Arc<HeaderMap>, Reason> {
    let mut headers = remote.headers.clone();
    for (name, value) in overrides {
        let (name, value) = own_header(name, value)?;
        headers.insert(name, value);
    }
    let has_org_id = headers.get(&ORG_ID).is_some_and(|value| !value.is_empty());
    if add_org_id && !has_org_id {
        let value = HeaderValue::try_from(tenant.as_str());
        headers.insert(ORG_ID, value.map_err(|_| InvalidHeader::of(ORG_ID.as_str()))?);
    }
    Ok(Arc::new(headers))
}
