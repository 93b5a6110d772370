//! Remembers the instances of a ring over restarts.
//!
//! When all processes of a cluster stop at once, gossip forgets who was there. Those that start first would take
//! themselves for the whole ring, and answer without the spans of the others as if there were none. So an instance
//! keeps the claims of its ring in a file. After a start it announces those that nobody makes any more: everyone shows
//! them as instances that are not healthy until they are back, or are forgotten by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::file;
use crate::instance::State;
use crate::ledger::Ledger;
use crate::news::{Claim, Tombstone};
use crate::record::Own;
use crate::settings::RingFile;

/// What the file is called in the log.
const WHAT: &str = "file of the ring's instances";
/// Most instances that are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// Content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    /// The instance that wrote it.
    instance: String,
    /// Of all instances that were in the ring, this one included.
    claims: Vec<Claim>,
}

/// What an instance remembers.
pub(crate) struct Memory {
    file: RingFile,
    /// Remembered claims that nobody makes.
    missed: Mutex<Vec<Claim>>,
    /// Of the instance that had the file, if that had another name: its spans are here now.
    predecessor: Option<Tombstone>,
    seen: watch::Sender<Remembered>,
}

impl Memory {
    pub(super) fn load(file: RingFile) -> Self {
        let known: Remembered = file::load(&file.path, WHAT).unwrap_or_default();
        let of_ring = known.claims.iter().filter(|claim| claim.ring == file.ring);
        let (own, missed): (Vec<_>, Vec<_>) =
            of_ring.cloned().partition(|claim| claim.id == known.instance || claim.id == file.id);
        let predecessor = own.into_iter().find(|claim| claim.id != file.id);
        Self {
            missed: Mutex::new(missed.into_iter().take(MAX_REMEMBERED).collect()),
            predecessor: predecessor.map(|claim| claim.tombstone()),
            seen: watch::Sender::new(known),
            file,
        }
    }

    /// Voids the claim of an instance whose directory this one has taken over.
    pub(super) fn succeed(&self, ledger: &mut Ledger, own: &mut Own) {
        if let Some(tombstone) = &self.predecessor {
            let (former, instance) = (&*tombstone.id, &*self.file.id);
            tracing::info!(former, instance, "this instance has another name than before");
            ledger.forget(Instant::now(), tombstone);
            own.tombstones.insert(tombstone.key(), tombstone.clone());
        }
    }

    /// Compares what is remembered with what is heard; tells whether that changes what this process announces.
    pub(super) fn look(&self, ledger: &Ledger, own: &mut Own, now: Instant) -> bool {
        let ring = &*self.file.ring;
        let mut missed = self.missed.lock();
        // Whoever was there all the time knows who else is.
        let has_survivor = missed.iter().any(|claim| ledger.is_alive_since(claim, now));
        missed.retain(|claim| !has_survivor && !ledger.supersedes(claim));
        let is_joined = ledger.nodes().any(|node| !node.is_own());
        let announced: BTreeMap<String, Claim> = (missed.iter().filter(|_| is_joined))
            .map(|claim| (claim.recall_key(), claim.clone()))
            .collect();
        let entries = ledger.entries(ring, now);
        // As long as it has not entered, others may not have been heard of either.
        if entries.contains_key(&*self.file.id) {
            let mut claims: BTreeMap<&str, &Claim> =
                missed.iter().map(|claim| (&*claim.id, claim)).collect();
            let holds_spans = |claim: &Claim| matches!(claim.state, State::Active | State::Leaving);
            claims.extend(entries.values().map(|entry| (&*entry.claim.id, entry.claim)));
            let claims = claims.into_values().filter(|claim| holds_spans(claim));
            let claims = claims.take(MAX_REMEMBERED).cloned().collect();
            let seen = Remembered { instance: self.file.id.clone(), claims };
            self.seen.send_if_modified(|known| {
                let differs = *known != seen;
                *known = seen;
                differs
            });
        }
        let changes = own.recalled != announced;
        own.recalled = announced;
        changes
    }

    /// Writes the file at each change, on a thread that may wait for a disk.
    pub(super) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.seen.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = seen.changed() => if changed.is_err() { return },
            }
            let (content, path) = (seen.borrow_and_update().clone(), self.file.path.clone());
            let written = tokio::task::spawn_blocking(move || file::save(&path, &content)).await;
            if let Ok(Err(error)) = written {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, source, "cannot save the {WHAT}");
            }
        }
    }

    /// Removes the file: an instance that has left the ring is not missed by anybody, and misses nobody.
    pub(crate) async fn end(&self) {
        let path = self.file.path.clone();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.file.path.display(), %error, "cannot remove the {WHAT}");
        }
    }
}
