//! The layout of a trace: which span is shown below which, in which order.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tactus_model::SpanId;
use tactus_model::wire::{FieldValue, Reader, WireError};

const CLIENT: u8 = 3;
pub(super) const SERVER: u8 = 2;
const ERROR: u8 = 2;

/// Index of a span without a parent.
pub(super) const NO_PARENT: u32 = u32::MAX;

/// What a skeleton has of an OTLP Span message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SpanHead {
    /// Zero if it has not eight bytes.
    pub(super) id: SpanId,
    /// Likewise; zero for a root.
    pub(super) parent: SpanId,
    /// Number of the name, as whoever reads the message counts them.
    pub(super) name: u32,
    /// OTLP kind; 0 for a number that OTLP does not know.
    pub(super) kind: u8,
    /// OTLP status code; likewise.
    pub(super) status: u8,
    /// Unix nanoseconds.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Number of events, 65 535 at most; likewise of links.
    pub(super) events: u16,
    pub(super) links: u16,
}

impl SpanHead {
    /// The head of a message, with its name still to be numbered. Attributes are skipped. Errors: a message that is none.
    pub(super) fn read(message: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let (mut head, mut name) = (Self::default(), &message[..0]);
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next_field()? {
            match (field, value) {
                (2, FieldValue::Bytes(id)) => head.id = to_id(id),
                (4, FieldValue::Bytes(id)) => head.parent = to_id(id),
                (5, FieldValue::Bytes(text)) => name = text,
                (6, FieldValue::Varint(kind)) => head.kind = at_most(kind, 5),
                (7, FieldValue::Fixed64(start)) => head.start = start,
                (8, FieldValue::Fixed64(end)) => head.end = end,
                (11, FieldValue::Bytes(_)) => head.events = head.events.saturating_add(1),
                (13, FieldValue::Bytes(_)) => head.links = head.links.saturating_add(1),
                (15, FieldValue::Bytes(status)) => head.status = status_code(status)?,
                _ => {}
            }
        }
        Ok((head, name))
    }

    pub(super) fn is_error(&self) -> bool {
        self.status == ERROR
    }
}

fn to_id(bytes: &[u8]) -> SpanId {
    SpanId(<[u8; 8]>::try_from(bytes).unwrap_or_default())
}

fn at_most(number: u64, most: u8) -> u8 {
    u8::try_from(number).ok().filter(|number| *number <= most).unwrap_or_default()
}

fn status_code(status: &[u8]) -> Result<u8, WireError> {
    let (mut code, mut reader) = (0, Reader::new(status));
    while let Some((field, value)) = reader.next_field()? {
        if let (3, FieldValue::Varint(number)) = (field, value) {
            code = at_most(number, ERROR);
        }
    }
    Ok(code)
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
        // What is compared lies in the list itself: spans are too far apart in memory.
        let keys = spans.iter().zip(0u32..).map(|(head, span)| (head.start, head.id, span));
        let mut by_start: Vec<_> = keys.collect();
        by_start.sort_unstable();
        let by_start: Vec<u32> = by_start.into_iter().map(|(_, _, span)| span).collect();
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
    let mut clients = HashMap::with_hasher(RandomState::default());
    let mut owners = HashMap::with_capacity_and_hasher(spans.len(), RandomState::default());
    for &span in by_start {
        let head = &spans[span as usize];
        if head.id.is_zero() {
            continue;
        }
        if head.kind == CLIENT {
            clients.entry(head.id).or_insert(span);
        }
        let owner = owners.entry(head.id).or_insert(span);
        if head.kind == SERVER && spans[*owner as usize].kind != SERVER {
            *owner = span;
        }
    }
    let mut missing = 0;
    let mut parent_of = |span: u32| {
        let head = &spans[span as usize];
        if head.kind == SERVER
            && let Some(&client) = clients.get(&head.id)
        {
            return client;
        }
        if head.parent.is_zero() {
            return NO_PARENT;
        }
        match owners.get(&head.parent) {
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
    use tactus_model::wire::{put_fixed64_field, put_message_field, put_varint_field};

    fn span(id: u8, parent: u8, start: u64, kind: u8) -> SpanHead {
        let id_of = |id: u8| SpanId([0, 0, 0, 0, 0, 0, 0, id]);
        let (id, parent) = (id_of(id), id_of(parent));
        SpanHead { id, parent, start, end: start, kind, ..SpanHead::default() }
    }

    #[test]
    fn head_has_what_the_message_has() {
        let mut message = Vec::new();
        put_message_field(&mut message, 2, &[1; 8]);
        put_message_field(&mut message, 4, &[2; 7]);
        put_message_field(&mut message, 5, b"name");
        put_varint_field(&mut message, 6, 3);
        put_fixed64_field(&mut message, 7, 10);
        put_fixed64_field(&mut message, 8, 30);
        put_message_field(&mut message, 9, b"\x0a\x01k");
        put_message_field(&mut message, 11, b"");
        put_message_field(&mut message, 11, b"");
        put_message_field(&mut message, 13, b"");
        put_message_field(&mut message, 15, &[2 << 3 | 2, 1, b'x', 3 << 3, 2]);
        let (head, name) = SpanHead::read(&message).unwrap();
        let expected = SpanHead {
            id: SpanId([1; 8]),
            kind: 3,
            status: 2,
            start: 10,
            end: 30,
            events: 2,
            links: 1,
            ..SpanHead::default()
        };
        assert_eq!((head, name), (expected, &b"name"[..]), "a parent of seven bytes is none");
        assert!(SpanHead::read(&message[..9]).is_err());
    }

    #[test]
    fn unknown_codes_are_none() {
        let mut message = Vec::new();
        put_varint_field(&mut message, 6, u64::MAX);
        put_message_field(&mut message, 15, &[3 << 3, 77]);
        let (head, _) = SpanHead::read(&message).unwrap();
        assert_eq!((head.kind, head.status), (0, 0));
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
            spans in prop::collection::vec((0..12u8, 0..12u8, 0..4u64, 0..5u8), 0..40),
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
