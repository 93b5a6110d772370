//! Regular expressions of the language: RE2 syntax, matched on bytes against the whole value.
//!
//! What a pattern may cost is bounded thrice: its program when it is compiled, program times text when it is matched, and
//! the query that matches it, which is asked between texts and within a long one.

mod bounded;
mod repeats;
#[cfg(test)]
mod tests;
mod translate;

use std::sync::Arc;

use memchr::memmem::Finder;
use regex::bytes::RegexBuilder;
use regex_syntax::ParserBuilder;

use self::bounded::Bounded;

/// Bound on the compiled program; repetition bombs fail against it quickly.
const SIZE_LIMIT_BYTES: usize = 1 << 20;

/// Every query may have this many patterns of the full size; see [`size_limit`].
const FULL_SIZE_PATTERNS: usize = 32;

/// Bound that no number of patterns lowers, enough for words and wildcards.
pub(crate) const MIN_SIZE_LIMIT_BYTES: usize = 1 << 15;

/// The size limit of the pattern after `seen` others of one query. It falls, so that a long query
/// of bombs that barely pass costs little more than a short one.
pub(crate) fn size_limit(seen: usize) -> usize {
    (SIZE_LIMIT_BYTES / (1 + seen / FULL_SIZE_PATTERNS)).max(MIN_SIZE_LIMIT_BYTES)
}

/// A pattern that does not compile; the pattern itself is in the query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regex: {reason}")]
pub struct InvalidRegex {
    reason: String,
    /// The limit in bytes that the program of a legal pattern would exceed.
    pub size_limit: Option<usize>,
    /// How often the pattern repeats something, if that is too often.
    pub repeats: Option<u64>,
}

/// A compiled pattern.
///
/// Anchored at both ends, `.` matches line breaks, case-sensitive unless the pattern says
/// otherwise, `\d \w \s \b` are ASCII. Cloning is cheap; matching is thread-safe.
#[derive(Debug, Clone)]
pub struct CompiledRegex {
    matcher: Bounded,
    literal: Option<Box<[u8]>>,
    /// Finds a text that every match contains: most values are told from it.
    part: Option<Arc<Finder<'static>>>,
}

impl CompiledRegex {
    /// Compiles a pattern.
    ///
    /// Errors: not RE2 syntax, not UTF-8, or the program would exceed the size limit.
    pub fn new(pattern: &[u8]) -> Result<Self, InvalidRegex> {
        Self::with_size_limit(pattern, SIZE_LIMIT_BYTES)
    }

    pub(crate) fn with_size_limit(pattern: &[u8], size_limit: usize) -> Result<Self, InvalidRegex> {
        let invalid = |reason: &str| InvalidRegex {
            reason: reason.to_owned(),
            size_limit: None,
            repeats: None,
        };
        let pattern = std::str::from_utf8(pattern).map_err(|_| invalid("not UTF-8"))?;
        let translated = translate::from_re2(pattern).map_err(invalid)?;
        let anchored = format!("^(?s:{translated})$");
        // What does not parse, the builder below says why.
        let parsed = ParserBuilder::new().utf8(false).build().parse(&anchored).ok();
        if let Some(repeats) = parsed.as_ref().and_then(repeats::too_many) {
            return Err(InvalidRegex { repeats: Some(repeats), ..invalid("invalid repeat count") });
        }
        let regex = RegexBuilder::new(&anchored).size_limit(size_limit).build().map_err(
            |error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    InvalidRegex { size_limit: Some(limit), ..invalid("too large") }
                }
                error => invalid(&error.to_string()),
            },
        )?;
        let literal = is_literal(pattern).then(|| pattern.as_bytes().into());
        let part = required_part(pattern).map(|part| Arc::new(Finder::new(part).into_owned()));
        let parsed = parsed.ok_or_else(|| invalid("not a pattern"))?;
        let matcher = Bounded::new(regex, &parsed).map_err(|error| invalid(&error))?;
        Ok(CompiledRegex { matcher, literal, part })
    }

    /// Whether the whole value matches. False if the work of this thread is over; a value that takes too many
    /// steps ends it.
    pub fn is_match(&self, value: &[u8]) -> bool {
        match &self.literal {
            Some(literal) => **literal == *value,
            None if self.part.as_ref().is_some_and(|part| part.find(value).is_none()) => false,
            None => self.matcher.is_match(value),
        }
    }

    /// False if no value that lies within these bytes matches.
    pub fn may_match_within(&self, bytes: &[u8]) -> bool {
        self.part.as_ref().is_none_or(|part| part.find(bytes).is_some())
    }

    /// The only value that matches, if the pattern has no special characters.
    pub fn literal(&self) -> Option<&[u8]> {
        self.literal.as_deref()
    }
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(|c: char| "\\.+*?()|[]{}^$".contains(c))
}

/// The longest text between the wildcards of a pattern that is made of texts, `.*` and `.+` only.
fn required_part(pattern: &str) -> Option<&str> {
    let parts = || pattern.split(".*").flat_map(|part| part.split(".+"));
    let longest = parts().max_by_key(|part| part.len())?;
    (!longest.is_empty() && parts().all(is_literal)).then_some(longest)
}
