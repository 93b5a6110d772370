//! What this member knows of the others: what they announced, and when each was last heard of.

mod moved;
mod node;
mod recalled;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::LazyCell;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatId;
use tokio::time::Instant;

use crate::instance::{Instance, State};
use crate::news::{Claim, News, Tombstone};
use crate::settings::WatchSettings;

pub(crate) use node::Node;

/// Most tokens of all members together: they take 16 MiB.
const MAX_TOKENS: usize = 4 << 20;

/// Most tombstones that are remembered: far more than the instances that die within minutes in any cluster.
pub(crate) const MAX_FORGOTTEN: usize = 10_000;
/// Most tombstones that a member announces: each member repeats those that nobody else announces any more.
pub(crate) const MAX_OWN_TOMBSTONES: usize = 1_000;

/// A member as the gossip shows it at one moment.
pub(crate) struct Observed {
    pub(crate) id: ChitchatId,
    pub(crate) heartbeat: u64,
    pub(crate) version: u64,
    /// Its announcements; `None` if the ledger has this version already.
    pub(crate) news: Option<News>,
}

/// The limits for members that are silent.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// A member silent for this long is suspect: tombstones for it hold, and a member never heard of
    /// counts as dead.
    pub(crate) suspect_after: Duration,
    /// Tombstones are remembered for this long at least.
    pub(crate) remember: Duration,
}

/// A valid claim.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'ledger> {
    pub(crate) node: &'ledger Node,
    pub(crate) claim: &'ledger Claim,
    tokens: &'ledger Arc<[u32]>,
}

struct Forgotten {
    incarnation: u64,
    since: Instant,
}

pub(crate) struct Ledger {
    patience: Patience,
    /// When it was last brought up to date.
    observed: Option<Instant>,
    nodes: HashMap<ChitchatId, Node>,
    /// Of each instance that members remember the latest claim, by ring and id.
    recalled: HashMap<(String, String), Node>,
    /// By ring and id.
    forgotten: BTreeMap<(String, String), Forgotten>,
}

impl Ledger {
    pub(crate) fn new(patience: Patience) -> Self {
        let (nodes, recalled) = (HashMap::new(), HashMap::new());
        Self { patience, observed: None, nodes, recalled, forgotten: BTreeMap::new() }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Version of the news held of a member.
    pub(crate) fn version(&self, id: &ChitchatId) -> Option<u64> {
        self.nodes.get(id).map(|node| node.version)
    }

    /// Updates the ledger to what the gossip shows. Members that it no longer shows are dropped.
    pub(crate) fn observe(&mut self, now: Instant, own: &ChitchatId, observed: Vec<Observed>) {
        self.excuse_pause(now);
        let present: HashSet<ChitchatId> = observed.iter().map(|at| at.id.clone()).collect();
        self.nodes.retain(|id, _| present.contains(id));
        let mut tokens: usize = self.nodes.values().map(Node::token_count).sum();
        for Observed { id, heartbeat, version, news } in observed {
            let is_own = id == *own;
            let node =
                self.nodes.entry(id.clone()).or_insert_with(|| Node::new(id, heartbeat, now));
            node.own = is_own;
            if heartbeat != node.heartbeat {
                node.heartbeat = heartbeat;
                node.heard = Some(now);
            }
            node.version = version;
            if let Some(news) = news {
                let others = tokens - node.token_count();
                if !node.take(news, MAX_TOKENS.saturating_sub(others)) {
                    // It is read again later, because others may make room.
                    node.version = 0;
                }
                tokens = others + node.token_count();
            }
        }
        self.take_recalled(now, MAX_TOKENS.saturating_sub(tokens));
        self.take_tombstones(now);
    }

    /// A process that was suspended or starved for a while has heard from nobody. That silence is its own, and says
    /// nothing about the others.
    fn excuse_pause(&mut self, now: Instant) {
        let pause = self.observed.replace(now).map_or(Duration::ZERO, |last| now - last);
        if pause <= self.patience.suspect_after / 2 {
            return;
        }
        tracing::warn!(seconds = pause.as_secs_f64(), "this process stood still for a while");
        for node in self.nodes.values_mut() {
            node.first_seen += pause;
            node.heard = node.heard.map(|heard| heard + pause);
        }
    }

    fn take_tombstones(&mut self, now: Instant) {
        let mut left_out = 0;
        for tombstone in self.nodes.values().flat_map(|node| &node.news.tombstones) {
            let Tombstone { ring, id, incarnation } = tombstone.clone();
            let is_full = self.forgotten.len() >= MAX_FORGOTTEN;
            match self.forgotten.entry((ring, id)) {
                Slot::Occupied(mut known) => {
                    let known = known.get_mut();
                    known.incarnation = known.incarnation.max(incarnation);
                }
                Slot::Vacant(_) if is_full => left_out += 1,
                Slot::Vacant(free) => drop(free.insert(Forgotten { incarnation, since: now })),
            }
        }
        if left_out > 0 {
            tactus_telemetry::log_limited!(
                warn,
                limit = MAX_FORGOTTEN,
                left_out,
                "too many instances were forgotten: further ones stay in their rings"
            );
        }
        let remember = self.patience.remember;
        let is_old = |forgotten: &Forgotten| now - forgotten.since >= remember;
        if !self.forgotten.values().any(is_old) {
            return;
        }
        // As long as any member passes on the void claim, new members must learn of the tombstone.
        let void: HashSet<(String, String)> = self.void_claims().map(owned).collect();
        self.forgotten.retain(|key, forgotten| !is_old(forgotten) || void.contains(key));
    }

    /// Claims that somebody still passes on though they were forgotten, by ring and id.
    fn void_claims(&self) -> impl Iterator<Item = (&str, &str)> {
        let nodes = self.nodes.values().chain(self.recalled.values());
        let claims = nodes.flat_map(|node| &node.news.claims);
        let claims = claims.filter(|_| !self.forgotten.is_empty());
        claims
            .filter(|claim| {
                let key = (claim.ring.clone(), claim.id.clone());
                let forgotten = self.forgotten.get(&key);
                forgotten.is_some_and(|forgotten| claim.incarnation <= forgotten.incarnation)
            })
            .map(|claim| (&*claim.ring, &*claim.id))
    }

    /// Remembers a tombstone of our own.
    pub(crate) fn forget(&mut self, now: Instant, tombstone: &Tombstone) {
        let key = (tombstone.ring.clone(), tombstone.id.clone());
        let incarnation = tombstone.incarnation;
        let forgotten = self.forgotten.entry(key).or_insert(Forgotten { incarnation, since: now });
        forgotten.incarnation = forgotten.incarnation.max(incarnation);
    }

    /// How many more instances may be forgotten automatically.
    pub(crate) fn room_to_forget(&self) -> usize {
        MAX_FORGOTTEN.saturating_sub(self.forgotten.len())
    }

    /// Whether the tombstone is still remembered.
    pub(crate) fn remembers(&self, tombstone: &Tombstone) -> bool {
        self.forgotten.contains_key(&(tombstone.ring.clone(), tombstone.id.clone()))
    }

    /// Tombstones that are remembered for a claim that is still passed on, while nobody who is
    /// there says so any more.
    pub(crate) fn unsaid_tombstones(&self) -> Vec<Tombstone> {
        let said: HashSet<(&str, &str)> = self
            .nodes
            .values()
            .flat_map(|node| &node.news.tombstones)
            .map(|tombstone| (&*tombstone.ring, &*tombstone.id))
            .collect();
        let unsaid: BTreeSet<_> = self.void_claims().filter(|key| !said.contains(key)).collect();
        let tombstone = |key| {
            let (ring, id) = owned(key);
            let incarnation = self.forgotten.get(&(ring.clone(), id.clone()))?.incarnation;
            Some(Tombstone { ring, id, incarnation })
        };
        unsaid.into_iter().take(MAX_OWN_TOMBSTONES).filter_map(tombstone).collect()
    }

    /// The time since the last heartbeat of a member.
    pub(crate) fn silence(&self, node: &Node, now: Instant) -> Duration {
        if node.own { Duration::ZERO } else { now - node.heard.unwrap_or(node.first_seen) }
    }

    /// Whether a member counts as healthy; a timeout of 0 never expires.
    pub(crate) fn is_alive(&self, node: &Node, now: Instant, timeout: Duration) -> bool {
        if node.own || timeout.is_zero() {
            return true;
        }
        if node.has_left() || node.recalled {
            return false;
        }
        let limit = match node.heard {
            Some(_) => timeout,
            None => timeout.min(self.patience.suspect_after),
        };
        self.silence(node, now) <= limit
    }

    /// Whether a member is not suspect.
    pub(crate) fn is_heard(&self, node: &Node, now: Instant) -> bool {
        node.own || node.heard.is_some() && self.silence(node, now) <= self.patience.suspect_after
    }

    /// Whether a member is, or may be, there: heard of just now, or seen for the first time.
    pub(crate) fn is_present(&self, node: &Node, now: Instant) -> bool {
        !node.recalled && self.silence(node, now) <= self.patience.suspect_after
    }

    /// The claims of a ring that hold, by id: of several of one id the latest incarnation, unless
    /// it left or was forgotten.
    pub(crate) fn entries(&self, ring: &str, now: Instant) -> BTreeMap<&str, Entry<'_>> {
        let mut best: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
        for node in self.nodes.values().chain(self.recalled.values()) {
            for (claim, tokens) in node.news.claims.iter().zip(&node.tokens) {
                if claim.ring != ring {
                    continue;
                }
                let entry = Entry { node, claim, tokens };
                let rank = |entry: &Entry<'_>| {
                    let left = entry.claim.state == State::Left;
                    let heard = self.is_heard(entry.node, now);
                    // A member that is seen for the first time comes before what others remember of it.
                    let present = self.is_present(entry.node, now);
                    (entry.claim.incarnation, left, heard, present, entry.node.id.clone())
                };
                best.entry(&claim.id)
                    .and_modify(|held| {
                        if rank(&entry) > rank(held) {
                            *held = entry;
                        }
                    })
                    .or_insert(entry);
            }
        }
        best.retain(|_, entry| {
            entry.claim.state != State::Left && !self.is_forgotten(entry.claim, entry.node, now)
        });
        best
    }

    /// A tombstone holds only while the instance is silent: a live instance raises its incarnation as soon as it learns
    /// of the tombstone, and must not be missing until then.
    fn is_forgotten(&self, claim: &Claim, node: &Node, now: Instant) -> bool {
        let key = (claim.ring.clone(), claim.id.clone());
        let is_void =
            self.forgotten.get(&key).is_some_and(|found| found.incarnation >= claim.incarnation);
        is_void && !self.is_heard(node, now)
    }

    /// The instances of a ring.
    pub(crate) fn instances(&self, ring: &str, timeout: Duration, now: Instant) -> Vec<Instance> {
        let entries = self.entries(ring, now);
        let addresses = LazyCell::new(|| self.addresses(now));
        let instance = |entry: Entry<'_>| {
            let is_alive = self.is_alive(entry.node, now, timeout)
                && (self.is_heard(entry.node, now) || !addresses.are_of_another(&entry));
            entry.instance(is_alive)
        };
        entries.into_values().map(instance).collect()
    }

    /// Ingesters of a ring that are about to enter it, as its pending instances: those of live members that say so and have
    /// claimed no place yet, unless their former one is still there.
    pub(crate) fn returning(&self, ring: &str, timeout: Duration, now: Instant) -> Vec<Instance> {
        let entries = self.entries(ring, now);
        let mut found = BTreeMap::new();
        for node in self.nodes.values().filter(|node| self.is_alive(node, now, timeout)) {
            let Some(description) = node.news.member.as_ref().map(|member| &member.description)
            else {
                continue;
            };
            let id = description.returning.as_str();
            let has_claimed = node.news.claims.iter().any(|claim| claim.ring == ring);
            let is_unknown = entries.get(id).is_none_or(|entry| entry.node.recalled);
            if !id.is_empty() && !has_claimed && is_unknown {
                let pending = Instance {
                    zone: description.zone.as_str().into(),
                    state: State::Pending,
                    ..Instance::active(id, &description.grpc_address, [])
                };
                found.insert(id, pending);
            }
        }
        found.into_values().collect()
    }

    /// Instances of a ring whose member is suspect, though they may still count as alive.
    pub(crate) fn silent(&self, ring: &str, now: Instant) -> HashSet<String> {
        let entries = self.entries(ring, now).into_iter();
        let silent = entries.filter(|(_, entry)| !self.is_present(entry.node, now));
        silent.map(|(id, _)| id.to_owned()).collect()
    }

    /// Tombstones for entries of a ring that were silent for too long. There are none while more entries are unhealthy
    /// than the settings allow: so many at once mean a network failure, or something that people must look at.
    pub(crate) fn expired(&self, settings: &WatchSettings, now: Instant) -> Vec<Tombstone> {
        let Some(after) = settings.forget_after else { return Vec::new() };
        let entries = self.entries(&settings.key, now);
        let unhealthy = entries
            .values()
            .filter(|entry| !self.is_alive(entry.node, now, settings.heartbeat_timeout))
            .count();
        if settings.forget_at_most.is_some_and(|most| unhealthy > most) {
            return Vec::new();
        }
        let expired = entries.values().filter(|entry| self.silence(entry.node, now) > after);
        expired.map(|entry| entry.claim.tombstone()).collect()
    }

    /// The incarnation that a claim of our own must exceed, if it does not yet, and whether that
    /// is because somebody forgot it.
    pub(crate) fn to_exceed(&self, own: &Claim) -> Option<(u64, bool)> {
        let others = self.nodes.values().filter(|node| !node.own).chain(self.recalled.values());
        let claimed = others
            .flat_map(|node| &node.news.claims)
            .filter(|claim| claim.ring == own.ring && claim.id == own.id)
            .map(|claim| claim.incarnation)
            .max();
        let key = (own.ring.clone(), own.id.clone());
        let forgotten = self.forgotten.get(&key).map(|found| found.incarnation);
        let highest = claimed.max(forgotten)?;
        (highest >= own.incarnation)
            .then_some((highest, forgotten.is_some_and(|found| found >= own.incarnation)))
    }

    /// Whether another process that is alive claims the same place in the ring.
    pub(crate) fn has_rival(&self, own: &Claim, now: Instant) -> bool {
        self.nodes.values().filter(|node| !node.own && self.is_heard(node, now)).any(|node| {
            node.news.claims.iter().any(|claim| {
                claim.ring == own.ring && claim.id == own.id && claim.state != State::Left
            })
        })
    }

    /// The claim that an earlier start of `id` left behind.
    pub(crate) fn inherited(&self, ring: &str, id: &str, now: Instant) -> Option<Claim> {
        let entries = self.entries(ring, now);
        let entry = entries.get(id).filter(|entry| !entry.node.own)?;
        Some(entry.claim.clone())
    }
}

fn owned((ring, id): (&str, &str)) -> (String, String) {
    (ring.to_owned(), id.to_owned())
}

impl Entry<'_> {
    fn instance(&self, alive: bool) -> Instance {
        let claim = self.claim;
        Instance {
            id: claim.id.as_str().into(),
            address: claim.address.as_str().into(),
            zone: claim.zone.as_str().into(),
            state: claim.state,
            tokens: Arc::clone(self.tokens),
            registered: claim.registered,
            read_only: claim.read_only,
            read_only_updated: claim.read_only_updated,
            incarnation: claim.incarnation,
            alive,
        }
    }
}
