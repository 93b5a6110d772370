//! Matches texts within a limit of steps, and only while the query runs.
//!
//! The automaton is a lazy DFA: its states are computed as texts need them. The worst texts need a new state for each
//! byte, and computing one takes a step for each state of the program. So a long text is processed in pieces, and the
//! limits are checked between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{NFA, pikevm::PikeVM};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};
use tactus_work::{Held, Over, end, tick};

/// Most steps for one text: states of the program times bytes.
pub(super) const MAX_STEPS: u64 = 1 << 28;
/// Steps that take a few milliseconds at most.
const FEW_STEPS: u64 = 1 << 18;
/// Steps that take about as long as a unit of work.
const STEPS_PER_UNIT: u64 = 64;
/// Bytes that the DFA reads in a unit of work if it has the states already.
const BYTES_PER_UNIT: u64 = 8;
/// Bytes of computed states that are kept for a pattern and thread.
const CACHE_BYTES: usize = 1 << 21;
/// The same for all patterns of a query, or of all queries that are kept together.
const ROOM_BYTES: usize = 1 << 25;

/// The memory for computed states of patterns that belong together. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Room(Arc<AtomicUsize>);

type Caches = Pool<Determined, Box<dyn Fn() -> Determined + Send + Sync>>;

/// A program as automaton.
#[derive(Debug)]
pub(super) struct Automaton {
    dfa: Arc<DFA>,
    states: u64,
    caches: Caches,
}

/// The states that a thread has computed so far, counted in `room` and in the memory of the query.
#[derive(Debug)]
struct Determined {
    cache: Option<Cache>,
    bytes: usize,
    held: Held,
    room: Room,
}

impl Determined {
    /// Counts the cache, and drops it if it does not fit.
    fn count(&mut self) {
        let bytes = self.cache.as_ref().map_or(0, Cache::memory_usage);
        if bytes == self.bytes {
            return;
        }
        let held = &self.room.0;
        let others = held.fetch_sub(self.bytes, Ordering::Relaxed).saturating_sub(self.bytes);
        self.bytes = bytes;
        if others.saturating_add(bytes) > ROOM_BYTES || !self.held.grow_if_free(bytes) {
            (self.cache, self.bytes) = (None, 0);
            self.held.shrink_to(0);
        }
        held.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Determined {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Automaton {
    /// `None` if the program uses something that a DFA cannot do, which our patterns never do.
    pub(super) fn new(program: &NFA, room: &Room) -> Option<Self> {
        let config = DFA::config()
            .cache_capacity(CACHE_BYTES)
            .skip_cache_capacity_check(true)
            .unicode_word_boundary(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(program.clone()).ok()?;
        let room = room.clone();
        let none =
            move || Determined { cache: None, bytes: 0, held: Held::default(), room: room.clone() };
        let states = program.states().len() as u64;
        Some(Self { dfa: Arc::new(dfa), states, caches: Pool::new(Box::new(none) as Box<_>) })
    }

    /// True if the whole value matches; the program must be anchored at both ends. False if this thread's work is over;
    /// a value that takes too many steps ends it.
    pub(super) fn is_match(&self, value: &[u8]) -> bool {
        if are_too_many(self.states, value) {
            return false;
        }
        self.run(&Input::new(value).anchored(Anchored::Yes), value).unwrap_or(false)
    }

    /// True if a part of the value matches. False if this thread's work is over. `None` if the DFA cannot decide,
    /// because the program uses Unicode word boundaries and the value is not ASCII.
    pub(super) fn is_match_within(&self, value: &[u8]) -> Option<bool> {
        self.run(&Input::new(value).earliest(true), value)
    }

    fn run(&self, input: &Input<'_>, value: &[u8]) -> Option<bool> {
        let (bytes, steps) = (value.len() as u64, steps_of(self.states, value));
        let is_short = steps <= FEW_STEPS;
        let units = 1 + bytes / BYTES_PER_UNIT + steps / (STEPS_PER_UNIT * 8);
        if tick(if is_short { units as u32 } else { 1 }) {
            return Some(false);
        }
        let determined = &mut *self.caches.get();
        let cache = determined.cache.get_or_insert_with(|| self.dfa.create_cache());
        let found = match is_short {
            true => self.dfa.try_search_fwd(cache, input).ok().map(|found| found.is_some()),
            false => self.walk(cache, input, value),
        };
        determined.count();
        found
    }

    /// `None` if the DFA cannot go on, as in [`Self::is_match_within`].
    fn walk(&self, cache: &mut Cache, input: &Input<'_>, value: &[u8]) -> Option<bool> {
        let mut state = self.dfa.start_state_forward(cache, input).ok()?;
        // Computing a state takes as many steps as the program has states.
        let bytes_per_look = (FEW_STEPS / self.states.max(1)).max(1) as usize;
        for bytes in value.chunks(bytes_per_look) {
            let cleared = cache.clear_count();
            let before = cache.memory_usage();
            for &byte in bytes {
                state = self.dfa.next_state(cache, state, byte).ok()?;
                if !state.is_tagged() {
                    continue;
                }
                // Matches show up one byte late. Only an unanchored program can match before the end.
                if state.is_match() {
                    return Some(true);
                }
                if state.is_dead() {
                    return Some(false);
                }
                if state.is_quit() {
                    return None;
                }
            }
            let is_new = cleared != cache.clear_count() || before != cache.memory_usage();
            let units = match is_new {
                true => bytes.len() as u64 * self.states / STEPS_PER_UNIT,
                false => bytes.len() as u64 / BYTES_PER_UNIT,
            };
            if tick(1 + units as u32) {
                return Some(false);
            }
        }
        let last = self.dfa.next_eoi_state(cache, state).ok()?;
        if last.is_quit() { None } else { Some(last.is_match()) }
    }
}

/// True if a part of the value matches. Simulates the program without a DFA, for what a DFA cannot decide. False if
/// this thread's work is over; a value that takes too many steps ends it.
pub(super) fn simulate(program: &NFA, value: &[u8]) -> bool {
    let states = program.states().len() as u64;
    let units = steps_of(states, value) / STEPS_PER_UNIT;
    if are_too_many(states, value) || tick(u32::try_from(units).unwrap_or(u32::MAX)) {
        return false;
    }
    PikeVM::new_from_nfa(program.clone()).is_ok_and(|it| it.is_match(&mut it.create_cache(), value))
}

fn steps_of(states: u64, value: &[u8]) -> u64 {
    states.saturating_mul(value.len() as u64 + 1)
}

/// Ends the work of this thread if so.
fn are_too_many(states: u64, value: &[u8]) -> bool {
    let are_too_many = steps_of(states, value) > MAX_STEPS;
    if are_too_many {
        end(Over::RegexSteps { bytes: value.len(), limit: MAX_STEPS });
    }
    are_too_many
}

#[cfg(test)]
impl Room {
    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
