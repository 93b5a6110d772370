//! Matching within a bound, and as long as anybody waits for it.
//!
//! The engine of the `regex` crate is fast on nearly all patterns, but may fall back to one that takes a step for each
//! state of the program and byte of the text, and cannot be asked to stop. So it is given what is short even then. The
//! rest goes byte by byte through an automaton that is determined as far as the text needs it.

use std::sync::{Arc, OnceLock};

use regex::bytes::Regex;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::Hir;
use tactus_work::{Over, end, tick};

/// Most steps for one text: states of the program times bytes.
pub(super) const MAX_STEPS: u64 = 1 << 28;
/// Steps that take a few milliseconds at most.
const FEW_STEPS: u64 = 1 << 18;
/// Steps that take about as long as a unit of work.
const STEPS_PER_UNIT: u64 = 64;
/// Bytes that a literal prefix or a determined automaton passes in a unit of work.
const BYTES_PER_UNIT: u64 = 8;
/// Bytes of determined states that are kept.
const CACHE_BYTES: usize = 1 << 21;

type Caches = Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>;

/// A pattern that is anchored at both ends. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Bounded {
    regex: Regex,
    program: NFA,
    /// Made for the first long text. `None`: it cannot be.
    automaton: Arc<OnceLock<Option<Automaton>>>,
}

#[derive(Debug)]
struct Automaton {
    dfa: Arc<DFA>,
    caches: Caches,
}

impl Bounded {
    /// `pattern`: what `regex` was compiled of, anchored at both ends. Errors: a text that says why not.
    pub(super) fn new(regex: Regex, pattern: &Hir) -> Result<Self, String> {
        let config = thompson::Config::new().utf8(false).which_captures(WhichCaptures::None);
        let program = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(pattern)
            .map_err(|error| error.to_string())?;
        Ok(Self { regex, program, automaton: Arc::default() })
    }

    pub(super) fn is_match(&self, value: &[u8]) -> bool {
        let states = self.program.states().len() as u64;
        let bytes = value.len() as u64;
        let steps = states.saturating_mul(bytes + 1);
        if steps <= FEW_STEPS {
            let units = 1 + bytes / BYTES_PER_UNIT + steps / (STEPS_PER_UNIT * 8);
            return !tick(units as u32) && self.regex.is_match(value);
        }
        if steps > MAX_STEPS {
            end(Over::RegexSteps { bytes: value.len(), limit: MAX_STEPS });
            return false;
        }
        match self.automaton.get_or_init(|| Automaton::new(&self.program)) {
            Some(automaton) => automaton.is_match(value, states),
            None => !tick(u32::MAX) && self.regex.is_match(value),
        }
    }
}

#[cfg(test)]
impl Bounded {
    /// What the engine says that is not bounded.
    pub(super) fn regex_says(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }
}

impl Automaton {
    fn new(program: &NFA) -> Option<Self> {
        let config = DFA::config().cache_capacity(CACHE_BYTES).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(program.clone()).ok()?;
        let dfa = Arc::new(dfa);
        let of_cache = Arc::clone(&dfa);
        let caches = Pool::new(Box::new(move || of_cache.create_cache()) as Box<_>);
        Some(Self { dfa, caches })
    }

    fn is_match(&self, value: &[u8], states: u64) -> bool {
        self.walk(value, states).unwrap_or(false)
    }

    /// `None` if the automaton cannot go on, which it always can as it is configured.
    fn walk(&self, value: &[u8], states: u64) -> Option<bool> {
        let cache = &mut *self.caches.get();
        let input = Input::new(value).anchored(Anchored::Yes);
        let mut state = self.dfa.start_state_forward(cache, &input).ok()?;
        // A new state takes as many steps as the program has states.
        let bytes_per_look = (FEW_STEPS / states).max(1) as usize;
        for bytes in value.chunks(bytes_per_look) {
            let cleared = cache.clear_count();
            let before = cache.memory_usage();
            for &byte in bytes {
                state = self.dfa.next_state(cache, state, byte).ok()?;
                if state.is_tagged() && (state.is_dead() || state.is_quit()) {
                    return Some(false);
                }
            }
            let is_new = cleared != cache.clear_count() || before != cache.memory_usage();
            let units = match is_new {
                true => bytes.len() as u64 * states / STEPS_PER_UNIT,
                false => bytes.len() as u64 / BYTES_PER_UNIT,
            };
            if tick(1 + units as u32) {
                return Some(false);
            }
        }
        Some(self.dfa.next_eoi_state(cache, state).ok()?.is_match())
    }
}
