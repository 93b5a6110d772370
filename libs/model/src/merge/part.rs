//! Parts of a trace, for traces that are too large to be returned whole each time.

use std::collections::HashSet;

use crate::{Projection, SpanBatch, SpanId, TraceId};

/// A slice of a trace: spans that are chosen by a hash of their ids. All copies of a span are in the same slice
/// wherever they are stored, and each span is in exactly one slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanSlice {
    number: u32,
    of: u32,
}

impl SpanSlice {
    /// All spans.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// One of `of` slices, by its number from zero. `None` if there is no such slice.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        match of {
            0 => (number == 0).then_some(Self::WHOLE),
            _ => (number < of).then_some(Self { number, of }),
        }
    }

    /// Its number, and how many there are.
    pub fn number_of(self) -> (u32, u32) {
        (self.number, self.of)
    }

    /// True if it has all spans.
    pub fn is_whole(self) -> bool {
        self.of == 1
    }

    /// Divides this slice into this many smaller ones. `None` if there would be too many to number.
    pub fn cut(self, into: u32) -> Option<impl Iterator<Item = Self>> {
        let of = self.of.checked_mul(into)?;
        Some((0..into).map(move |part| Self { number: self.number + part * self.of, of }))
    }

    /// Whether a span is in it.
    #[inline]
    pub fn has(self, id: SpanId) -> bool {
        // Senders choose span ids in many ways, so each bit of an id must count.
        let bits = u64::from_be_bytes(id.0);
        let mixed = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.of == 1 || (mixed ^ mixed >> 33) % u64::from(self.of) == u64::from(self.number)
    }
}

/// Selects spans of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChosenSpans {
    /// The spans of a slice.
    Slice(SpanSlice),
    /// The spans with these ids.
    Ids(HashSet<SpanId>),
}

impl ChosenSpans {
    /// Whether a span is among them.
    pub fn has(&self, id: SpanId) -> bool {
        match self {
            Self::Slice(slice) => slice.has(id),
            Self::Ids(chosen) => chosen.contains(&id),
        }
    }
}

/// Selects the part of a trace that is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracePart {
    /// Which spans.
    pub spans: ChosenSpans,
    /// What is read of them besides ids, name, kind, status, start, duration, resource and scope. `None`: everything.
    pub besides: Option<Projection>,
    /// True if the number of events and links is wanted, even if their content is not.
    pub has_counts: bool,
}

impl TracePart {
    /// Whole spans.
    pub fn whole(spans: ChosenSpans) -> Self {
        Self { spans, besides: None, has_counts: true }
    }

    /// Spans without attributes, with the number of their events and links.
    pub fn heads(slice: SpanSlice) -> Self {
        Self { has_counts: true, ..Self::read_by(Projection::default(), slice) }
    }

    /// Spans with these columns.
    pub fn read_by(columns: Projection, slice: SpanSlice) -> Self {
        let spans = ChosenSpans::Slice(slice);
        Self { spans, besides: Some(columns), has_counts: false }
    }

    /// The columns to read.
    pub fn columns(&self) -> Projection {
        let Some(besides) = &self.besides else { return Projection::as_received() };
        let mut columns = Projection::heads();
        columns.merge(besides);
        columns
    }

    /// The rows of a trace in a batch that belong to this part.
    pub fn rows(&self, batch: &SpanBatch, id: TraceId) -> Vec<u32> {
        let ids = &*batch.spans.span_id;
        let is_chosen = |row: usize| self.spans.has(ids[row]);
        let Some(trace) = batch.traces.ids.iter().position(|&other| other == id) else {
            return Vec::new();
        };
        let of = batch.spans.trace.iter().enumerate();
        let rows = of.filter(|&(row, &of)| of as usize == trace && is_chosen(row));
        rows.map(|(row, _)| row as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::{encode_part_while, encode_traces_data};
    use crate::wire::{put_fixed64_field, put_message_field};
    use crate::{AttributeSelection, BatchBuilder, BuilderLimits};

    /// Spans of two traces, with an attribute, events and a status message each.
    fn batch_of(ids: &[(u8, u8)]) -> SpanBatch {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let mut spans = Vec::new();
        for &(trace, id) in ids {
            let (mut span, mut event, mut pair) = (Vec::new(), Vec::new(), Vec::new());
            put_message_field(&mut span, 1, &[trace; 16]);
            put_message_field(&mut span, 2, &[id; 8]);
            put_message_field(&mut span, 4, &[9; 8]);
            put_message_field(&mut span, 5, b"name");
            span.extend_from_slice(&[6 << 3, 2]);
            put_fixed64_field(&mut span, 7, u64::from(id) * 10);
            put_fixed64_field(&mut span, 8, u64::from(id) * 10 + 5);
            put_message_field(&mut pair, 1, b"key");
            put_message_field(&mut span, 9, &pair);
            put_fixed64_field(&mut event, 1, 77);
            put_message_field(&mut event, 2, b"event");
            put_message_field(&mut span, 11, &event);
            put_message_field(&mut span, 11, &event);
            put_message_field(&mut span, 15, &[2 << 3 | 2, 1, b'x', 3 << 3, 2]);
            put_message_field(&mut spans, 2, &span);
        }
        builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
        builder.finish()
    }

    fn part_of(batches: &[SpanBatch], part: &TracePart) -> Vec<u8> {
        let mut out = Vec::new();
        for batch in batches {
            let rows = part.rows(batch, TraceId([2; 16]));
            assert!(encode_part_while(&mut out, batch, &rows, part, |_, _| true));
        }
        out
    }

    /// Spans of one resource and scope.
    fn read_back(message: &[u8]) -> SpanBatch {
        let mut builder = BatchBuilder::new(BuilderLimits::default());
        let (resource, scope) = (builder.resource(b"").unwrap(), builder.scope(b"").unwrap());
        let mut spans = Vec::new();
        crate::walk::walk_export(message, |found| {
            let mut span = Vec::new();
            put_message_field(&mut span, 1, &[2; 16]);
            span.extend_from_slice(found.message);
            put_message_field(&mut spans, 2, &span);
        })
        .unwrap();
        builder.append_scope_spans(resource, scope, &spans, |_, _| true).unwrap();
        builder.finish()
    }

    #[test]
    fn heads_are_all_spans_without_contents() {
        let batches =
            [batch_of(&[(2, 1), (1, 2), (2, 3)]), batch_of(&[(2, 4)]), batch_of(&[(1, 9)])];
        let message = part_of(&batches, &TracePart::heads(SpanSlice::WHOLE));
        let heads = read_back(&message);
        assert_eq!(heads.spans.span_id[..], [1, 3, 4].map(|id| SpanId([id; 8])));
        assert_eq!(heads.spans.duration[..], [5; 3]);
        assert_eq!(heads.spans.status[..], [2; 3]);
        assert_eq!(heads.events.range(2), 4..6);
        assert_eq!(heads.events.time[..], [0; 6]);
        assert!(heads.span_attributes.is_empty());
        let all = ChosenSpans::Slice(SpanSlice::WHOLE);
        assert!(message.len() < part_of(&batches, &TracePart::whole(all)).len() * 2 / 3);
        assert!(part_of(&batches[2..], &TracePart::heads(SpanSlice::WHOLE)).is_empty());
    }

    #[test]
    fn columns_that_are_wanted_come_with_the_heads() {
        let batches = [batch_of(&[(2, 1)])];
        let with = |besides: Projection| {
            read_back(&part_of(&batches, &TracePart::read_by(besides, SpanSlice::WHOLE)))
        };
        let keys = |key: &[u8]| AttributeSelection::Keys([key.to_vec()].into());
        let found = with(Projection { span_attributes: keys(b"key"), ..Projection::default() });
        assert_eq!(found.span_attributes.len(), 1);
        let found = with(Projection { span_attributes: keys(b"ke"), ..Projection::default() });
        assert!(found.span_attributes.is_empty());
        assert_eq!(found.events.range(0), 0..0);
        let found = with(Projection { events: true, ..Projection::default() });
        assert_eq!(found.events.time[..], [77; 2]);
        assert_eq!(found.events.name[..], [0; 2]);
        let found = with(Projection { events: true, event_name: true, ..Projection::default() });
        assert_eq!(found.strings.get(found.events.name[1]), b"event");
        let found = with(Projection { status_message: true, ..Projection::default() });
        assert_eq!(found.strings.get(found.spans.status_message[0]), b"x");
        let whole = TracePart::whole(ChosenSpans::Slice(SpanSlice::WHOLE));
        assert_eq!(part_of(&batches, &whole), encode_traces_data(&batches[0]));
    }

    #[test]
    fn chosen_spans_have_all_they_had() {
        let batches = [batch_of(&[(2, 1), (2, 3), (1, 4)])];
        let part = TracePart::whole(ChosenSpans::Ids([3, 4].map(|id| SpanId([id; 8])).into()));
        assert_eq!(part_of(&batches, &part), encode_traces_data(&batch_of(&[(2, 3)])));
    }

    #[test]
    fn each_span_is_in_one_slice_and_none_is_much_larger_than_others() {
        let numbered: [fn(u64) -> u64; 4] =
            [|n| n, |n| n << 48, |n| n << 32 | 7, |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)];
        for (of, id_of) in [2, 7, 16, 64].into_iter().flat_map(|of| numbered.map(|id| (of, id))) {
            let slices: Vec<_> =
                (0..of).map(|number| SpanSlice::new(number, of).unwrap()).collect();
            let mut counts = vec![0; slices.len()];
            for number in 1..=10_000 {
                let id = SpanId(id_of(number).to_be_bytes());
                let of = slices.iter().enumerate().filter(|(_, slice)| slice.has(id));
                let places: Vec<_> = of.map(|(place, _)| place).collect();
                assert_eq!(places.len(), 1);
                counts[places[0]] += 1;
            }
            let most = 10_000 / slices.len() * 3 / 2;
            assert!(counts.iter().all(|count| *count < most), "{counts:?}");
        }
        assert_eq!((SpanSlice::new(2, 2), SpanSlice::new(1, 0)), (None, None));
        assert_eq!(SpanSlice::new(0, 0), Some(SpanSlice::WHOLE));
    }

    #[test]
    fn slice_that_is_cut_has_the_same_spans() {
        let slice = SpanSlice::new(1, 3).unwrap();
        for id in (0u64..1_000).map(|id| SpanId(id.to_be_bytes())) {
            let in_parts = slice.cut(4).unwrap().filter(|part| part.has(id)).count();
            assert_eq!(in_parts, usize::from(slice.has(id)));
        }
        assert!(slice.cut(u32::MAX).is_none());
    }
}
