//! Regular expressions of the language: RE2 syntax, matched on bytes against the whole value.
//!
//! What patterns may cost is bounded: the classes of one before it is put together, its program when it is compiled and the
//! programs of a query together, program times text when it is matched, what is determined of all patterns of a query
//! meanwhile, and the query that does all this, which is asked between patterns, between texts and within a long one.

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
pub use self::unanchored::UnanchoredRegex;

/// Bound on a compiled program; repetition bombs fail against it quickly.
const MAX_PROGRAM_BYTES: usize = 1 << 20;

/// Bound on the programs of a query together.
const MAX_PROGRAMS_BYTES: usize = 1 << 24;

/// Bound on a program that is made while a query is parsed: enough for words and wildcards.
const MAX_FOLDED_BYTES: usize = 1 << 15;

/// A pattern that does not compile; the pattern itself is in the query.
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
    /// The programs of the query would be too large together.
    #[error("invalid regex: the programs of all patterns need more than {limit} bytes")]
    TooLargeTogether {
        /// In bytes.
        limit: usize,
    },
    /// It repeats something this often, by counts within counts.
    #[error("invalid regex: it repeats something {0} times, by counts within counts (limit: {max})", max = limits::MAX_REPEATS)]
    Repeats(u64),
    /// Character classes of too many members.
    #[error("invalid regex: its character classes have too many members")]
    Classes,
    /// Nobody waits for it any more.
    #[error("the query is over")]
    Over,
}

/// The patterns of a query, or of several that are kept together: they share memory for what is determined of them while
/// texts are matched. Clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    room: Room,
}

impl Patterns {
    /// Compiles a pattern, unless it is remembered.
    ///
    /// Errors: as [`CompiledRegex::new`].
    pub(crate) fn compile(&self, pattern: &[u8]) -> Result<CompiledRegex, InvalidRegex> {
        Ok(CompiledRegex::of(Program::known(pattern, MAX_PROGRAM_BYTES)?, self.room.clone()))
    }

    /// Compiles a pattern that comes from data. It is not remembered. Also, the bytes of its program.
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
}

/// Checks that a pattern compiles, in a query whose patterns before it have programs of `bytes`, and adds its own to them.
///
/// Errors: as [`CompiledRegex::new`], and the programs would be too large together.
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

/// True if a pattern is so small that a constant may be matched while the query is parsed.
pub(crate) fn may_be_folded(pattern: &[u8]) -> bool {
    Program::known(pattern, MAX_FOLDED_BYTES).is_ok()
}

/// A compiled pattern.
///
/// Anchored at both ends, `.` matches line breaks, case-sensitive unless the pattern says
/// otherwise, `\d \w \s \b` are ASCII. Cloning is cheap; matching is thread-safe.
#[derive(Debug, Clone)]
pub struct CompiledRegex {
    program: Arc<Program>,
    /// Made for the first text. `None` within: it cannot be.
    automaton: Arc<OnceLock<Option<Automaton>>>,
    room: Room,
}

impl CompiledRegex {
    /// Compiles a pattern, unless it is remembered.
    ///
    /// Errors: not RE2 syntax, not UTF-8, or the program would exceed the size limit.
    pub fn new(pattern: &[u8]) -> Result<Self, InvalidRegex> {
        Patterns::default().compile(pattern)
    }

    /// As [`Self::new`], with a program of no more than `max_bytes`: what is matched with each span that comes, and by
    /// nobody who could wait less long.
    pub fn within(pattern: &[u8], max_bytes: usize) -> Result<Self, InvalidRegex> {
        let program = Program::known(pattern, max_bytes.min(MAX_PROGRAM_BYTES))?;
        Ok(Self::of(program, Room::default()))
    }

    fn of(program: Arc<Program>, room: Room) -> Self {
        Self { program, automaton: Arc::default(), room }
    }

    /// Whether the whole value matches. False if the work of this thread is over; a value that takes too many
    /// steps ends it.
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

    /// False if no value that lies within these bytes matches.
    pub fn may_match_within(&self, bytes: &[u8]) -> bool {
        self.program.part.as_ref().is_none_or(|part| part.find(bytes).is_some())
    }

    /// The only value that matches, if the pattern has no special characters.
    pub fn literal(&self) -> Option<&[u8]> {
        self.program.literal.as_deref()
    }
}
