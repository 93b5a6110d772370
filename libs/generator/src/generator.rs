//! The tenants of a process, and what happens to each from its first push to its end.

mod sent;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::RwLock;
use tactus_config::{Config, sections::overrides::Limits};
use tactus_model::TenantId;
use tactus_overrides::Overrides;
use tactus_proto::tactus::v1::PushRequest;
use tactus_telemetry::{error_text, log_limited, metrics::Registry};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    convert::bytes_of,
    engine::TENANT_BYTES,
    error::Error,
    generator::sent::Sent,
    instance::{Instance, Pushed, now_ms},
    page::OpenMetrics,
    shared::Shared,
};

/// Tenants at a time. One takes a file, a task for each remote and its series.
const MAX_TENANTS: usize = 10_000;
/// Idle tenants are looked for so often.
const SWEEP: Duration = Duration::from_secs(60);
/// A tenant without series that pushed nothing for so long is let go of.
const IDLE: Duration = Duration::from_secs(600);
/// A tenant that could not start is not tried again for so long, unless its limits change.
const BACK_OFF: Duration = Duration::from_secs(60);
/// The budget of pushes is counted in this many bytes.
const UNIT_BYTES: u64 = 1024;

/// A tenant that could not be made.
#[derive(Debug)]
struct Failed {
    since: Instant,
    /// With others it is tried at once.
    limits: Arc<Limits>,
}

/// Tenants that this process does not have.
#[derive(Debug, Default)]
struct Absent {
    failed: HashMap<TenantId, Failed>,
    /// Of tenants that were let go of.
    sent: Sent,
}

/// A metrics generator.
#[derive(Debug)]
pub struct Generator {
    shared: Arc<Shared>,
    instances: RwLock<HashMap<TenantId, Arc<Instance>>>,
    /// Held while a tenant is made or let go of, so that its queue has one owner.
    absent: Mutex<Absent>,
    /// Bytes of pushes that are being counted, in units.
    budget: Semaphore,
    units: u32,
    /// No push is taken any more.
    stopping: CancellationToken,
    pushes: TaskTracker,
    /// Ends the tasks of tenants.
    ended: CancellationToken,
    tasks: TaskTracker,
}

impl Generator {
    /// The metrics generator of a process; call it within the runtime that is to send. `max_bytes`: of pushes that are
    /// being counted.
    ///
    /// Errors: a receiver of remote write that cannot be used.
    pub fn open(
        config: Arc<Config>,
        overrides: Arc<Overrides>,
        registry: &Registry,
        max_bytes: u64,
    ) -> Result<Arc<Self>, tactus_remote_write::Error> {
        let units = u32::try_from(max_bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let units = units.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Ok(Arc::new(Self {
            shared: Arc::new(Shared::open(config, overrides, registry)?),
            instances: RwLock::default(),
            absent: Mutex::default(),
            budget: Semaphore::new(units as usize),
            units,
            stopping: CancellationToken::new(),
            pushes: TaskTracker::new(),
            ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Counts a push. `skip`: its client asked for no series.
    ///
    /// Errors: nothing of it was counted.
    pub(crate) async fn push(
        &self,
        tenant: TenantId,
        push: PushRequest,
        skip: bool,
    ) -> Result<(), Error> {
        let _running = self.pushes.token();
        // One that is larger than the budget passes alone.
        let units = u32::try_from(bytes_of(&push) / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let Ok(_held) = self.budget.try_acquire_many(units.min(self.units)) else {
            self.shared.metrics.overloads.inc();
            return Err(Error::Overloaded);
        };
        let push = Arc::new(push);
        loop {
            if self.stopping.is_cancelled() {
                return Err(Error::Stopping);
            }
            let instance = self.instance(&tenant).await?;
            match instance.push(&self.shared, Arc::clone(&push), skip).await? {
                Pushed::Counted => return Ok(()),
                // It was idle, and was just let go of.
                Pushed::Retired => {}
            }
        }
    }

    fn known(&self, tenant: &TenantId) -> Option<Arc<Instance>> {
        self.instances.read().get(tenant).cloned()
    }

    async fn instance(&self, tenant: &TenantId) -> Result<Arc<Instance>, Error> {
        if let Some(known) = self.known(tenant) {
            return Ok(known);
        }
        let mut absent = self.absent.lock().await;
        if let Some(known) = self.known(tenant) {
            return Ok(known);
        }
        if self.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        self.check_room().inspect_err(|error| {
            self.shared.metrics.tenant_refusals.inc();
            let (tenant, error) = (tenant.as_str(), error_text(error));
            log_limited!(warn, tenant, error, "no series are made of the tenant's spans");
        })?;
        absent.failed.retain(|_, failed| failed.since.elapsed() < BACK_OFF);
        let limits = self.shared.limits(tenant);
        let failed = absent.failed.get(tenant);
        if failed.is_some_and(|failed| Arc::ptr_eq(&failed.limits, &limits)) {
            return Err(Error::BackOff);
        }
        let (shared, name) = (Arc::clone(&self.shared), tenant.clone());
        let sent_ms = absent.sent.of(tenant);
        let made = self.shared.pool.run(move || Instance::start(&shared, name, sent_ms)).await?;
        let instance = Arc::new(made.inspect_err(|error| {
            if !error.is_in_use() {
                absent.failed.insert(tenant.clone(), Failed { since: Instant::now(), limits });
            }
        })?);
        absent.sent.forget(tenant);
        self.instances.write().insert(tenant.clone(), Arc::clone(&instance));
        self.show_tenants();
        let (shared, ended) = (Arc::clone(&self.shared), self.ended.child_token());
        self.tasks.spawn(Arc::clone(&instance).run(shared, ended));
        tracing::info!(tenant = tenant.as_str(), "metrics generator has a new tenant");
        Ok(instance)
    }

    /// Errors: there may be no tenant more.
    fn check_room(&self) -> Result<(), Error> {
        if self.instances.read().len() >= MAX_TENANTS {
            return Err(Error::TooManyTenants(MAX_TENANTS));
        }
        match self.shared.memory.has_room(TENANT_BYTES) {
            true => Ok(()),
            false => Err(Error::NoMemory),
        }
    }

    fn show_tenants(&self) {
        self.shared.metrics.tenants.set(self.instances.read().len() as f64);
    }

    /// Sends what an earlier process left unsent.
    pub async fn resume(&self) {
        let shared = Arc::clone(&self.shared);
        let resumed = self.shared.pool.run(move || {
            for tenant in shared.remote_write.tenants_left_behind() {
                let limits = shared.limits(&tenant);
                let headers = &limits.metrics_generator.remote_write_headers;
                if let Err(error) = shared.remote_write.resume(&tenant, headers, now_ms()) {
                    let (tenant, error) = (tenant.as_str(), error_text(&error));
                    tracing::error!(tenant, error, "what an earlier process collected is not sent");
                }
            }
        });
        if resumed.await.is_err() {
            tracing::error!("what an earlier process collected is not sent");
        }
    }

    /// The series of a tenant in OpenMetrics; none if it is not known.
    pub async fn page(&self, tenant: &TenantId) -> Result<String, Error> {
        match self.known(tenant) {
            Some(instance) => instance.page(&self.shared).await,
            None => Ok(OpenMetrics::default().finish()),
        }
    }

    /// Lets idle tenants go, until [`Self::stop`].
    pub async fn sweep(&self) {
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            self.let_go(IDLE).await;
        }
    }

    async fn let_go(&self, idle: Duration) {
        for instance in self.all() {
            let mut absent = self.absent.lock().await;
            if let Some(sent_ms) = instance.retire(&self.shared, idle).await {
                let tenant = instance.tenant();
                absent.sent.note(tenant.clone(), sent_ms);
                self.instances.write().remove(tenant);
                self.show_tenants();
                tracing::info!(
                    tenant = tenant.as_str(),
                    "metrics generator dropped an idle tenant"
                );
            }
        }
    }

    /// Takes no push any more, and collects what was counted once more.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.pushes.close();
        self.pushes.wait().await;
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        join_all(self.all().iter().map(|instance| instance.finish(&self.shared))).await;
    }

    /// Sends what was collected, within the deadline of the configuration.
    pub async fn flush(&self) {
        self.shared.flush().await;
    }

    fn all(&self) -> Vec<Arc<Instance>> {
        self.instances.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
