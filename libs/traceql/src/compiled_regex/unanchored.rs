//! Patterns in the syntax of the `regex` crate, which may match a part of the value.

use std::sync::OnceLock;

use regex_automata::nfa::thompson::NFA;

use super::bounded::{Automaton, Room, simulate};
use super::program::unanchored;
use super::{InvalidRegex, MAX_PROGRAM_BYTES, Patterns};

/// A compiled pattern that matches a value if a part of it matches.
///
/// As in `regex::bytes`, classes and word boundaries are those of Unicode, and `.` does not match line breaks. That
/// crate itself would keep up to megabytes for each pattern and thread, outside of all our limits, so it is not used to
/// match. Matching is thread-safe.
#[derive(Debug)]
pub struct UnanchoredRegex {
    states: NFA,
    /// Created for the first text. The inner `None`: it cannot be created.
    automaton: OnceLock<Option<Automaton>>,
    room: Room,
}

impl Patterns {
    /// Compiles a pattern that may match a part of a value, to at most `max_bytes`. The program is not remembered.
    ///
    /// Errors: not the syntax of `regex`, the program would be too large, or this thread's work is over.
    pub fn compile_unanchored(
        &self,
        pattern: &str,
        max_bytes: usize,
    ) -> Result<UnanchoredRegex, InvalidRegex> {
        let states = unanchored(pattern, max_bytes.min(MAX_PROGRAM_BYTES))?;
        Ok(UnanchoredRegex { states, automaton: OnceLock::new(), room: self.room.clone() })
    }
}

impl UnanchoredRegex {
    /// True if a part of the value matches. False if this thread's work is over.
    pub fn is_match(&self, value: &[u8]) -> bool {
        let automaton = self.automaton.get_or_init(|| Automaton::new(&self.states, &self.room));
        let told = automaton.as_ref().and_then(|automaton| automaton.is_match_within(value));
        told.unwrap_or_else(|| simulate(&self.states, value))
    }

    /// Bytes of its program.
    pub fn bytes(&self) -> usize {
        self.states.memory_usage()
    }
}
