//! The limits in effect, and how they are kept up to date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tactus_config::sections::overrides::Limits;
use tactus_config::{Config, PerTenantOverrides, without_passwords};
use tactus_model::{TenantId, bytes_to_hex};
use tactus_operator_files::{Content, WatchedFile};
use tactus_storage::Bucket;
use tactus_telemetry::metrics::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::file;
use crate::metrics::Metrics;
use crate::of_limits::LimitsOf;
use crate::snapshot::{Snapshot, Stored};
use crate::user::store::Store;

/// How long a start waits for what tenants set. Everything works without it, and reading goes on.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// Of a file with more to say, the log has the first warnings each time that it is read.
const MAX_LOGGED_WARNINGS: usize = 100;

/// Rejects limits for a reason that the configuration cannot know, worded for the operator.
pub type LimitsCheck = Arc<dyn Fn(&Limits) -> Result<(), String> + Send + Sync>;

/// What limits are made of.
#[derive(Clone)]
pub struct Settings {
    /// The configuration: defaults, the file's place and period, what the API may change.
    pub config: Arc<Config>,
    /// True if environment variables are expanded in the file.
    pub expand_env: bool,
    /// Where limits that tenants set are stored; `None` if `overrides.user_configurable_overrides.enabled` is not set.
    pub bucket: Option<Bucket>,
    /// Further rules on limits by themselves, in every entry of the file.
    pub check: LimitsCheck,
    /// The same, and whether limits go together with the configuration of this process: for the defaults, and for what
    /// tenants set. An entry of the file that does not is only warned of, because other tenants must not suffer from it; so
    /// are limits of the metrics generator among the defaults.
    pub fits: LimitsCheck,
}

impl Settings {
    /// Without environment, bucket and further rules.
    pub fn new(config: Arc<Config>) -> Self {
        let any: LimitsCheck = Arc::new(|_| Ok(()));
        Self { config, expand_env: false, bucket: None, check: Arc::clone(&any), fits: any }
    }
}

tactus_telemetry::debug_of!(Settings { bucket });

/// Why the process must not start with these settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is missing or refused.
    #[error("failed to load runtime config: overrides.per_tenant_override_config {path}: {reason}")]
    File {
        /// The file as configured.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A default is invalid.
    #[error("overrides.defaults.{0}")]
    Defaults(String),
}

/// What there is to say of a configuration that works.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    /// What is wrong, and holds back nothing else.
    pub mistakes: Vec<String>,
    /// What may be meant, such as settings without effect.
    pub advice: Vec<String>,
}

/// The limits of all tenants. One for each process.
pub struct Overrides {
    pub(crate) settings: Settings,
    file: Option<WatchedFile>,
    current: ArcSwap<Snapshot>,
    /// Locked while a snapshot is made from the previous one.
    changing: Mutex<()>,
    pub(crate) store: Option<Store>,
    /// The first read of what tenants set, if the start did not wait for its end.
    first_read: Mutex<Option<AbortOnDropHandle<()>>>,
    pub(crate) metrics: Metrics,
    /// Of the file in use.
    file_warnings: Mutex<Warnings>,
    unusable_defaults: Option<String>,
}

tactus_telemetry::debug_of!(Overrides { settings });

impl Overrides {
    /// Reads the file, if one is configured, and the limits that tenants set. If these take long, this is logged, and they
    /// come into effect once they are read.
    ///
    /// Errors: the file is missing or rejected; the text says what is wrong.
    pub async fn load(settings: Settings, registry: &Registry) -> Result<Arc<Self>, Error> {
        let section = &settings.config.overrides;
        let unusable_defaults = check_defaults(&section.defaults, &settings.fits)?;
        if let Err(reason) = tactus_config::check_limits(&section.defaults) {
            tracing::warn!("overrides.defaults: {reason}");
        } else if let Some(reason) = &unusable_defaults {
            tracing::warn!("{reason}");
        }
        let location = section.per_tenant_override_config.clone();
        let refused = |reason| Error::File { path: without_passwords(&location), reason };
        let file = match location.as_str() {
            "" => None,
            location => Some(file::watched(location).map_err(refused)?),
        };
        let defaults = Arc::new(section.defaults.clone());
        let empty = Snapshot::new(defaults, Arc::default(), BTreeMap::new(), None);
        let overrides = Arc::new(Self {
            file,
            current: ArcSwap::from_pointee(empty),
            changing: Mutex::new(()),
            store: settings.bucket.clone().map(Store::new),
            first_read: Mutex::default(),
            metrics: Metrics::register(registry),
            file_warnings: Mutex::default(),
            unusable_defaults,
            settings,
        });
        overrides.metrics.show(&overrides.snapshot());
        overrides.read_file().await.map_err(refused)?;
        let reading = Arc::clone(&overrides);
        let mut first_read =
            AbortOnDropHandle::new(tokio::spawn(async move { reading.read_stored().await }));
        if tokio::time::timeout(STORE_PATIENCE, &mut first_read).await.is_err() {
            tracing::error!("limits set by tenants are not in effect yet: reading them takes long");
            *overrides.first_read.lock() = Some(first_read);
        }
        Ok(overrides)
    }

    /// The current limits of a tenant. Cheap: an atomic load and a look-up by hash; never waits.
    ///
    /// Unchanged limits are the same allocation, which `Arc::ptr_eq` can check.
    pub fn of(&self, tenant: &TenantId) -> Arc<Limits> {
        self.of_name(tenant.as_str())
    }

    /// As [`Self::of`], by the tenant's name.
    pub fn of_name(&self, tenant: &str) -> Arc<Limits> {
        Arc::clone(self.current.load().of(tenant))
    }

    /// A function that calls [`Self::of`], for callers that need only that.
    pub fn limits_of(self: &Arc<Self>) -> LimitsOf {
        let overrides = Arc::clone(self);
        Arc::new(move |tenant| overrides.of(tenant))
    }

    /// Why the metrics generator makes no series of tenants that have the defaults; `None` if it does.
    pub fn unusable_defaults(&self) -> Option<&str> {
        self.unusable_defaults.as_deref()
    }

    /// Keeps the limits up to date until `stop`: reads the file each `per_tenant_override_period`, and what tenants set
    /// each `poll_interval`. If something cannot be read, the limits stay as they are.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let section = &self.settings.config.overrides;
        let file_period = section.per_tenant_override_period.as_std();
        let store_period = section.user_configurable_overrides.poll_interval.as_std();
        let file = async {
            while self.file.is_some() && !file_period.is_zero() {
                tokio::time::sleep(file_period).await;
                self.reload_file().await;
            }
        };
        let first_read = self.first_read.lock().take();
        let store = async {
            if let Some(first_read) = first_read {
                // What failed is logged, and is read again after a period.
                let _ = first_read.await;
            }
            while self.store.is_some() && !store_period.is_zero() {
                tokio::time::sleep(store_period).await;
                self.read_stored().await;
            }
        };
        // The end does not wait for a disk or a server that hangs. A file that was read is still put in effect by its thread.
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(file, store) } => {}
        }
    }

    /// What the log was told of the file that is in use.
    pub fn file_warnings(&self) -> Warnings {
        self.file_warnings.lock().clone()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Applies what a tenant set through the API; `None`: it has no limits of its own any more.
    pub(crate) fn change_user(&self, store: &Store, tenant: &str, stored: Option<Stored>) {
        let _changing = self.changing.lock();
        store.note_write(tenant);
        let after = self.snapshot().with_user(tenant, stored.map(Arc::new));
        self.current.store(Arc::new(after));
    }

    fn replace(
        &self,
        change: impl FnOnce(
            Arc<PerTenantOverrides>,
            BTreeMap<String, Arc<Stored>>,
        ) -> (Arc<PerTenantOverrides>, BTreeMap<String, Arc<Stored>>),
    ) {
        let _changing = self.changing.lock();
        let before = self.snapshot();
        let (file, user) = change(Arc::clone(&before.file), before.user.clone());
        let after = Snapshot::new(Arc::clone(&before.defaults), file, user, Some(&before));
        self.metrics.show(&after);
        self.current.store(Arc::new(after));
    }

    /// Reads the file again. If it is rejected, logs that once.
    async fn reload_file(self: &Arc<Self>) {
        let Some(watched) = &self.file else { return };
        let file = without_passwords(watched.place());
        match self.read_file().await {
            Ok(true) => tracing::info!(file, "per-tenant overrides are read again"),
            Ok(false) => {}
            Err(reason) => {
                self.metrics.file_refused();
                if watched.refused(&reason) {
                    tracing::error!(
                        file,
                        reason,
                        "per-tenant overrides are refused, the old ones stay"
                    );
                }
            }
        }
    }

    /// Reads the file if it has changed since the last time. True if it has.
    async fn read_file(self: &Arc<Self>) -> Result<bool, String> {
        let Some(watched) = &self.file else { return Ok(false) };
        let content = watched.read().await.map_err(|error| error.to_string())?;
        if watched.is_used(&content) {
            self.metrics.file_read(&bytes_to_hex(&content.sha256));
            return Ok(false);
        }
        // A file of many tenants takes seconds.
        let overrides = Arc::clone(self);
        let used = tokio::task::spawn_blocking(move || overrides.use_file(&content)).await;
        used.map_err(|error| error.to_string())?.map(|()| true)
    }

    /// Puts the limits of the file in effect.
    fn use_file(&self, content: &Content) -> Result<(), String> {
        let Some(watched) = &self.file else { return Ok(()) };
        let Settings { config, expand_env, check, fits, .. } = &self.settings;
        let mut file = file::parse(watched.place(), content, config, *expand_env)?;
        for (tenant, limits) in file.overrides.entries() {
            check(limits)
                .map_err(|reason| format!("validating overrides for {tenant} failed: {reason}"))?;
            if let Err(reason) = fits(limits) {
                file.warnings.push(format!("overrides of tenant {tenant}: {reason}"));
            }
        }
        for warning in file.warnings.iter().chain(&file.advice).take(MAX_LOGGED_WARNINGS) {
            tracing::warn!("{warning}");
        }
        let more = (file.warnings.len() + file.advice.len()).saturating_sub(MAX_LOGGED_WARNINGS);
        if more > 0 {
            tracing::warn!(
                "{more} more warnings of per-tenant overrides: -config.verify tells all"
            );
        }
        self.replace(|_, user| (Arc::new(file.overrides), user));
        *self.file_warnings.lock() = Warnings { mistakes: file.warnings, advice: file.advice };
        self.metrics.file_read(&bytes_to_hex(&content.sha256));
        watched.used(content);
        Ok(())
    }

    /// Reads what tenants set by the API.
    async fn read_stored(&self) {
        let Some(store) = &self.store else { return };
        let started = Instant::now();
        let before = self.snapshot();
        let max_bytes = self.settings.config.overrides.user_configurable_overrides.max_bytes;
        if let Some(stored) = store.read_all(&before.user, max_bytes, &self.metrics).await {
            self.take_over(store, started, stored);
        }
    }

    /// Applies what was read since `started`, except for what this process changed meanwhile.
    fn take_over(
        &self,
        store: &Store,
        started: Instant,
        mut stored: BTreeMap<String, Arc<Stored>>,
    ) {
        self.replace(|file, mut user| {
            for tenant in store.written_since(started) {
                match user.remove(&tenant) {
                    Some(written) => stored.insert(tenant, written),
                    None => stored.remove(&tenant),
                };
            }
            (file, stored)
        });
    }
}

/// What is of no use in the defaults: limits of the metrics generator, and forwarders that are not there. As in Tempo, spans
/// are stored all the same.
///
/// Errors: other limits are refused.
fn check_defaults(defaults: &Limits, check: &LimitsCheck) -> Result<Option<String>, Error> {
    let Err(reason) = check(defaults) else { return Ok(None) };
    let without = Limits {
        metrics_generator: Limits::built_in().metrics_generator,
        forwarders: Vec::new(),
        ..defaults.clone()
    };
    check(&without).map_err(Error::Defaults)?;
    Ok(Some(format!("overrides.defaults.{reason}")))
}

#[cfg(test)]
mod tests;
