//! Counted repetitions within each other.

use regex_syntax::hir::{Hir, HirKind};

/// RE2 refuses patterns that repeat something more often.
pub(super) const MAX_REPEATS: u64 = 1000;

/// How often a pattern repeats something, by counts within counts, if that is more often than it may.
pub(super) fn too_many(pattern: &Hir) -> Option<u64> {
    Some(repeats(pattern)).filter(|&repeats| repeats > MAX_REPEATS)
}

/// The greatest product of counts within each other. The parser bounds the depth.
fn repeats(pattern: &Hir) -> u64 {
    match pattern.kind() {
        HirKind::Repetition(repetition) => {
            let count = repetition.max.unwrap_or(repetition.min).max(1);
            u64::from(count).saturating_mul(repeats(&repetition.sub))
        }
        HirKind::Capture(capture) => repeats(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(repeats).max().unwrap_or(1)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => 1,
    }
}
