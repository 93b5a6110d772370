//! Spans in the order of their tree.

use std::collections::HashMap;

use super::Span;

/// How many levels are drawn. Deeper spans are shown at the last one.
const MAX_DEPTH: usize = 24;

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Row of the span.
    pub(super) span: usize,
    /// The branches of the tree, which are drawn before the name.
    pub(super) branches: String,
    /// True if its parent is not in the trace.
    pub(super) orphan: bool,
}

/// The spans depth first, siblings sorted by start. Every span appears once. If spans form a circle, one of them is shown as a
/// root. There is no recursion, because senders can make traces of any depth.
pub(super) fn lines(spans: &[Span]) -> Vec<Line> {
    let by_id: HashMap<_, _> = spans.iter().enumerate().map(|(row, span)| (span.id, row)).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for (row, span) in spans.iter().enumerate() {
        match by_id.get(&span.parent) {
            _ if span.parent.is_zero() => roots.push(row),
            Some(&parent) if parent != row => children[parent].push(row),
            _ => orphans.push(row),
        }
    }
    for siblings in children.iter_mut().chain([&mut roots, &mut orphans]) {
        siblings.sort_by_key(|&row| (spans[row].start, spans[row].id));
    }
    let mut walk = Walk { children, seen: vec![false; spans.len()], lines: Vec::new() };
    roots.into_iter().for_each(|root| walk.tree(root, false));
    orphans.into_iter().for_each(|root| walk.tree(root, true));
    for row in 0..spans.len() {
        if !walk.seen[row] {
            walk.tree(row, true);
        }
    }
    walk.lines
}

struct Walk {
    children: Vec<Vec<usize>>,
    seen: Vec<bool>,
    lines: Vec<Line>,
}

impl Walk {
    fn tree(&mut self, root: usize, orphan: bool) {
        // The row, and for each level whether more siblings follow.
        let mut open = vec![(root, Vec::new())];
        while let Some((row, follows)) = open.pop() {
            if std::mem::replace(&mut self.seen[row], true) {
                continue;
            }
            let orphan = orphan && row == root;
            self.lines.push(Line { span: row, branches: branches(&follows), orphan });
            let children = &self.children[row];
            for (place, &child) in children.iter().enumerate().rev() {
                let mut follows = follows.clone();
                if follows.len() == MAX_DEPTH {
                    follows.pop();
                }
                follows.push(place + 1 < children.len());
                open.push((child, follows));
            }
        }
    }
}

fn branches(follows: &[bool]) -> String {
    let Some((own, above)) = follows.split_last() else { return String::new() };
    let mut text: String = above.iter().map(|&more| if more { "│  " } else { "   " }).collect();
    text.push_str(if *own { "├─ " } else { "└─ " });
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tactus_model::SpanId;
    use tactus_proto::otlp::status::StatusCode;

    use super::*;

    fn span(id: u64, parent: u64, start: u64) -> Span {
        Span {
            id: SpanId(id.to_be_bytes()),
            parent: SpanId(parent.to_be_bytes()),
            service: 0,
            name: String::new(),
            start,
            end: start,
            status: StatusCode::Unset,
            message: String::new(),
        }
    }

    #[test]
    fn deep_chains_are_drawn_to_a_limit() {
        let spans: Vec<_> = (1..=100_000).map(|id| span(id, id - 1, id)).collect();
        let lines = lines(&spans);
        assert_eq!(lines.len(), spans.len());
        let deepest = lines.iter().map(|line| line.branches.chars().count()).max();
        assert_eq!(deepest, Some(3 * MAX_DEPTH));
    }

    #[test]
    fn circles_and_own_parents_are_roots() {
        let order = |spans: &[Span]| {
            lines(spans).iter().map(|line| (line.span, line.orphan)).collect::<Vec<_>>()
        };
        assert_eq!(order(&[span(1, 2, 0), span(2, 1, 0)]), [(0, true), (1, false)]);
        assert_eq!(order(&[span(1, 1, 0), span(2, 0, 5)]), [(1, false), (0, true)]);
    }

    proptest! {
        #[test]
        fn every_span_is_there_once(edges in proptest::collection::vec((0u64..12, 0u64..12, 0u64..5), 0..30)) {
            let spans: Vec<_> = edges.iter().map(|&(id, parent, start)| span(id, parent, start)).collect();
            let mut rows: Vec<_> = lines(&spans).iter().map(|line| line.span).collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..spans.len()).collect::<Vec<_>>());
        }
    }
}
