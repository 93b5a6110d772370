//! Remembers the instances of a ring over restarts, and dead ones for longer than gossip does.
//!
//! When all processes of a cluster stop at once, gossip forgets who was there. Those that start first would take
//! themselves for the whole ring, and answer without the spans of the others as if there were none. So an instance
//! keeps the claims of its ring in a file. After a start it announces those that nobody makes any more: everyone shows
//! them as instances that are not healthy until they are back, or are forgotten by hand. It keeps as well who left or
//! was forgotten, because the file of another instance may be older.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::refresh::MAX_PAUSE;
use crate::file;
use crate::instance::State;
use crate::ledger::{Entry, Ledger};
use crate::news::Claim;
use crate::record::Own;
use crate::settings::RingFile;

/// What the file is called in the log.
const WHAT: &str = "file of the ring's instances";
/// Most instances that are remembered, and most of those that are gone.
const MAX_REMEMBERED: usize = 1_000;
/// An instance that is silent for this long is announced by those that remember it, because gossip tells newcomers of a
/// dead member for half an hour only. Pauses of this process do not count as silence.
const SILENCE: Duration = Duration::from_secs(600);

/// The claims of a ring that hold, by id.
type Entries<'ledger> = BTreeMap<&'ledger str, Entry<'ledger>>;

/// The pause after a look is this many times as long, so that members that claim very much cost little.
const PAUSE_TIMES: u32 = 40;

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The instance that wrote it.
    instance: String,
    /// Of all instances that were in the ring, this one included.
    claims: Vec<Claim>,
    /// Incarnations of those that left or were forgotten, by id.
    #[serde(default)]
    gone: BTreeMap<String, u64>,
}

/// What an instance remembers.
pub(crate) struct Memory {
    file: RingFile,
    known: Mutex<Known>,
    seen: watch::Sender<Remembered>,
    /// One write at a time.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// Instances of the file that nobody was heard to be since the start.
    from_file: Vec<Claim>,
    /// Instances that fell silent since, or that gossip has forgotten.
    silent: Vec<Claim>,
    /// What members claimed at the last look.
    claimed: Vec<Claim>,
    gone: BTreeMap<String, u64>,
    /// Not looked at again before this.
    next_look: Option<Instant>,
}

impl Known {
    fn missed(&self) -> impl Iterator<Item = &Claim> {
        self.from_file.iter().chain(&self.silent)
    }

    fn renew(&mut self, ledger: &Ledger, ring: &str, entries: &Entries<'_>, now: Instant) {
        for (id, incarnation) in ledger.gone(ring) {
            let known = self.gone.entry(id.to_owned()).or_default();
            *known = incarnation.max(*known);
        }
        let is_back =
            |id: &str| entries.get(id).is_some_and(|entry| ledger.is_heard(entry.node, now));
        self.gone.retain(|id, _| !is_back(id));
        if self.gone.len() > MAX_REMEMBERED {
            let mut incarnations: Vec<u64> = self.gone.values().copied().collect();
            incarnations.sort_unstable();
            let oldest = incarnations[incarnations.len() - MAX_REMEMBERED];
            self.gone.retain(|_, incarnation| *incarnation >= oldest);
        }
        // Whoever was there all the time knows who else is.
        if self.from_file.iter().any(|claim| ledger.is_alive_since(claim, now)) {
            self.from_file.clear();
        }
        self.from_file.retain(|claim| !ledger.supersedes(claim, now));
        self.silent.retain(|claim| !ledger.supersedes(claim, now));
        let is_silent = |entry: &&Entry<'_>| ledger.silence(entry.node, now) >= SILENCE;
        let mut silent: Vec<Claim> =
            entries.values().filter(is_silent).map(|entry| entry.claim.clone()).collect();
        let is_forgotten =
            |claim: &Claim| !entries.contains_key(&*claim.id) && !ledger.supersedes(claim, now);
        silent.extend(std::mem::take(&mut self.claimed).into_iter().filter(is_forgotten));
        for claim in silent {
            let has_room = self.missed().count() < MAX_REMEMBERED;
            if has_room && self.missed().all(|missed| missed.id != claim.id) {
                self.silent.push(claim);
            }
        }
        let by_members = entries.values().filter(|entry| !entry.node.is_recalled());
        let claims = by_members.take(MAX_REMEMBERED).map(|entry| entry.claim.clone());
        self.claimed = claims.collect();
    }
}

impl Memory {
    /// Reads the file. If the instance that wrote it had another name, that one's claim is void: its spans are here now.
    pub(super) fn load(file: RingFile, ledger: &mut Ledger, own: &mut Own) -> Self {
        let remembered: Remembered = file::load(&file.path, WHAT).unwrap_or_default();
        let of_ring = remembered.claims.iter().filter(|claim| claim.ring == file.ring);
        let is_own = |claim: &Claim| claim.id == remembered.instance || claim.id == file.id;
        let (ours, missed): (Vec<_>, Vec<_>) = of_ring.cloned().partition(is_own);
        if let Some(claim) = ours.iter().find(|claim| claim.id != file.id) {
            let (former, instance) = (&*claim.id, &*file.id);
            tracing::info!(former, instance, "this instance has another name than before");
            let tombstone = claim.tombstone();
            ledger.forget(Instant::now(), &tombstone);
            own.tombstones.insert(tombstone.key(), tombstone);
        }
        let known = Known {
            from_file: missed.into_iter().take(MAX_REMEMBERED).collect(),
            gone: remembered.gone.clone(),
            ..Known::default()
        };
        Self {
            known: Mutex::new(known),
            seen: watch::Sender::new(remembered),
            writing: tokio::sync::Mutex::default(),
            file,
        }
    }

    /// Compares what is remembered with what is heard; tells whether that changes what this process announces.
    /// `has_joined`: others were looked for, and heard of if they are there.
    pub(super) fn look(
        &self,
        ledger: &mut Ledger,
        own: &mut Own,
        has_joined: bool,
        now: Instant,
    ) -> bool {
        let (mut known, began) = (self.known.lock(), Instant::now());
        if known.next_look.is_some_and(|next| now < next) {
            return false;
        }
        let entries = ledger.entries(&self.file.ring, now);
        known.renew(ledger, &self.file.ring, &entries, now);
        // As long as it has not entered, others may not have been heard of either.
        if entries.contains_key(&*self.file.id) {
            let heard = entries.values().map(|entry| entry.claim);
            self.see(known.missed().chain(heard), &known.gone);
        }
        let revived = ledger.recalled_again(&self.file.ring, &known.gone);
        revived.iter().for_each(|tombstone| ledger.forget(now, tombstone));
        let announced: BTreeMap<String, Claim> = (known.missed().filter(|_| has_joined))
            .map(|claim| (claim.recall_key(), claim.clone()))
            .collect();
        let changes = own.recalled != announced || !revived.is_empty();
        own.recalled = announced;
        known.next_look = Some(now + (began.elapsed() * PAUSE_TIMES).min(MAX_PAUSE));
        changes
    }

    /// Has these instances written to the file. Of two claims to a place the last counts.
    fn see<'a>(&self, claims: impl Iterator<Item = &'a Claim>, gone: &BTreeMap<String, u64>) {
        let holds_spans = |claim: &&Claim| matches!(claim.state, State::Active | State::Leaving);
        let claims: BTreeMap<&str, &Claim> =
            claims.filter(holds_spans).map(|claim| (&*claim.id, claim)).collect();
        let claims = claims.into_values().take(MAX_REMEMBERED).cloned().collect();
        let seen = Remembered { instance: self.file.id.clone(), claims, gone: gone.clone() };
        self.seen.send_if_modified(|known| {
            let differs = *known != seen;
            *known = seen;
            differs
        });
    }

    /// Writes the file at each change, on a thread that may wait for a disk.
    pub(super) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.seen.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = seen.changed() => if changed.is_err() { return },
            }
            seen.mark_unchanged();
            self.write().await;
        }
    }

    async fn write(&self) {
        let _alone = self.writing.lock().await;
        let (content, path) = (self.seen.borrow().clone(), self.file.path.clone());
        let written = tokio::task::spawn_blocking(move || file::save(&path, &content)).await;
        if let Ok(Err(error)) = written {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "cannot save the {WHAT}");
        }
    }

    /// This instance has left the ring, and nobody misses it. Only those that were silent then stay in the file: the others
    /// may leave as well until it starts again.
    pub(crate) async fn end(&self, ledger: &Mutex<Ledger>, now: Instant) {
        {
            let ledger = ledger.lock();
            let known = self.known.lock();
            let entries = ledger.entries(&self.file.ring, now);
            let silent = entries.values().filter(|entry| !ledger.is_present(entry.node, now));
            self.see(known.missed().chain(silent.map(|entry| entry.claim)), &known.gone);
        }
        self.write().await;
    }
}

#[cfg(test)]
mod tests;
