//! What a program finds out about patterns and texts while it runs over a batch.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_work::Held;

use crate::CompiledRegex;
use crate::compiled_regex::Patterns;

/// Patterns taken from attributes that are kept compiled; past it the cache starts over.
const MAX_CACHED_PATTERNS: usize = 1000;
/// And bytes of their programs, on each thread.
const MAX_CACHED_BYTES: usize = 1 << 22;
/// Texts of which it is kept whether they match; past it they are asked about again.
const MAX_KNOWN_MATCHES: usize = 1 << 16;

/// What was found out about the texts of a batch.
pub(super) struct Known {
    patterns: KnownPatterns,
    /// Whether a text, known by where it lies, matches a pattern of the program.
    matches: HashMap<(usize, usize, usize), bool, RandomState>,
}

impl Known {
    /// `patterns`: those of the query.
    pub(super) fn of(patterns: &Patterns) -> Self {
        let patterns = patterns.clone();
        let (compiled, held) = (HashMap::new(), Held::default());
        let patterns = KnownPatterns { compiled, bytes: 0, held, patterns };
        Self { patterns, matches: HashMap::default() }
    }

    /// A pattern that is a value, compiled; `None` if it does not compile.
    pub(super) fn regex(&mut self, pattern: &[u8]) -> Option<&CompiledRegex> {
        self.patterns.regex(pattern)
    }

    /// Asks about each text once. Texts lie where they are as long as this lives.
    pub(super) fn is_match(
        &mut self,
        pattern: usize,
        text: &[u8],
        ask: impl FnOnce() -> bool,
    ) -> bool {
        if self.matches.len() >= MAX_KNOWN_MATCHES {
            self.matches.clear();
        }
        let place = (pattern, text.as_ptr().addr(), text.len());
        *self.matches.entry(place).or_insert_with(ask)
    }
}

/// Patterns that are values, compiled.
struct KnownPatterns {
    compiled: HashMap<Vec<u8>, Option<CompiledRegex>>,
    bytes: usize,
    held: Held,
    patterns: Patterns,
}

impl KnownPatterns {
    /// `None` if it does not compile.
    fn regex(&mut self, pattern: &[u8]) -> Option<&CompiledRegex> {
        if !self.compiled.contains_key(pattern) {
            let compiled = self.patterns.compile_value(pattern).ok();
            let bytes = compiled.as_ref().map_or(0, |(_, bytes)| *bytes) + pattern.len();
            if self.compiled.len() >= MAX_CACHED_PATTERNS
                || self.bytes.saturating_add(bytes) > MAX_CACHED_BYTES
                || !self.held.grow_if_free(self.bytes.saturating_add(bytes))
            {
                self.compiled.clear();
                self.bytes = 0;
                self.held.shrink_to(0);
            }
            self.bytes += bytes;
            self.compiled.insert(pattern.to_vec(), compiled.map(|(regex, _)| regex));
        }
        self.compiled.get(pattern)?.as_ref()
    }
}
