//! Which span is shown below which, in which order.

use std::collections::HashMap;

use bytes::Bytes;
use tactus_model::SpanId;

const CLIENT: i32 = 3;
const SERVER: i32 = 2;

/// Index of a span without a parent.
pub(super) const NO_PARENT: u32 = u32::MAX;

/// What a skeleton has of an OTLP Span message; attributes are skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SpanHead {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) span_id: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) parent_span_id: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) name: Bytes,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end: u64,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub(super) events: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "13")]
    pub(super) links: Vec<Bytes>,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<StatusHead>,
}

/// The code of a span's status.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct StatusHead {
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

impl SpanHead {
    /// The id; zero if it has not eight bytes.
    pub(super) fn id(&self) -> SpanId {
        to_id(&self.span_id)
    }

    pub(super) fn is_error(&self) -> bool {
        self.status.is_some_and(|status| status.code == 2)
    }

    fn parent(&self) -> SpanId {
        to_id(&self.parent_span_id)
    }
}

fn to_id(bytes: &Bytes) -> SpanId {
    SpanId(<[u8; 8]>::try_from(&bytes[..]).unwrap_or_default())
}

/// Rows in display order: parents before children, children by start and then by id.
pub(super) struct Layout {
    /// Which span each row shows.
    pub(super) order: Vec<u32>,
    /// Row of the parent, or [`NO_PARENT`], by row.
    pub(super) parents: Vec<u32>,
    /// Spans that name a parent which is not there.
    pub(super) missing_parents: usize,
}

impl Layout {
    /// Every span gets one row, also where parents form a circle: that is opened at the span that starts first.
    pub(super) fn of(spans: &[SpanHead]) -> Self {
        let mut by_start: Vec<u32> = (0..spans.len() as u32).collect();
        by_start.sort_by_key(|&span| {
            let head = &spans[span as usize];
            (head.start, head.id().0)
        });
        let (parents, missing_parents) = parents_of(spans, &by_start);
        // Lists of children in one array: those of `span` are from `first[span]` to `first[span + 1]`, latest first.
        let mut first = vec![0u32; spans.len() + 1];
        for &parent in parents.iter().filter(|parent| **parent != NO_PARENT) {
            first[parent as usize + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let mut children = vec![0u32; first[spans.len()] as usize];
        let mut free = first.clone();
        for &span in by_start.iter().rev() {
            let parent = parents[span as usize];
            if parent != NO_PARENT {
                let place = &mut free[parent as usize];
                children[*place as usize] = span;
                *place += 1;
            }
        }
        let mut layout = Self {
            order: Vec::with_capacity(spans.len()),
            parents: Vec::with_capacity(spans.len()),
            missing_parents,
        };
        let mut is_placed = vec![false; spans.len()];
        let mut waiting = Vec::new();
        let roots = by_start.iter().filter(|span| parents[**span as usize] == NO_PARENT);
        // After all roots only circles are left.
        for &root in roots.chain(&by_start) {
            waiting.push((root, NO_PARENT));
            while let Some((span, parent)) = waiting.pop() {
                if std::mem::replace(&mut is_placed[span as usize], true) {
                    continue;
                }
                let row = layout.order.len() as u32;
                layout.order.push(span);
                layout.parents.push(parent);
                let below = first[span as usize] as usize..first[span as usize + 1] as usize;
                waiting.extend(children[below].iter().map(|&child| (child, row)));
            }
        }
        layout
    }
}

/// The parent of each span, and how many name one that is not there.
///
/// Where the two sides of a call share an id, as Zipkin has it, the server's side is below the client's, and what names
/// that id as its parent is below the server's.
fn parents_of(spans: &[SpanHead], by_start: &[u32]) -> (Vec<u32>, usize) {
    let (mut clients, mut owners) = (HashMap::new(), HashMap::with_capacity(spans.len()));
    for &span in by_start {
        let head = &spans[span as usize];
        if head.id().0 == [0; 8] {
            continue;
        }
        if head.kind == CLIENT {
            clients.entry(head.id()).or_insert(span);
        }
        let owner = owners.entry(head.id()).or_insert(span);
        if head.kind == SERVER && spans[*owner as usize].kind != SERVER {
            *owner = span;
        }
    }
    let mut missing = 0;
    let mut parent_of = |span: u32| {
        let head = &spans[span as usize];
        if head.kind == SERVER
            && let Some(&client) = clients.get(&head.id())
        {
            return client;
        }
        if head.parent().0 == [0; 8] {
            return NO_PARENT;
        }
        match owners.get(&head.parent()) {
            Some(&parent) if parent != span => parent,
            Some(_) => NO_PARENT,
            None => {
                missing += 1;
                NO_PARENT
            }
        }
    };
    let parents = (0..spans.len() as u32).map(&mut parent_of).collect();
    (parents, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(id: u8, parent: u8, start: u64, kind: i32) -> SpanHead {
        let bytes = |id: u8| match id {
            0 => Bytes::new(),
            id => Bytes::copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, id]),
        };
        SpanHead {
            span_id: bytes(id),
            parent_span_id: bytes(parent),
            start,
            end: start,
            kind,
            ..SpanHead::default()
        }
    }

    fn rows(spans: &[SpanHead]) -> Vec<(u32, u32)> {
        let layout = Layout::of(spans);
        layout.order.into_iter().zip(layout.parents).collect()
    }

    #[test]
    fn children_follow_their_parent_by_start() {
        let spans = [span(3, 1, 9, 0), span(2, 1, 5, 0), span(1, 0, 1, 0), span(4, 2, 6, 0)];
        assert_eq!(rows(&spans), [(2, NO_PARENT), (1, 0), (3, 1), (0, 0)]);
    }

    #[test]
    fn parents_that_are_not_there_are_counted() {
        let layout = Layout::of(&[span(1, 9, 1, 0), span(2, 1, 2, 0), span(3, 3, 3, 0)]);
        assert_eq!((layout.missing_parents, layout.order.len()), (1, 3));
    }

    #[test]
    fn circle_is_opened_at_its_first_span() {
        let spans = [span(1, 2, 5, 0), span(2, 1, 3, 0), span(3, 1, 4, 0)];
        assert_eq!(rows(&spans), [(1, NO_PARENT), (0, 0), (2, 1)]);
    }

    #[test]
    fn both_sides_of_a_call_may_share_an_id() {
        let spans =
            [span(2, 1, 4, SERVER), span(2, 1, 4, CLIENT), span(1, 0, 1, 0), span(3, 2, 6, 0)];
        assert_eq!(rows(&spans), [(2, NO_PARENT), (1, 0), (0, 1), (3, 2)]);
    }

    proptest! {
        #[test]
        fn every_span_has_one_row_after_its_parents(
            spans in prop::collection::vec((0..12u8, 0..12u8, 0..4u64, 0..5i32), 0..40),
        ) {
            let spans: Vec<_> = spans.into_iter().map(|(id, parent, start, kind)| span(id, parent, start, kind)).collect();
            let layout = Layout::of(&spans);
            let mut seen = layout.order.clone();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..spans.len() as u32).collect::<Vec<_>>());
            for (row, &parent) in layout.parents.iter().enumerate() {
                prop_assert!(parent == NO_PARENT || (parent as usize) < row);
            }
        }
    }
}
