//! Patterns compiled to programs. A program is compiled once, as long as it is remembered.

use std::sync::{Arc, LazyLock};

use memchr::memmem::Finder;
use moka::sync::Cache;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{Hir, translate::TranslatorBuilder};
use tactus_work::tick;

use super::InvalidRegex;

use super::{limits, translate};

/// Bytes of programs that a process remembers, because each of the queries of many tenants is compiled for many blocks.
const REMEMBERED_BYTES: u64 = 1 << 25;
/// Of a program besides its states.
const FIXED_BYTES: usize = 256;
/// Units of work for compiling: parsing takes about a unit for each byte, and each state of the program takes some.
const UNITS_OF_COMPILING: u32 = 10_000;

/// What a pattern says.
#[derive(Debug)]
pub(super) struct Program {
    /// Anchored at both ends. `None`: only the literal matches.
    pub(super) states: Option<NFA>,
    /// The only value that matches.
    pub(super) literal: Option<Box<[u8]>>,
    /// Finds a text that every match contains, which decides most values.
    pub(super) part: Option<Finder<'static>>,
}

impl Program {
    /// A program, possibly remembered from another query.
    ///
    /// Errors: as [`Self::compile`].
    pub(super) fn known(pattern: &[u8], size_limit: usize) -> Result<Arc<Self>, InvalidRegex> {
        static KNOWN: LazyLock<Cache<Arc<[u8]>, Arc<Program>>> = LazyLock::new(|| {
            let weight = |pattern: &Arc<[u8]>, program: &Arc<Program>| {
                u32::try_from(pattern.len().saturating_add(program.bytes())).unwrap_or(u32::MAX)
            };
            Cache::builder().max_capacity(REMEMBERED_BYTES).weigher(weight).build()
        });
        if let Some(program) = KNOWN.get(pattern) {
            return match program.bytes() <= size_limit {
                true => Ok(program),
                false => Err(InvalidRegex::TooLarge { limit: size_limit }),
            };
        }
        let program = Arc::new(Self::compile(pattern, size_limit)?);
        KNOWN.insert(pattern.into(), Arc::clone(&program));
        Ok(program)
    }

    /// Compiles a pattern.
    ///
    /// Errors: not RE2 syntax, not UTF-8, the program exceeds `size_limit`, or this thread's work is over.
    pub(super) fn compile(pattern: &[u8], size_limit: usize) -> Result<Self, InvalidRegex> {
        let invalid = |reason: &str| InvalidRegex::Syntax(reason.to_owned());
        let pattern = std::str::from_utf8(pattern).map_err(|_| invalid("not UTF-8"))?;
        if is_literal(pattern) {
            let literal = Some(pattern.as_bytes().into());
            return Ok(Self { states: None, literal, part: finder(pattern) });
        }
        if is_over(pattern) {
            return Err(InvalidRegex::Over);
        }
        let translated = translate::from_re2(pattern).map_err(invalid)?;
        let parsed = parse(&format!("^(?s:{translated})$"))?;
        if let Some(repeats) = limits::too_many(&parsed) {
            return Err(InvalidRegex::Repeats(repeats));
        }
        let states = states(&parsed, size_limit)?;
        Ok(Self { states: Some(states), literal: None, part: finder(pattern) })
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let literal = self.literal.as_ref().map_or(0, |literal| literal.len());
        FIXED_BYTES + literal + self.states.as_ref().map_or(0, NFA::memory_usage)
    }
}

/// The states of an unanchored pattern in the library's syntax.
///
/// Errors: not its syntax, the states exceed `size_limit`, or this thread's work is over.
pub(super) fn unanchored(pattern: &str, size_limit: usize) -> Result<NFA, InvalidRegex> {
    match is_over(pattern) {
        true => Err(InvalidRegex::Over),
        false => states(&parse(pattern)?, size_limit),
    }
}

fn is_over(pattern: &str) -> bool {
    let bytes = u32::try_from(pattern.len()).unwrap_or(u32::MAX);
    tick(bytes.saturating_add(UNITS_OF_COMPILING))
}

fn parse(pattern: &str) -> Result<Hir, InvalidRegex> {
    let tree: Ast = ast::parse::Parser::new().parse(pattern).map_err(syntax)?;
    if limits::are_too_large(&tree) {
        return Err(InvalidRegex::Classes);
    }
    TranslatorBuilder::new().utf8(false).build().translate(pattern, &tree).map_err(syntax)
}

fn states(parsed: &Hir, size_limit: usize) -> Result<NFA, InvalidRegex> {
    let config = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(size_limit));
    let states = thompson::Compiler::new().configure(config).build_from_hir(parsed);
    let states = states.map_err(|error| match error.size_limit() {
        Some(limit) => InvalidRegex::TooLarge { limit },
        None => syntax(error),
    })?;
    tick(u32::try_from(states.states().len()).unwrap_or(u32::MAX));
    Ok(states)
}

fn syntax(error: impl std::fmt::Display) -> InvalidRegex {
    InvalidRegex::Syntax(error.to_string())
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(|c: char| "\\.+*?()|[]{}^$".contains(c))
}

fn finder(pattern: &str) -> Option<Finder<'static>> {
    required_part(pattern).map(|part| Finder::new(part).into_owned())
}

/// The longest text between the wildcards, if a pattern consists only of texts, `.*` and `.+`.
fn required_part(pattern: &str) -> Option<&str> {
    let parts = || pattern.split(".*").flat_map(|part| part.split(".+"));
    let longest = parts().max_by_key(|part| part.len())?;
    (!longest.is_empty() && parts().all(is_literal)).then_some(longest)
}
