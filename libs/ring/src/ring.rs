//! A ring: the current view, and how to wait for the next.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::instance::Instance;
use crate::record::Record;
use crate::settings::RingSettings;
use crate::view::RingView;

/// The instances of one service, kept up to date.
pub struct Ring {
    settings: RingSettings,
    view: ArcSwap<RingView>,
    changed: watch::Sender<()>,
    /// Name of the ring in gossip, and what keeps it up to date.
    kept_by: Option<(String, Weak<Record>)>,
}

/// An instance, and when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The instance.
    pub instance: Arc<Instance>,
    /// For how long nothing was heard of it.
    pub silent_for: Duration,
}

impl Ring {
    /// A ring whose instances never change: for one process, and for tests.
    pub fn fixed(settings: RingSettings, instances: Vec<Instance>) -> Arc<Self> {
        let ring = Self::new(settings, None);
        ring.replace(instances);
        Arc::new(ring)
    }

    pub(crate) fn watched(settings: RingSettings, key: &str, record: Weak<Record>) -> Self {
        Self::new(settings, Some((key.to_owned(), record)))
    }

    fn new(settings: RingSettings, kept_by: Option<(String, Weak<Record>)>) -> Self {
        let view = ArcSwap::from_pointee(RingView::new(&settings, Vec::new()));
        Self { settings, view, changed: watch::Sender::new(()), kept_by }
    }

    /// The current picture. Costs an atomic load and a count; take it once for each request.
    pub fn view(&self) -> Arc<RingView> {
        self.view.load_full()
    }

    /// How the ring places keys.
    pub fn settings(&self) -> &RingSettings {
        &self.settings
    }

    /// Changes whenever the view does.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The instances, and when each was last heard of; those of a fixed ring are always there.
    pub fn heard(&self) -> Vec<Heard> {
        let view = self.view();
        let silences = self.kept_by().map(|(key, record)| {
            record.with_ledger(|ledger, now| {
                let entries = ledger.entries(key, now).into_iter();
                let silence = |(id, entry): (&str, crate::ledger::Entry<'_>)| {
                    (id.to_owned(), ledger.silence(entry.node, now))
                };
                entries.map(silence).collect::<std::collections::HashMap<_, _>>()
            })
        });
        let silent_for = |instance: &Instance| {
            let found = silences.as_ref().and_then(|found| found.get(&*instance.id));
            found.copied().unwrap_or_default()
        };
        let heard = view.instances().iter();
        heard.map(|at| Heard { silent_for: silent_for(at), instance: Arc::clone(at) }).collect()
    }

    /// Names of the instances of which nothing was heard for some rounds of gossip (`MembershipSettings::suspect_after`). They
    /// are in the view until the heartbeat timeout, which is longer, but not worth a long wait.
    pub fn silent(&self) -> HashSet<String> {
        let kept_by = self.kept_by();
        kept_by.map_or_else(HashSet::new, |(key, record)| {
            record.with_ledger(|ledger, now| ledger.silent(key, now))
        })
    }

    /// Removes an instance; everyone in the cluster is told. It comes back if it is alive. False
    /// if there is no such instance, or the ring is fixed.
    pub fn forget(&self, id: &str) -> bool {
        self.kept_by().is_some_and(|(key, record)| record.forget(key, id))
    }

    pub(crate) fn kept_by(&self) -> Option<(&str, Arc<Record>)> {
        let (key, record) = self.kept_by.as_ref()?;
        Some((key.as_str(), record.upgrade()?))
    }

    /// Replaces the view, unless the new one is equal. Returns true if it was replaced. Only a ring from
    /// [`Ring::fixed`] may be changed from outside, to simulate a change in a test.
    pub fn replace(&self, instances: Vec<Instance>) -> bool {
        let Some(view) = self.view.load().renewed(&self.settings, instances) else {
            return false;
        };
        self.view.store(Arc::new(view));
        self.changed.send_replace(());
        true
    }
}
