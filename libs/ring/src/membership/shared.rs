//! The state that the tasks of a membership share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chitchat::{ChitchatHandle, ChitchatId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::recall::Memory;
use crate::metrics::Metrics;
use crate::news::SelfDescription;
use crate::record::Record;
use crate::ring::Ring;
use crate::settings::{GossipSettings, MembershipSettings, WatchSettings};
use crate::transport::Wire;

/// A process of the cluster that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name among the members.
    pub name: String,
    /// Its description.
    pub description: SelfDescription,
    /// Its address for gossip.
    pub gossip_address: SocketAddr,
    /// Whether it is this process.
    pub is_self: bool,
}

pub(crate) struct Shared {
    pub(crate) settings: MembershipSettings,
    pub(crate) id: ChitchatId,
    pub(crate) record: Arc<Record>,
    pub(super) rings: Mutex<Vec<Watched>>,
    pub(super) members: watch::Sender<Arc<Vec<Member>>>,
    pub(super) gossip: Option<Gossip>,
    pub(crate) memory: Option<Arc<Memory>>,
    /// The first attempt to find others is over.
    pub(super) has_joined: AtomicBool,
    /// One refresh at a time, so that an older state never replaces a newer one.
    pub(super) refreshing: tokio::sync::Mutex<()>,
    pub(super) metrics: Option<Arc<Metrics>>,
    pub(super) stop: CancellationToken,
    pub(super) stopped: watch::Sender<Option<String>>,
    /// Another live process has claimed a place of this one in a ring for a while.
    pub(super) contested: AtomicBool,
}

pub(super) struct Gossip {
    pub(super) handle: ChitchatHandle,
    pub(super) wire: Arc<Wire>,
}

#[derive(Clone)]
pub(super) struct Watched {
    pub(super) settings: WatchSettings,
    pub(super) ring: Arc<Ring>,
}

/// What two processes of one instance id say, in the log and where they are asked whether they are ready.
pub(crate) const CONTESTED: &str =
    "another process that is alive has the same instance id: give each its own";

impl Shared {
    /// True while another process that is alive has the same instance id.
    pub(crate) fn is_contested(&self) -> bool {
        self.contested.load(Ordering::Relaxed)
    }

    pub(super) fn gossip_settings(&self) -> Option<&GossipSettings> {
        self.settings.gossip.as_ref()
    }

    /// Refreshes as soon as news arrive, and notices if the gossip ends.
    pub(super) async fn watch_gossip(self: &Arc<Self>) {
        let Some(gossip) = &self.gossip else { return };
        let weak = Arc::downgrade(self);
        let listener = gossip.handle.chitchat().lock().await.subscribe_event("", move |_| {
            if let Some(shared) = weak.upgrade() {
                shared.record.dirty.notify_one();
            }
        });
        listener.forever();
        let (ended, shared) = (gossip.handle.termination_watcher(), Arc::downgrade(self));
        tokio::spawn(async move {
            let ended = ended.await;
            let Some(shared) = shared.upgrade().filter(|at| !at.stop.is_cancelled()) else {
                return;
            };
            let reason = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
            tracing::error!(reason, "gossip stopped, this process hears of no more changes");
            shared.stopped.send_replace(Some(reason));
        });
    }

    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }
}
