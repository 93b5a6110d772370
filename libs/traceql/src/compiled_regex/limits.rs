//! Rejects patterns that repeat something too often, and patterns whose character classes take too long to build.
//!
//! The library sorts a class again for each of its members, and folds the case of a range character by character.
//! Neither can be interrupted.

use regex_syntax::ast::{Ast, ClassSet, ClassSetItem, Visitor, visit};
use regex_syntax::hir::{Hir, HirKind};

/// Most steps for a pattern: one class with two thousand members, or a few Unicode classes.
const MAX_STEPS: u64 = 1 << 22;

/// Steps for a Unicode class such as `\pL`, whether or not case is folded.
const STEPS_OF_UNICODE_CLASS: u64 = 1 << 16;

/// A range with more characters counts like a Unicode class.
const LARGE_RANGE: u32 = 1 << 10;

/// True if the classes of a pattern, or its alternatives of single characters, take too many steps.
pub(super) fn are_too_large(pattern: &Ast) -> bool {
    visit(pattern, Steps(0)).is_err()
}

struct Steps(u64);

impl Steps {
    fn add(&mut self, steps: u64) -> Result<(), ()> {
        self.0 = self.0.saturating_add(steps);
        if self.0 > MAX_STEPS { Err(()) } else { Ok(()) }
    }

    /// Members that are put into a class one by one.
    fn add_members(&mut self, members: usize) -> Result<(), ()> {
        let members = members as u64;
        self.add(members.saturating_mul(members))
    }
}

impl Visitor for Steps {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, pattern: &Ast) -> Result<(), ()> {
        match pattern {
            Ast::ClassUnicode(_) => self.add(STEPS_OF_UNICODE_CLASS),
            Ast::ClassBracketed(class) => match &class.kind {
                ClassSet::Item(ClassSetItem::Union(union)) => self.add_members(union.items.len()),
                _ => Ok(()),
            },
            // Single characters are made one class.
            Ast::Alternation(alternation) => {
                let is_single = |it: &&Ast| {
                    matches!(it, Ast::Literal(_) | Ast::ClassUnicode(_) | Ast::ClassBracketed(_))
                };
                self.add_members(alternation.asts.iter().filter(is_single).count())
            }
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ()> {
        match item {
            ClassSetItem::Unicode(_) => self.add(STEPS_OF_UNICODE_CLASS),
            ClassSetItem::Range(range) => {
                let characters = u32::from(range.end.c).saturating_sub(u32::from(range.start.c));
                self.add(if characters > LARGE_RANGE { STEPS_OF_UNICODE_CLASS } else { 1 })
            }
            _ => Ok(()),
        }
    }
}

/// RE2 rejects patterns that repeat something more often.
pub(super) const MAX_REPEATS: u64 = 1000;

/// How often a pattern repeats something, counting nested repetitions, if that exceeds the limit.
pub(super) fn too_many(pattern: &Hir) -> Option<u64> {
    Some(repeats(pattern)).filter(|&repeats| repeats > MAX_REPEATS)
}

/// The largest product of nested repetition counts. The parser bounds the depth.
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
