//! The other processes of the cluster, and the rings.

mod pages;
mod settings;
mod status;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tactus_config::{Config, target::services_of};
use tactus_proto::{
    DynLiveTail,
    tactus::v1::{ingester_server::Ingester, metrics_generator_server::MetricsGenerator},
};
use tactus_ring::{
    Instance, Lifecycler, LifecyclerSettings, Member, Membership, Ring, Secret, SelfDescription,
    State, owns_hash,
};
use tactus_rpc::{
    Channels, GeneratorOf, IngesterOf, Ingesters, LiveTailOf, instance_name, live_tail_at,
    metrics_generator_at,
};
use tactus_server::addressee::Addressee;
use tactus_storage::poller::Owns;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Error, PlannedPort};
use settings::{Plan, RingPlan};

/// The processes that this one works with. Clones are of the same.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    membership: Membership,
    ingesters: Place,
    distributors: Place,
    compactors: Place,
    generators: Place,
    addressee: Arc<Addressee>,
    runs_compactor: bool,
    call_timeout: Duration,
    background: CancellationToken,
}

/// A ring, and this process in it.
pub struct Place {
    ring: Arc<Ring>,
    /// Name of the ring in gossip.
    key: String,
    membership: Membership,
    settings: LifecyclerSettings,
    /// False: the ring is nobody's, its instances work alone.
    is_shared: bool,
    own: Mutex<Own>,
}

/// This process in a ring, and what was asked of it.
#[derive(Default)]
struct Own {
    /// There from the moment that the process enters the ring, though it may not be active for long.
    lifecycler: Option<Lifecycler>,
    read_only: bool,
}

/// How the services of a ring are called.
type Called<T> = Arc<dyn Fn(&Instance) -> Arc<T> + Send + Sync>;

impl Place {
    async fn new(membership: &Membership, (watched, settings): RingPlan, is_shared: bool) -> Self {
        Self {
            key: watched.key.clone(),
            ring: membership.watch(watched).await,
            membership: membership.clone(),
            settings,
            is_shared,
            own: Mutex::default(),
        }
    }

    /// The ring.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }

    /// Takes the place. What is sent here must find the port open.
    pub async fn join(&self) {
        if !self.is_shared {
            return;
        }
        // Kept before the first wait: a process that is told to end during one gives the place up.
        let lifecycler = self.membership.enter(&self.ring, self.settings.clone());
        {
            let mut own = self.own.lock();
            lifecycler.set_read_only(own.read_only);
            own.lifecycler = Some(lifecycler.clone());
        }
        lifecycler.shown().await;
        lifecycler.wait_active().await;
    }

    /// Whether the place is taken.
    pub fn has_joined(&self) -> bool {
        self.joined().is_some()
    }

    /// Has this process take no more writes, or take them again. It may be on its way into the ring.
    fn set_read_only(&self, read_only: bool) {
        // Told under the lock: who enters the ring meanwhile must not tell what was asked for before.
        let mut own = self.own.lock();
        own.read_only = read_only;
        if let Some(lifecycler) = &own.lifecycler {
            lifecycler.set_read_only(read_only);
        }
    }

    /// Gives the place up, if it is taken.
    pub async fn leave(&self) {
        if let Some(lifecycler) = self.lifecycler() {
            lifecycler.leave().await;
        }
    }

    /// How the services of the ring are called: the one in this process, if there is one, directly.
    fn called<T: ?Sized + Send + Sync + 'static>(
        &self,
        local: Option<Arc<T>>,
        at: impl Fn(&Instance) -> Arc<T> + Send + Sync + 'static,
    ) -> Called<T> {
        let (id, address) = (self.settings.id.clone(), self.settings.address.clone());
        Arc::new(move |instance| match &local {
            // A dead instance may have had our address, so the address alone does not say that it is this process.
            Some(local) if *instance.id == *id && *instance.address == *address => {
                Arc::clone(local)
            }
            _ => at(instance),
        })
    }

    /// The name of this process as an instance of the ring.
    fn own_name(&self) -> String {
        instance_name(&self.key, &self.settings.id)
    }

    fn lifecycler(&self) -> Option<Lifecycler> {
        self.own.lock().lifecycler.clone()
    }

    /// This process in the ring, once it is or was active there.
    fn joined(&self) -> Option<Lifecycler> {
        self.lifecycler().filter(|own| own.state() != State::Pending)
    }
}

/// The ports of the gossip. Errors: invalid settings.
pub(crate) fn ports(config: &Config) -> Result<Vec<PlannedPort>, Error> {
    let gossip = settings::plan(config)?.membership.gossip;
    let port = |address: &SocketAddr| PlannedPort::tcp("memberlist.bind_port", address.to_string());
    Ok(gossip.iter().flat_map(|gossip| gossip.listen.iter().map(port)).collect())
}

tactus_telemetry::debug_of!(it: Cluster { name = it.0.membership.name() });

impl Cluster {
    /// Joins the others, if the configuration names any.
    /// `secret`: what others must know to take part.
    pub(crate) async fn start(
        config: &Config,
        gossips: bool,
        secret: Option<Secret>,
        background: CancellationToken,
    ) -> Result<Self, Error> {
        let Plan {
            mut membership,
            ingesters,
            distributors,
            compactors,
            generators,
            compactors_share,
        } = settings::plan(config)?;
        if !gossips {
            membership.gossip = None;
        }
        if let Some(gossip) = &mut membership.gossip {
            gossip.transport.secret = secret;
            gossip.transport.demands_proof = config.auth.enabled && !config.auth.allow_open_gossip;
            settings::log_trust(&gossip.transport);
        }
        let membership = Membership::start(membership).await?;
        let memberlist = &config.memberlist;
        let ingesters = Place::new(&membership, ingesters, true).await;
        let generators = Place::new(&membership, generators, true).await;
        let addressee = Addressee {
            cluster: (!memberlist.cluster_label_verification_disabled)
                .then(|| memberlist.cluster_label.clone()),
            instances: vec![ingesters.own_name(), generators.own_name()],
        };
        let runs_compactor =
            services_of(&config.target).contains(&"compactor") && !config.compactor.disabled;
        Ok(Self(Arc::new(Inner {
            ingesters,
            distributors: Place::new(&membership, distributors, true).await,
            compactors: Place::new(&membership, compactors, compactors_share).await,
            generators,
            addressee: Arc::new(addressee),
            membership,
            runs_compactor,
            call_timeout: config.ingester_client.remote_timeout.as_std(),
            background,
        })))
    }

    /// True for a process that works with no other.
    pub fn is_alone(&self) -> bool {
        self.0.membership.gossip_address().is_none()
    }

    /// Whom calls of other processes have to be meant for.
    pub(crate) fn addressee(&self) -> Arc<Addressee> {
        Arc::clone(&self.0.addressee)
    }

    /// Returns when no news of the others can come any more, and why.
    pub(crate) async fn failed(&self) -> String {
        self.0.membership.failed().await.to_string()
    }

    /// The ingesters.
    pub fn ingesters(&self) -> &Place {
        &self.0.ingesters
    }

    /// How the ingesters of the ring are called. `local`: the one in this process.
    pub fn ingester_of(&self, channels: &Channels, local: Option<Arc<dyn Ingester>>) -> IngesterOf {
        let place = &self.0.ingesters;
        let ingesters = Ingesters::new(channels.clone(), &place.key, self.0.call_timeout);
        place.called(local, move |instance| ingesters.at(&instance.address, &instance.id))
    }

    /// How the live tails of the ring's ingesters are called. `local`: the one in this process.
    pub fn live_tail_of(&self, channels: &Channels, local: Option<Arc<DynLiveTail>>) -> LiveTailOf {
        let place = &self.0.ingesters;
        let (channels, ring) = (channels.clone(), place.key.clone());
        place.called(local, move |instance| {
            live_tail_at(&channels, &instance.address, &instance_name(&ring, &instance.id))
        })
    }

    /// The distributors.
    pub fn distributors(&self) -> &Place {
        &self.0.distributors
    }

    /// Addresses of the query-frontends in other processes, as they come and go.
    pub fn frontends(&self) -> watch::Receiver<Vec<String>> {
        let mut members = self.0.membership.member_changes();
        let (known, addresses) = watch::channel(others(&members.borrow(), &["query-frontend"]));
        let stop = self.0.background.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = members.changed() => if changed.is_err() { return },
                }
                let found = others(&members.borrow_and_update(), &["query-frontend"]);
                known.send_if_modified(|known| {
                    let differs = *known != found;
                    *known = found;
                    differs
                });
            }
        });
        addresses
    }

    /// Which tenant indexes this process writes.
    pub(crate) fn builds_tenant_index(&self) -> Owns {
        if self.0.runs_compactor { self.compactor_owns() } else { Arc::new(|_| false) }
    }

    /// Which merges are this process's.
    pub fn compactor_owns(&self) -> Owns {
        let compactors = &self.0.compactors;
        if !compactors.is_shared {
            return Arc::new(|_| true);
        }
        let (ring, id) = (compactors.ring(), compactors.settings.id.clone());
        Arc::new(move |name| ring.view().owns(owns_hash(name), &id))
    }

    /// The compactors, if they share their work.
    pub fn compactors(&self) -> &Place {
        &self.0.compactors
    }

    /// The metrics generators.
    pub fn generators(&self) -> &Place {
        &self.0.generators
    }

    /// How the metrics generators of the ring are called. `local`: the one in this process.
    pub fn generator_of(
        &self,
        channels: &Channels,
        local: Option<Arc<dyn MetricsGenerator>>,
    ) -> GeneratorOf {
        let place = &self.0.generators;
        let (channels, ring) = (channels.clone(), place.key.clone());
        place.called(local, move |instance| {
            let name = instance_name(&ring, &instance.id);
            metrics_generator_at(&channels, &instance.address, &name)
        })
    }

    /// Why the ingester should not be counted on yet.
    pub fn ingester_ready(&self) -> Result<(), String> {
        match self.0.ingesters.joined() {
            _ if self.is_alone() => Ok(()),
            Some(lifecycler) => lifecycler.readiness(),
            None => Err("not in the ring yet".to_owned()),
        }
    }

    /// Lets the others know that nothing more is to be sent to this ingester; returns when they do.
    pub async fn stop_writes_to_ingester(&self) {
        if let Some(lifecycler) = self.0.ingesters.lifecycler() {
            lifecycler.leaving().await;
        }
    }

    /// Gives the place among the ingesters up. `for_good`: whatever is configured.
    pub async fn leave_ingesters(&self, for_good: bool) {
        match self.0.ingesters.lifecycler() {
            Some(lifecycler) if for_good => {
                lifecycler.unregister().await;
            }
            _ => self.0.ingesters.leave().await,
        }
    }

    /// Has this ingester take no more writes, or take them again; it is still read from.
    pub fn set_ingester_read_only(&self, read_only: bool) {
        self.0.ingesters.set_read_only(read_only);
    }

    /// Addresses of the other members that keep a block list.
    pub(crate) fn block_readers(&self) -> Vec<String> {
        let members = self.0.membership.members();
        others(&members, &["querier", "query-frontend", "compactor"])
    }

    /// Pages of the members and the rings: those that show, and those that change.
    pub(crate) fn pages(&self) -> (Router, Router) {
        pages::routers(self.0.membership.clone(), self.shown_rings())
    }

    /// The rings that have a page.
    pub(crate) fn ring_names(&self) -> impl Iterator<Item = &'static str> {
        self.shown_rings().into_iter().map(|(name, _)| name)
    }

    /// That of the compactors is the last. Alone they do not share work, and nobody enters it.
    fn shown_rings(&self) -> Vec<(&'static str, Arc<Ring>)> {
        let inner = &self.0;
        vec![
            ("ingester", inner.ingesters.ring()),
            ("distributor", inner.distributors.ring()),
            ("metrics-generator", inner.generators.ring()),
            ("compactor", inner.compactors.ring()),
        ]
    }

    /// The rings that are in use.
    fn rings(&self) -> Vec<(&'static str, Arc<Ring>)> {
        let mut rings = self.shown_rings();
        if !self.0.compactors.is_shared {
            rings.pop();
        }
        rings
    }

    /// Members and rings for people: `{members: [{name, targets, zone, version, isSelf}], rings: [{name,
    /// replicationFactor, instances: [{id, zone, state, isHealthy, isReadOnly, share, silentMs}]}]}`. `share` is that of
    /// the keys, 0 to 1. No addresses: whoever may read a tenant may read this. A process alone has neither.
    pub fn status_json(&self) -> Value {
        if self.is_alone() {
            return json!({ "members": [], "rings": [] });
        }
        status::json(&self.0.membership.members(), &self.rings())
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self) {
        self.0.membership.shutdown().await;
    }
}

/// gRPC addresses of the members in other processes that run one of these, sorted.
fn others(members: &[Member], targets: &[&str]) -> Vec<String> {
    let others = members.iter().filter(|member| !member.is_self).map(|member| &member.description);
    let runs = |process: &&SelfDescription| {
        process.targets.iter().any(|target| targets.contains(&target.as_str()))
    };
    let mut addresses: Vec<_> =
        others.filter(runs).map(|process| process.grpc_address.clone()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
