//! The file as it is written for Tactus.

use super::judge::{Judge, is_below, meaning};
use super::tree::{leaves, node_at, remove, set, without_duplicates};
use super::*;
use crate::field::Row;
use std::fmt::Write;

const HEAD: &str = "\
# Made of a configuration for Tempo by `tactusctl migrate`. Comments of that file are not in this one, nor are keys that
# have no effect or do not exist here.
";

impl Judge<'_> {
    /// The tree without what has no effect, with the remedies for what looks like a mistake; what to look at comes first.
    pub(super) fn document(&self, findings: &[Finding]) -> Option<String> {
        if !self.source.is_writable {
            return None;
        }
        let mut out = self.root.clone();
        without_duplicates(&mut out);
        // What was copied stands in its old place as well.
        for Rewritten { from, to, .. } in &self.rewritten {
            if to.is_some() && to.as_ref() != Some(from) {
                remove(&mut out, from);
            }
            // A section whose only key went elsewhere.
            let parent = &from[..from.len().saturating_sub(1)];
            if node_at(&out, parent).and_then(Node::entries).is_some_and(Vec::is_empty) {
                remove(&mut out, parent);
            }
        }
        let rows = crate::show::rows();
        for leaf in leaves(&self.root) {
            let manual = self.manual_path(&leaf.path);
            // What did not stand in for another section must not do so once that is left out.
            let unused = rewrite::stands_in(&leaf.path);
            if let Some(length) = unused.or_else(|| without_effect(&rows, &manual, leaf.path.len()))
            {
                remove(&mut out, &leaf.path[..length]);
            }
        }
        for note in &self.notes {
            let path = self.path_of(&note.key);
            match &note.remedy {
                Remedy::Decide => {}
                Remedy::LeaveOut => remove(&mut out, &path),
                Remedy::Set(value) => set(&mut out, &path, value),
            }
        }
        let text = self.head(findings) + &yaml::emit(&out.to_value());
        Some(match &self.source.held {
            Some(held) => held.restore(&text),
            None => text,
        })
    }

    /// The keys of a note's path: a key of the file may have dots in it.
    fn path_of(&self, key: &str) -> Vec<String> {
        for leaf in leaves(&self.root) {
            for length in 1..=leaf.path.len() {
                if leaf.path[..length].join(".") == key {
                    return leaf.path[..length].to_vec();
                }
            }
            // Not in the file, but what it belongs into may be.
            for length in (1..leaf.path.len()).rev() {
                let above = leaf.path[..length].join(".");
                if length == 2 && self.tenants && is_below(key, &above) {
                    let rest = keys(&key[above.len() + 1..]);
                    return [&leaf.path[..length], &rest].concat();
                }
            }
        }
        keys(key)
    }

    fn head(&self, findings: &[Finding]) -> String {
        let mut head = HEAD.to_owned();
        let worth = |finding: &&Finding| finding.verdict >= Verdict::Changed;
        let mut shown = findings.iter().filter(worth).peekable();
        if shown.peek().is_some() {
            head.push_str("# To look at, with the lines of that file:\n");
        }
        for Finding { key, line, verdict, why, .. } in shown {
            let line = line.map(|line| format!("line {line}, ")).unwrap_or_default();
            // One line each: a text of several would end the comment.
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(head, "# - {line}{key} ({}): {why}", verdict.name());
        }
        head
    }
}

/// How many of a leaf's keys name what has no effect; nothing if it has one.
fn without_effect(rows: &[Row], manual: &str, length: usize) -> Option<usize> {
    let (key, _) = unsupported::no_effect(manual, meaning(rows, manual))?;
    Some(if key.len() == manual.len() { length } else { key.split('.').count() })
}
