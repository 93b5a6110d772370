//! Regular expressions of the language: RE2 syntax, matched on bytes against the whole value.
//!
//! The cost of patterns is bounded: the classes of a pattern before it is built; its program, and the programs of a
//! query together, when they are compiled; program size times text length when it is matched; and the automaton states
//! of all patterns of a query. The query's own limits are checked between patterns, between texts, and within a long
//! text.

mod bounded;
mod limits;
mod program;
#[cfg(test)]
mod tests;
mod translate;
mod unanchored;

use std::sync::{Arc, OnceLock};

use self::bounded::{Automaton, Room};
use self::program::Program;
pub use self::translate::from_re2;
pub use self::unanchored::UnanchoredRegex;

/// Limit on a compiled program. Patterns whose nested repetitions explode fail quickly.
const MAX_PROGRAM_BYTES: usize = 1 << 20;

/// Bound on the programs of a query together.
const MAX_PROGRAMS_BYTES: usize = 1 << 24;

/// Limit on a program that is built while a query is parsed: enough for words and wildcards.
const MAX_FOLDED_BYTES: usize = 1 << 15;

/// Why a pattern does not compile. The text does not include the pattern, which is in the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegex {
    /// Not RE2 syntax, or not UTF-8.
    #[error("invalid regex: {0}")]
    Syntax(String),
    /// Its program would be too large.
    #[error("invalid regex: its program needs more than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// All programs of the query together would be too large.
    #[error("invalid regex: the programs of all patterns need more than {limit} bytes")]
    TooLargeTogether {
        /// In bytes.
        limit: usize,
    },
    /// It repeats something this often, counting nested repetitions.
    #[error("invalid regex: it repeats something {0} times by nested repetitions (limit: {max})", max = limits::MAX_REPEATS)]
    Repeats(u64),
    /// Character classes of too many members.
    #[error("invalid regex: its character classes have too many members")]
    Classes,
    /// Nobody waits for it any more.
    #[error("the query has ended")]
    Over,
}

/// The patterns of a query, or of several queries that are kept together. They share the memory for automaton states
/// that are computed while texts are matched. Clones share it, too.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    room: Room,
}

impl Patterns {
    /// Compiles a pattern, or returns the remembered program.
    ///
    /// Errors: as [`CompiledRegex::new`].
    pub fn compile(&self, pattern: &[u8]) -> Result<CompiledRegex, InvalidRegex> {
        Ok(CompiledRegex::of(Program::known(pattern, MAX_PROGRAM_BYTES)?, self.room.clone()))
    }

    /// Compiles a pattern that comes from data. Its program is not remembered. Also returns the bytes of the program.
    ///
    /// Errors: as [`CompiledRegex::new`].
    pub(crate) fn compile_value(
        &self,
        pattern: &[u8],
    ) -> Result<(CompiledRegex, usize), InvalidRegex> {
        let program = Program::compile(pattern, MAX_PROGRAM_BYTES)?;
        let bytes = program.bytes();
        Ok((CompiledRegex::of(Arc::new(program), self.room.clone()), bytes))
    }

    /// As [`Self::compile`], with a program of at most `max_bytes`. Also returns the bytes of the program. For patterns that
    /// are matched with every span that arrives, which no client can cancel.
    ///
    /// Errors: as [`CompiledRegex::new`].
    pub fn compile_within(
        &self,
        pattern: &[u8],
        max_bytes: usize,
    ) -> Result<(CompiledRegex, usize), InvalidRegex> {
        let program = Program::known(pattern, max_bytes.min(MAX_PROGRAM_BYTES))?;
        let bytes = program.bytes();
        Ok((CompiledRegex::of(program, self.room.clone()), bytes))
    }
}

/// Checks that a pattern compiles. `bytes` is the size of the programs of the query's earlier patterns, to which its
/// own is added.
///
/// Errors: as [`CompiledRegex::new`], and the programs together would be too large.
pub(crate) fn check(pattern: &[u8], bytes: &mut usize) -> Result<(), InvalidRegex> {
    let left = MAX_PROGRAMS_BYTES.saturating_sub(*bytes);
    let program = Program::known(pattern, left.min(MAX_PROGRAM_BYTES));
    let program = program.map_err(|error| match error {
        InvalidRegex::TooLarge { .. } if left < MAX_PROGRAM_BYTES => {
            InvalidRegex::TooLargeTogether { limit: MAX_PROGRAMS_BYTES }
        }
        error => error,
    })?;
    *bytes = bytes.saturating_add(program.bytes());
    if *bytes > MAX_PROGRAMS_BYTES {
        return Err(InvalidRegex::TooLargeTogether { limit: MAX_PROGRAMS_BYTES });
    }
    Ok(())
}

/// True if a pattern is small enough to be matched with a constant while the query is parsed. Classes, escapes, options
/// and counts are not: a few characters of them may take long, and some threads that parse also serve connections.
pub(crate) fn may_be_folded(pattern: &[u8]) -> bool {
    let takes_long = pattern.iter().any(|byte| b"[\\{".contains(byte))
        || pattern.windows(2).any(|pair| pair == b"(?");
    !takes_long && Program::known(pattern, MAX_FOLDED_BYTES).is_ok()
}

/// A compiled pattern.
///
/// It is anchored at both ends; `.` matches line breaks; it is case-sensitive unless the pattern says otherwise;
/// `\d \w \s \b` are ASCII. Cloning is cheap; matching is thread-safe.
#[derive(Debug, Clone)]
pub struct CompiledRegex {
    program: Arc<Program>,
    /// Created for the first text. The inner `None`: it cannot be created.
    automaton: Arc<OnceLock<Option<Automaton>>>,
    room: Room,
}

impl CompiledRegex {
    /// Compiles a pattern, or returns the remembered program.
    ///
    /// Errors: not RE2 syntax, not UTF-8, or the program would exceed the size limit.
    pub fn new(pattern: &[u8]) -> Result<Self, InvalidRegex> {
        Patterns::default().compile(pattern)
    }

    fn of(program: Arc<Program>, room: Room) -> Self {
        Self { program, automaton: Arc::default(), room }
    }

    /// True if the whole value matches. False if this thread's work is over; a value that takes too many steps ends it.
    pub fn is_match(&self, value: &[u8]) -> bool {
        match &self.program.states {
            None => self.program.literal.as_deref() == Some(value),
            Some(_) if !self.may_match_within(value) => false,
            Some(states) => {
                let automaton = self.automaton.get_or_init(|| Automaton::new(states, &self.room));
                automaton.as_ref().is_some_and(|automaton| automaton.is_match(value))
            }
        }
    }

    /// False if no part of these bytes matches.
    pub fn may_match_within(&self, bytes: &[u8]) -> bool {
        self.program.part.as_ref().is_none_or(|part| part.find(bytes).is_some())
    }

    /// The only value that matches, if the pattern has no special characters.
    pub fn literal(&self) -> Option<&[u8]> {
        self.program.literal.as_deref()
    }
}
