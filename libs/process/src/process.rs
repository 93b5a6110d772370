//! The state that the parts of a process share.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tactus_cache::Caches;
use tactus_config::{Config, Loaded, sections::client::GrpcClient, target::services_of};
use tactus_overrides::Overrides;
use tactus_rpc::Channels;
use tactus_server::{
    auth::{Authenticator, InternalToken},
    listener::Backlog,
    operational::ServiceState,
};
use tactus_storage::{Blocklist, Bucket};
use tactus_telemetry::{error_text, metrics::Registry};
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    Announcer, CheckLimits, Error, ShownAddresses, banner, bucket,
    cluster::Cluster,
    memory::{PortMemory, request_bytes},
    operational::{self, States},
    polling, settings,
};

/// A process while it starts and runs.
pub struct Process {
    config: Arc<Config>,
    configless: bool,
    states: States,
    shutdown: CancellationToken,
    leaves_for_good: Mark,
    failed: Mark,
    /// Cancelled when the process ends: background work that holds nothing up.
    background: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    overrides: Arc<Overrides>,
    cluster: Cluster,
    channels: Channels,
    announcer: Announcer,
    internal_token: Option<Arc<InternalToken>>,
    authenticator: Option<Arc<Authenticator>>,
    bucket: OnceCell<Bucket>,
    store: OnceCell<Store>,
    caches: OnceCell<Caches>,
    addresses: ShownAddresses,
    port_memory: PortMemory,
}

/// How long a start waits for the bucket: pushes are taken without it.
const BUCKET_PATIENCE: Duration = Duration::from_secs(10);

/// Something that has happened to the process, or has not. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Mark(Arc<AtomicBool>);

impl Mark {
    /// It has happened.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has happened.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The bucket and the list of its blocks, kept up to date.
#[derive(Debug, Clone)]
pub struct Store {
    /// The bucket.
    pub bucket: Bucket,
    /// Which blocks there are.
    pub blocklist: Arc<Blocklist>,
}

tactus_telemetry::debug_of!(it: Process { target = it.config.target });

impl Process {
    /// Reads the limits and joins the cluster. `shutdown`: cancelled when the process is told to end.
    pub(crate) async fn start(
        loaded: &Loaded,
        check: CheckLimits,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        Self::new(loaded, check, true, shutdown).await
    }

    /// A process that talks to nobody: its settings are those of the configuration, no more of it starts.
    pub(crate) async fn quiet(loaded: &Loaded, check: CheckLimits) -> Result<Self, Error> {
        Self::new(loaded, check, false, CancellationToken::new()).await
    }

    async fn new(
        loaded: &Loaded,
        check: CheckLimits,
        talks: bool,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let mut settings = settings::overrides(loaded, check)?;
        if !talks {
            settings.bucket = None;
        }
        let config = Arc::clone(&settings.config);
        operational::register_build_info(&config, Registry::global());
        for backlog in [Backlog::of_process(), Backlog::of_services()] {
            backlog.set_max_bytes(settings::connection_bytes(&config));
        }
        let states = States::default();
        states.set("server", ServiceState::Starting);
        let background = CancellationToken::new();
        let overrides = Overrides::load(settings, Registry::global()).await?;
        let internal_token = settings::internal_token(&config)?;
        let authenticator = settings::authenticator(&config, internal_token.clone())?;
        let section = "ingester_client.grpc_client_config";
        let client = &config.ingester_client.grpc_client_config;
        let label = &config.memberlist.cluster_label;
        let channels = settings::channels(section, client, internal_token.as_ref(), label)?;
        let channels = Channels::new(channels);
        let secret = internal_token.as_ref().map(settings::shown);
        let cluster = Cluster::start(&config, talks, secret, background.clone()).await?;
        // A tenant index is as old as a poll, and is read by the next one.
        let found_by_polls = settings::poll_interval(&config.storage.trace).saturating_mul(2);
        let process = Self {
            configless: loaded.configless,
            states,
            shutdown,
            leaves_for_good: Mark::default(),
            failed: Mark::default(),
            tasks: Mutex::default(),
            overrides: Arc::clone(&overrides),
            announcer: Announcer::new(cluster.clone(), channels.clone(), found_by_polls),
            cluster,
            channels,
            internal_token,
            authenticator,
            bucket: OnceCell::new(),
            store: OnceCell::new(),
            caches: OnceCell::new(),
            addresses: ShownAddresses::default(),
            port_memory: PortMemory::new(request_bytes(config.server.max_inflight_bytes)),
            config,
            background: background.clone(),
        };
        process.port_memory.register(Registry::global());
        process.spawn(overrides.watch(background.clone()));
        let (cluster, shutdown) = (process.cluster.clone(), process.shutdown.clone());
        let failed = process.failed.clone();
        process.spawn(async move {
            tokio::select! {
                () = background.cancelled() => {}
                reason = cluster.failed() => {
                    tracing::error!(reason, "gossip failed, so this process no longer learns of changes in the cluster: stopping");
                    failed.set();
                    shutdown.cancel();
                }
            }
        });
        Ok(process)
    }

    /// Memory of requests and answers of all ports but those of receivers.
    pub fn port_memory(&self) -> &PortMemory {
        &self.port_memory
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Limits by tenant.
    pub fn overrides(&self) -> &Arc<Overrides> {
        &self.overrides
    }

    /// The other processes, and the rings.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Connections to ingesters.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Connections to other services by a section of their own. Errors: its certificates.
    pub fn channels_of(&self, section: &str, client: &GrpcClient) -> Result<Channels, Error> {
        let label = &self.config.memberlist.cluster_label;
        let settings = settings::channels(section, client, self.internal_token.as_ref(), label)?;
        Ok(Channels::new(settings))
    }

    /// Who may do what; `None` is everyone everything.
    pub fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        self.authenticator.as_ref()
    }

    /// All metrics.
    pub fn registry(&self) -> &'static Registry {
        Registry::global()
    }

    /// Cancel it to end the process in order.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Set if the process ends in order, but others have to take care of something that it could not do: its exit code is 1.
    pub fn failed(&self) -> &Mark {
        &self.failed
    }

    /// Set by `/shutdown`: nobody is expected to start the process again on the same disk.
    pub fn leaves_for_good(&self) -> &Mark {
        &self.leaves_for_good
    }

    /// Cancelled when the process has ended all its parts.
    pub fn background(&self) -> &CancellationToken {
        &self.background
    }

    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    /// Runs something that ends when [`Process::background`] is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task));
    }

    /// Where ports of parts listen, for people.
    pub fn addresses(&self) -> ShownAddresses {
        self.addresses.clone()
    }

    /// The bucket. A bucket that cannot be reached now may be reachable later; one that refuses us is an error.
    pub async fn bucket(&self) -> Result<Bucket, Error> {
        let open = || async {
            let bucket = Bucket::open(&bucket::bucket(&self.config.storage.trace)?)?;
            let reads = |service| matches!(service, "querier" | "query-frontend");
            let check = async {
                match services_of(&self.config.target).into_iter().all(reads) {
                    true => bucket.check_reading().await,
                    false => bucket.check().await,
                }
            };
            let checked = tokio::select! {
                // Who is told to end meanwhile starts with what there is, and stops in order.
                () = self.shutdown.cancelled() => Ok(Ok(())),
                checked = tokio::time::timeout(BUCKET_PATIENCE, check) => checked,
            };
            match checked {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_retryable() => {
                    let error = error_text(&error);
                    tracing::error!(error, "object storage is not reachable yet");
                }
                Ok(Err(error)) => return Err(Error::from(error)),
                Err(_) => tracing::error!("object storage does not answer yet"),
            }
            Ok(bucket)
        };
        self.bucket.get_or_try_init(open).await.cloned()
    }

    /// The bucket and its block list, which was read once, if the bucket answers in time, and is read again in the background.
    pub async fn store(&self) -> Result<Store, Error> {
        let open = || async {
            let bucket = self.bucket().await?;
            // A process alone writes all blocks itself: it knows them, however long polls fail.
            let answers = services_of(&self.config.target).contains(&"query-frontend");
            let max_age =
                (answers && !self.cluster.is_alone()).then(|| settings::list_max_age(&self.config));
            let blocklist = Arc::new(Blocklist::with_max_age(max_age));
            let polling = polling::start(
                &self.config,
                bucket.clone(),
                Arc::clone(&blocklist),
                self.cluster.builds_tenant_index(),
                self.background.clone(),
                &self.shutdown,
            );
            let polling = polling.await;
            self.spawn(async move { drop(polling.await) });
            self.states.set("store", ServiceState::Running);
            Ok::<_, Error>(Store { bucket, blocklist })
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    /// The caches on the network. Errors: settings that cannot work; not servers that are away.
    pub async fn caches(&self) -> Result<Caches, Error> {
        let open = || async { settings::open_caches(&self.config, self.registry()) };
        self.caches.get_or_try_init(open).await.cloned()
    }

    /// The bucket and its block list, if the process keeps one.
    pub(crate) fn opened_store(&self) -> Option<Store> {
        self.store.get().cloned()
    }

    /// Tells the other members of new blocks.
    pub fn announcer(&self) -> Announcer {
        self.announcer.clone()
    }

    /// Shows people where to look, if they started without a configuration.
    pub(crate) fn announce(&self, http: SocketAddr) {
        if self.configless {
            banner::show(http, &self.addresses, &self.config.storage.trace.local.path);
        }
    }

    /// Leaves the cluster and ends what runs in the background.
    pub(crate) async fn end(self) {
        self.cluster.leave().await;
        self.background.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if task.await.is_err_and(|error| error.is_panic()) {
                tracing::error!("a background task panicked");
            }
        }
    }
}
