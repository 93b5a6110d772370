//! What a process has heard of the others, and what it announces about itself.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ledger::{Ledger, Patience};
use crate::news::{Claim, MEMBER_KEY, MemberNews, News, Tombstone, write};
use crate::settings::Clock;

/// The record that rings are made of.
pub(crate) struct Record {
    pub(crate) clock: Clock,
    /// What this process announces. Each refresh puts it into the gossip.
    pub(crate) own: Mutex<Own>,
    pub(crate) ledger: Mutex<Ledger>,
    /// Wakes the refresh: something changed that views or others must get.
    pub(crate) dirty: Notify,
}

#[derive(Default)]
pub(crate) struct Own {
    pub(crate) member: MemberNews,
    /// By key.
    pub(crate) claims: BTreeMap<String, Claim>,
    pub(crate) tombstones: BTreeMap<String, Tombstone>,
    /// What it remembers of others, by key.
    pub(crate) recalled: BTreeMap<String, Claim>,
}

impl Own {
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::from([(MEMBER_KEY.to_owned(), write(&self.member))]);
        let claims = self.claims.iter().chain(&self.recalled);
        values.extend(claims.map(|(key, claim)| (key.clone(), write(claim))));
        values.extend(self.tombstones.iter().map(|(key, at)| (key.clone(), write(at))));
        values
    }

    pub(crate) fn news(&self) -> News {
        News {
            member: Some(self.member.clone()),
            claims: self.claims.values().cloned().collect(),
            recalled: self.recalled.values().cloned().collect(),
            tombstones: self.tombstones.values().cloned().collect(),
        }
    }
}

impl Record {
    pub(crate) fn new(clock: Clock, patience: Patience, member: MemberNews) -> Self {
        Self {
            clock,
            own: Mutex::new(Own { member, ..Own::default() }),
            ledger: Mutex::new(Ledger::new(patience)),
            dirty: Notify::new(),
        }
    }

    /// Changes what this process announces about its place in a ring, and gossips it at once.
    pub(crate) fn claim(&self, key: &str, change: impl FnOnce(&mut Claim)) {
        if let Some(claim) = self.own.lock().claims.get_mut(key) {
            change(claim);
        }
        self.dirty.notify_one();
    }

    pub(crate) fn insert_claim(&self, claim: Claim) {
        self.own.lock().claims.insert(claim.key(), claim);
        self.dirty.notify_one();
    }

    #[cfg(test)]
    pub(crate) fn own_claim(&self, key: &str) -> Option<Claim> {
        self.own.lock().claims.get(key).cloned()
    }

    pub(crate) fn with_ledger<T>(&self, look: impl FnOnce(&Ledger, Instant) -> T) -> T {
        look(&self.ledger.lock(), Instant::now())
    }

    /// Declares the instance `id` of a ring void; false if it is not in the ring.
    pub(crate) fn forget(&self, ring: &str, id: &str) -> bool {
        let now = Instant::now();
        let tombstone = {
            let mut ledger = self.ledger.lock();
            let Some(tombstone) = ledger.entries(ring, now).get(id).map(|at| at.claim.tombstone())
            else {
                return false;
            };
            ledger.forget(now, &tombstone);
            tombstone
        };
        tracing::info!(ring, instance = id, "instance forgotten by hand");
        self.own.lock().tombstones.insert(tombstone.key(), tombstone);
        self.dirty.notify_one();
        true
    }

    pub(crate) fn unix_seconds(&self) -> i64 {
        (self.clock)().as_secs() as i64
    }

    /// A number for a new claim.
    pub(crate) fn incarnation(&self) -> u64 {
        (self.clock)().as_nanos() as u64
    }
}
