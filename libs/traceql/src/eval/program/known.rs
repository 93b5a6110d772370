//! Patterns and match results that a program remembers while it runs over a batch.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_work::Held;

use crate::CompiledRegex;
use crate::compiled_regex::Patterns;

/// How many compiled patterns from attributes are kept. Beyond that the cache is cleared.
const MAX_CACHED_PATTERNS: usize = 1000;
/// How many bytes the programs of these patterns may have, on each thread.
const MAX_CACHED_BYTES: usize = 1 << 22;
/// How many match results are kept. Other texts are matched again.
const MAX_KNOWN_MATCHES: usize = 1 << 16;

/// What was found out about the texts of a batch.
pub(super) struct Known {
    /// Patterns that are values, compiled; `None` if one does not compile.
    compiled: HashMap<Vec<u8>, Option<CompiledRegex>>,
    bytes: usize,
    held: Held,
    patterns: Patterns,
    /// Match results by pattern of the program, and by address and length of the text.
    matches: HashMap<(usize, usize, usize), bool, RandomState>,
}

impl Known {
    /// `patterns`: those of the query.
    pub(super) fn of(patterns: &Patterns) -> Self {
        Self {
            compiled: HashMap::new(),
            bytes: 0,
            held: Held::default(),
            patterns: patterns.clone(),
            matches: HashMap::default(),
        }
    }

    /// Matches each text once. Texts must not move while this exists.
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

    /// The compiled form of a pattern that is a value; `None` if it does not compile.
    pub(super) fn regex(&mut self, pattern: &[u8]) -> Option<&CompiledRegex> {
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
