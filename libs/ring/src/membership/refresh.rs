//! Keeps views, members and what this process announces up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chitchat::{ChitchatId, Serializable as _};
use tokio::time::Instant;

use super::shared::{CONTESTED, Member, Shared, Watched};
use crate::instance::State;
use crate::ledger::{Ledger, MAX_OWN_TOMBSTONES, Observed};
use crate::news::{MAX_INCARNATION, News};

/// Shortest pause between two refreshes, so that a burst of news costs one.
const BURST: Duration = Duration::from_millis(5);
/// After a long refresh, the pause is this many times as long, so that members that announce very much take only a share of a
/// processor.
const PAUSE_TIMES: u32 = 8;
/// The longest such pause.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Memory of a value besides its texts, in bytes.
const VALUE_BYTES: usize = 100;

/// Refreshes when something changed, and at each interval, because there is no event for a missing heartbeat.
pub(super) async fn run(shared: Arc<Shared>, interval: Duration) {
    let mut rivals = RivalLog::default();
    let mut pause = BURST;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = shared.record.dirty.notified() => tokio::time::sleep(pause).await,
            () = tokio::time::sleep(interval.max(pause)) => {}
        }
        let began = Instant::now();
        shared.refresh().await;
        rivals.look(&shared);
        pause = BURST.max(began.elapsed() * PAUSE_TIMES).min(MAX_PAUSE);
    }
    if let Some(gossip) = &shared.gossip {
        // An error says that it has stopped by itself.
        let _ = gossip.handle.initiate_shutdown();
    }
}

impl Shared {
    /// Puts the announcements of this process into the gossip, reads those of others, and renews the views.
    pub(crate) async fn refresh(&self) {
        let _one_at_a_time = self.refreshing.lock().await;
        self.say().await;
        let observed = self.hear().await;
        let now = Instant::now();
        let rings: Vec<Watched> = self.rings.lock().clone();
        let mut ledger = self.record.ledger.lock();
        ledger.observe(now, &self.id, observed);
        let mut changed = self.defend(&ledger) | self.bury(&mut ledger, &rings, now);
        if let Some(memory) = &self.memory {
            let has_joined = self.has_joined.load(Ordering::Relaxed);
            changed |= memory.look(&mut ledger, &mut self.record.own.lock(), has_joined, now);
        }
        for Watched { settings, ring } in &rings {
            let timeout = settings.heartbeat_timeout;
            let mut instances = Vec::new();
            if settings.awaits_returning {
                instances = ledger.returning(&settings.key, timeout, now);
            }
            // Of two with one id the first is shown.
            instances.extend(ledger.instances(&settings.key, timeout, now));
            ring.replace(instances);
            if let Some(metrics) = &self.metrics {
                let view = ring.view();
                metrics.ring(&settings.ring.name, view.instances(), view.token_count());
            }
        }
        self.list_members(&ledger, &rings, now);
        if let Some(gossip) = &self.gossip {
            let versions = ledger
                .nodes()
                .map(|node| ((Arc::from(&*node.id.node_id), node.id.generation_id), node.version));
            // After the views were renewed, because callers want to know what these show.
            gossip.wire.known.replace(versions.collect::<HashMap<_, _>>());
        }
        if changed {
            self.record.dirty.notify_one();
        }
    }

    /// Puts [`Own`] into the gossip. Returns the version of our announcements.
    pub(super) async fn say(&self) -> u64 {
        let Some(gossip) = &self.gossip else { return 0 };
        let values = self.record.own.lock().values();
        let chitchat = gossip.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        let state = chitchat.self_node_state();
        let void: Vec<String> = state
            .key_values()
            .filter(|(key, _)| !values.contains_key(*key))
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in void {
            state.delete(&key);
        }
        for (key, value) in values {
            state.set(key, value);
        }
        state.max_version()
    }

    async fn hear(&self) -> Vec<Observed> {
        let Some(gossip) = &self.gossip else {
            let news = Some(self.record.own.lock().news());
            return vec![Observed { id: self.id.clone(), heartbeat: 0, version: 0, news }];
        };
        let chitchat = gossip.handle.chitchat();
        let chitchat = chitchat.lock().await;
        let ledger = self.record.ledger.lock();
        let observe = |(id, state): (&ChitchatId, &chitchat::NodeState)| {
            let version = state.max_version();
            let news =
                (ledger.version(id) != Some(version)).then(|| News::read(state.key_values()));
            Observed { id: id.clone(), heartbeat: state.heartbeat().into(), version, news }
        };
        let states = chitchat.node_states();
        let ids = states.keys().map(|id| id.serialize_to_vec().into()).collect();
        let values = states.values().flat_map(chitchat::NodeState::key_values_including_deleted);
        let bytes = values.map(|(key, value)| key.len() + value.value.len() + VALUE_BYTES).sum();
        gossip.wire.room.count(ids, bytes);
        states.iter().map(observe).collect()
    }

    /// Raises the incarnation of our claims above those of our former starts, and above
    /// tombstones; tells whether anything changed.
    fn defend(&self, ledger: &Ledger) -> bool {
        let mut changed = false;
        for claim in self.record.own.lock().claims.values_mut() {
            let Some((highest, forgotten)) = ledger.to_exceed(claim) else { continue };
            if highest >= MAX_INCARNATION {
                continue;
            }
            claim.incarnation = highest + 1;
            changed = true;
            if forgotten && claim.state != State::Left {
                claim.registered = self.record.unix_seconds();
                tracing::warn!(
                    ring = claim.ring,
                    instance = claim.id,
                    "this instance was forgotten by others while alive, it registers again"
                );
            }
        }
        changed
    }

    /// Forgets what was silent for too long, repeats tombstones that nobody says any more, and
    /// drops those of our own that are of no more use; tells whether anything changed.
    fn bury(&self, ledger: &mut Ledger, rings: &[Watched], now: Instant) -> bool {
        let mut fresh = Vec::new();
        for Watched { settings, .. } in rings {
            let room = ledger.room_to_forget();
            for tombstone in ledger.expired(settings, now).into_iter().take(room) {
                tracing::info!(
                    ring = settings.ring.name,
                    instance = tombstone.id,
                    "instance forgotten, nothing was heard of it for too long"
                );
                ledger.forget(now, &tombstone);
                fresh.push(tombstone);
            }
        }
        fresh.extend(ledger.unsaid_tombstones());
        let mut own = self.record.own.lock();
        let before = own.tombstones.len();
        own.tombstones.retain(|_, tombstone| ledger.remembers(tombstone));
        let mut changed = own.tombstones.len() != before;
        for tombstone in fresh {
            let key = tombstone.key();
            if own.tombstones.len() >= MAX_OWN_TOMBSTONES && !own.tombstones.contains_key(&key) {
                continue;
            }
            changed |= own.tombstones.insert(key, tombstone.clone()) != Some(tombstone);
        }
        changed
    }

    fn list_members(&self, ledger: &Ledger, rings: &[Watched], now: Instant) {
        let present = ledger.nodes().filter(|node| ledger.is_present(node, now));
        let mut members: Vec<Member> = present
            .filter_map(|node| {
                let news = node.news.member.clone().filter(|news| !news.left || node.is_own())?;
                Some(Member {
                    name: node.id.node_id.to_string(),
                    description: news.description,
                    gossip_address: node.id.gossip_advertise_addr,
                    is_self: node.is_own(),
                })
            })
            .collect();
        members.sort_by(|a, b| (&a.name, a.gossip_address).cmp(&(&b.name, b.gossip_address)));
        // A former start of the same process, not yet silent for long.
        members.dedup_by(|later, first| {
            later.name == first.name && later.gossip_address == first.gossip_address
        });
        if let Some(metrics) = &self.metrics {
            let joins = self.gossip_settings().is_some_and(|gossip| !gossip.join.is_empty());
            metrics.cluster(members.len(), rings.len(), !joins || members.len() > 1);
            for claim in self.record.own.lock().claims.values() {
                let watched = rings.iter().find(|at| at.settings.key == claim.ring);
                let name = watched.map_or(&*claim.ring, |at| &*at.settings.ring.name);
                metrics.owned(name, claim.tokens.count());
            }
        }
        self.members.send_if_modified(|held| {
            let differs = **held != members;
            if differs {
                *held = Arc::new(members);
            }
            differs
        });
    }
}

/// Warns, now and then, when another live process claims our place in a ring.
#[derive(Default)]
struct RivalLog {
    since: HashMap<String, Instant>,
    told: HashMap<String, Instant>,
}

const RIVAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

impl RivalLog {
    fn look(&mut self, shared: &Shared) {
        let claims: Vec<_> = shared.record.own.lock().claims.values().cloned().collect();
        let mut is_contested = false;
        for claim in claims {
            let (rival, now) =
                shared.record.with_ledger(|ledger, now| (ledger.has_rival(&claim, now), now));
            if !rival {
                self.since.remove(&claim.id);
                continue;
            }
            // Our former start is still heard of for a moment, through others.
            let since = *self.since.entry(claim.id.clone()).or_insert(now);
            if now - since <= shared.settings.suspect_after * 2 {
                continue;
            }
            is_contested = true;
            let told = self.told.get(&claim.id).is_some_and(|at| now - *at < RIVAL_LOG_INTERVAL);
            if !told {
                self.told.insert(claim.id.clone(), now);
                tracing::error!(ring = claim.ring, instance = claim.id, "{CONTESTED}");
            }
        }
        shared.contested.store(is_contested, Ordering::Relaxed);
    }
}
