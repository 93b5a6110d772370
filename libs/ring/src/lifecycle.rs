//! The life cycle of this process as an instance of a ring.
//!
//! pending -> active -> leaving -> left. An instance that finds its tokens, in the ring or in its file,
//! becomes active at once.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tactus_config::GoDuration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::instance::State;
use crate::membership::confirm::Confirmed;
use crate::membership::shared::{CONTESTED, Shared};
use crate::news::Claim;
use crate::ring::Ring;
use crate::settings::LifecyclerSettings;
use crate::tokens::Tokens;

/// Longest wait of an instance that is otherwise ready for others to show it: one of them may hang.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// This process in a ring. Clones are the same instance.
#[derive(Clone)]
pub struct Lifecycler(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    settings: LifecyclerSettings,
    /// Name of the ring in gossip.
    ring_key: String,
    /// Key of the claim.
    key: String,
    state: watch::Sender<State>,
    readiness: Mutex<Readiness>,
    /// The rings of the others show it, as far as they answer in time.
    is_known: AtomicBool,
}

#[derive(Clone, Copy)]
enum Readiness {
    NotYet,
    /// Everything is ready since then.
    WellSince(Instant),
    /// Once ready, always ready.
    Ready,
}

impl Lifecycler {
    pub(crate) fn start(
        shared: Arc<Shared>,
        ring: Arc<Ring>,
        settings: LifecyclerSettings,
    ) -> Self {
        // Only a ring that this membership keeps can be entered; a fixed one shows no claims.
        let ring_key =
            ring.kept_by().map_or_else(|| ring.settings().name.clone(), |(key, _)| key.to_owned());
        let found = found_tokens(&shared, &ring_key, &settings);
        let now = shared.record.unix_seconds();
        let (state, tokens, registered) = match found {
            Some((tokens, registered)) => (State::Active, tokens, registered.unwrap_or(now)),
            None => (State::Pending, Tokens::none(), now),
        };
        let claim = Claim {
            ring: ring_key.clone(),
            id: settings.id.clone(),
            incarnation: shared.record.incarnation(),
            address: settings.address.clone(),
            zone: settings.zone.clone(),
            state,
            tokens,
            registered,
            read_only: false,
            read_only_updated: 0,
        };
        let inner = Arc::new(Inner {
            key: claim.key(),
            ring_key,
            state: watch::Sender::new(state),
            readiness: Mutex::new(Readiness::NotYet),
            is_known: AtomicBool::new(shared.settings.gossip.is_none()),
            shared,
            ring,
            settings,
        });
        inner.save_tokens(&claim.tokens);
        inner.shared.record.insert_claim(claim);
        inner.log(state);
        let entering = Arc::clone(&inner);
        let stop = inner.shared.stop_token();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = entering.enter(state) => {}
            }
        });
        Self(inner)
    }

    /// Waits until the ring shows the instance, and the other members can hear of it.
    pub async fn shown(&self) {
        if self.0.settings.join_after.is_zero() {
            // There is nothing to wait for: an instance that enters is active at once.
            self.wait_active().await;
        }
        self.0.shared.refresh().await;
    }

    /// Where the instance is in its life.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Changes with the state.
    pub fn states(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// Waits until the instance is active, or leaves.
    pub async fn wait_active(&self) {
        let mut states = self.states();
        // The sender lives as long as `self`.
        let _ = states.wait_for(|state| *state != State::Pending).await;
    }

    /// Whether the instance is ready; if not, why. Once ready it stays so.
    pub fn readiness(&self) -> Result<(), String> {
        // Others know only one of the two, and miss the spans of the other.
        if self.0.shared.is_contested() {
            return Err(CONTESTED.to_owned());
        }
        let mut readiness = self.0.readiness.lock();
        if matches!(*readiness, Readiness::Ready) {
            return Ok(());
        }
        if let Err(reason) = self.0.check() {
            *readiness = Readiness::NotYet;
            return Err(reason);
        }
        let now = Instant::now();
        let since = match *readiness {
            Readiness::WellSince(since) => since,
            _ => now,
        };
        *readiness = Readiness::WellSince(since);
        let least = self.0.settings.min_ready_duration;
        if now - since < least {
            return Err(format!("waiting for {} after being ready", GoDuration::from(least)));
        }
        if !self.0.is_known.load(Ordering::Relaxed) {
            return Err("waiting for other members to see this instance".to_owned());
        }
        *readiness = Readiness::Ready;
        Ok(())
    }

    /// Stops or resumes writes; reads go on. Announces it to others.
    pub fn set_read_only(&self, read_only: bool) {
        let now = self.0.shared.record.unix_seconds();
        self.0.shared.record.claim(&self.0.key, |claim| {
            if claim.read_only != read_only {
                claim.read_only = read_only;
                claim.read_only_updated = now;
            }
        });
    }

    /// Begins to leave: read from, no longer written to. Returns when the others have seen it, or
    /// after the leave timeout.
    pub async fn leaving(&self) -> Confirmed {
        self.0.go(State::Leaving);
        self.0.shared.confirm().await
    }

    /// The end, after everything was flushed: sleeps as configured, then leaves the ring (or stays
    /// in it as leaving, if so configured) and waits until the others have seen it.
    pub async fn leave(&self) -> Confirmed {
        tokio::time::sleep(self.0.settings.final_sleep).await;
        if !self.0.settings.unregister {
            return self.leaving().await;
        }
        self.unregister().await
    }

    /// Leaves the ring whatever is configured, as `/shutdown` asks for.
    pub async fn unregister(&self) -> Confirmed {
        self.0.go(State::Left);
        let confirmed = self.0.shared.confirm().await;
        if let Some(memory) = &self.0.shared.memory {
            memory.end(&self.0.shared.record.ledger, Instant::now()).await;
        }
        confirmed
    }
}

/// Tokens that an earlier start of the instance left in the ring (with its registration), or in
/// the tokens file.
fn found_tokens(
    shared: &Shared,
    ring: &str,
    settings: &LifecyclerSettings,
) -> Option<(Tokens, Option<i64>)> {
    let new = || Tokens::of_instance(ring, &settings.id, settings.num_tokens);
    let inherited =
        shared.record.with_ledger(|ledger, now| ledger.inherited(ring, &settings.id, now));
    let had_tokens = |claim: &Claim| {
        matches!(claim.state, State::Active | State::Leaving) && claim.tokens.count() > 0
    };
    if let Some(claim) = inherited.filter(had_tokens) {
        let tokens = claim.tokens.adjusted(settings.num_tokens, new);
        return Some((tokens, Some(claim.registered)));
    }
    let tokens = Tokens::load(settings.tokens_file.as_deref()?)?;
    let enough = tokens.count() >= settings.num_tokens;
    enough.then(|| (tokens.adjusted(settings.num_tokens, new), None))
}

impl Inner {
    /// Joins, unless the instance begins as active, and makes sure that others know it.
    async fn enter(&self, begins_as: State) {
        if begins_as == State::Pending {
            self.join().await;
        }
        // An orchestrator may stop the next instance as soon as this one is ready.
        let _ = timeout(KNOWN_WITHIN, self.shared.confirm()).await;
        self.is_known.store(true, Ordering::Relaxed);
    }

    async fn join(&self) {
        tokio::time::sleep(self.settings.join_after).await;
        let tokens =
            Tokens::of_instance(&self.ring_key, &self.settings.id, self.settings.num_tokens);
        self.save_tokens(&tokens);
        // If others claim a token as well, every view gives it to the same one of them. So there is nothing to wait for.
        self.shared.record.claim(&self.key, |claim| claim.tokens = tokens);
        self.go(State::Active);
        self.shared.refresh().await;
    }

    /// Goes on to a later state, unless the instance is past it already.
    fn go(&self, state: State) {
        let order = |state| match state {
            State::Pending => 0,
            State::Joining => 1,
            State::Active => 2,
            State::Leaving => 3,
            State::Left => 4,
        };
        let moved = self.state.send_if_modified(|current| {
            let moves = order(state) > order(*current);
            if moves {
                self.shared.record.claim(&self.key, |claim| {
                    claim.state = state;
                    if state == State::Left {
                        claim.tokens = Tokens::none();
                    }
                });
                *current = state;
            }
            moves
        });
        if moved {
            self.log(state);
        }
    }

    fn log(&self, state: State) {
        let (ring, instance) = (&self.ring.settings().name, &self.settings.id);
        tracing::info!(ring, instance, %state, "instance changed its state");
    }

    fn save_tokens(&self, tokens: &Tokens) {
        let Some(path) = self.settings.tokens_file.as_deref().filter(|_| tokens.count() > 0) else {
            return;
        };
        if let Err(error) = tokens.save(path) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "cannot save the tokens file: after a restart this instance may get other tokens");
        }
    }

    fn check(&self) -> Result<(), String> {
        let view = self.ring.view();
        if view.token_count() == 0 {
            return Err("no tokens in ring".to_owned());
        }
        if view.find(&self.settings.id).is_none_or(|own| own.tokens.is_empty()) {
            return Err("this instance owns no tokens".to_owned());
        }
        if !self.settings.check_ring_health {
            return Ok(());
        }
        self.shared.record.with_ledger(|ledger, now| {
            for (id, entry) in ledger.entries(&self.ring_key, now) {
                // It may be that it is started only once this one is ready.
                if entry.node.is_recalled() {
                    continue;
                }
                if !ledger.is_alive(entry.node, now, self.settings.heartbeat_timeout) {
                    return Err(format!("instance {id} past heartbeat timeout"));
                }
                if entry.claim.state != State::Active {
                    return Err(format!("instance {id} in state {}", entry.claim.state));
                }
            }
            Ok(())
        })
    }
}
