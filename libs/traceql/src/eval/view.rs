//! A batch, and columns that queries derive from it. Each is computed once, on first use.

use std::cell::{Cell, OnceCell};

use tactus_model::{SpanBatch, SpanId, StringCode, TraceId};

use super::bitmap::{Bitmap, pack};
use super::nested::{self, NestedColumns};
use super::scan::find_string;
use super::trace_facts::{trace_roots, trace_times};

/// A row that does not exist.
pub(crate) const NO_ROW: u32 = u32::MAX;

/// Up to this many keys are looked up by scanning the dictionary. For more keys an index is built.
const MOST_KEY_FINDS: u32 = 16;

const OTLP_SERVER: u8 = 2;
const OTLP_CLIENT: u8 = 3;

/// One batch during one evaluation.
pub(crate) struct BatchView<'a> {
    pub(crate) batch: &'a SpanBatch,
    /// Results of earlier steps, by slot.
    known: &'a [Option<Bitmap>],
    trace_times: OnceCell<(Vec<u64>, Vec<u64>)>,
    trace_roots: OnceCell<(Vec<StringCode>, Vec<StringCode>)>,
    nested: OnceCell<[Vec<i32>; 3]>,
    trace_rows: OnceCell<RowGroups>,
    trace_starts: OnceCell<Option<Vec<u32>>>,
    parents: OnceCell<Vec<u32>>,
    child_counts: OnceCell<Vec<i64>>,
    trace_id_texts: OnceCell<Vec<String>>,
    span_id_texts: OnceCell<Vec<[u8; 16]>>,
    parent_id_texts: OnceCell<Vec<[u8; 16]>>,
    link_trace_texts: OnceCell<Vec<String>>,
    link_span_texts: OnceCell<Vec<[u8; 16]>>,
    key_finds: Cell<u32>,
    key_index: OnceCell<Vec<StringCode>>,
}

/// Span rows by group: group `g` has `rows[starts[g]..starts[g + 1]]`, ascending.
pub(crate) struct RowGroups {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl RowGroups {
    /// Collects rows by group. Rows must be given in ascending order, with their groups.
    pub(crate) fn new(groups: usize, entries: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; groups + 1];
        let mut count = 0;
        for (group, _) in entries.clone() {
            starts[group as usize + 1] += 1;
            count += 1;
        }
        for group in 0..groups {
            starts[group + 1] += starts[group];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; count];
        for (group, row) in entries {
            let place = &mut next[group as usize];
            rows[*place as usize] = row;
            *place += 1;
        }
        Self { starts, rows }
    }

    /// The rows of a group.
    pub(crate) fn rows(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// A column as a slice; `None` if it was not read.
#[inline]
pub(crate) fn column<T>(values: &[T], rows: usize) -> Option<&[T]> {
    (values.len() == rows).then_some(values)
}

impl<'a> BatchView<'a> {
    pub(crate) fn new(batch: &'a SpanBatch) -> Self {
        Self::with_known(batch, &[])
    }

    /// A view that has the results of [`super::plan::Plan::Step`]s from earlier batches of the same rows.
    pub(crate) fn with_known(batch: &'a SpanBatch, known: &'a [Option<Bitmap>]) -> Self {
        Self {
            batch,
            known,
            trace_times: OnceCell::new(),
            trace_roots: OnceCell::new(),
            nested: OnceCell::new(),
            trace_rows: OnceCell::new(),
            trace_starts: OnceCell::new(),
            parents: OnceCell::new(),
            child_counts: OnceCell::new(),
            trace_id_texts: OnceCell::new(),
            span_id_texts: OnceCell::new(),
            parent_id_texts: OnceCell::new(),
            link_trace_texts: OnceCell::new(),
            link_span_texts: OnceCell::new(),
            key_finds: Cell::new(0),
            key_index: OnceCell::new(),
        }
    }

    /// The result of a step, if it is known.
    pub(crate) fn known(&self, slot: usize) -> Option<&Bitmap> {
        self.known.get(slot)?.as_ref()
    }

    /// Number of spans.
    pub(crate) fn spans(&self) -> usize {
        self.batch.len()
    }

    /// Number of traces.
    pub(crate) fn traces(&self) -> usize {
        self.batch.traces.ids.len()
    }

    /// Start and end of each trace, stored or computed.
    pub(crate) fn trace_times(&self) -> (&[u64], &[u64]) {
        if let Some(summaries) = &self.batch.traces.summaries {
            return (&summaries.start, &summaries.end);
        }
        let (start, end) = self
            .trace_times
            .get_or_init(|| trace_times(self.batch, 0..self.batch.spans.start.len()));
        (start, end)
    }

    /// Service and name of each trace's root, stored or computed.
    pub(crate) fn trace_roots(&self) -> (&[StringCode], &[StringCode]) {
        if let Some(summaries) = &self.batch.traces.summaries {
            return (&summaries.root_service, &summaries.root_name);
        }
        let (service, name) = self
            .trace_roots
            .get_or_init(|| trace_roots(self.batch, 0..self.batch.spans.parent_span_id.len()));
        (service, name)
    }

    /// The first span of each trace, and the end; `None` if the spans are not in order of trace.
    pub(crate) fn trace_starts(&self) -> Option<&[u32]> {
        let starts = || starts_of_runs(&self.batch.spans.trace, self.traces());
        self.trace_starts.get_or_init(starts).as_deref()
    }

    /// The spans of each trace.
    pub(crate) fn trace_rows(&self) -> &RowGroups {
        self.trace_rows.get_or_init(|| {
            let entries = self.batch.spans.trace.iter().copied().zip(0..);
            RowGroups::new(self.traces(), entries)
        })
    }

    /// Tree positions, stored or computed.
    pub(crate) fn nested(&self) -> NestedColumns<'_> {
        let (spans, rows) = (&self.batch.spans, self.spans());
        let stored = (
            column(&spans.nested_left, rows),
            column(&spans.nested_right, rows),
            column(&spans.nested_parent, rows),
        );
        if let (None, None, None) = stored {
            let [left, right, parent] = self.nested.get_or_init(|| self.number_spans());
            return NestedColumns { left, right, parent };
        }
        let (left, right, parent) = stored;
        let read = Option::unwrap_or_default;
        NestedColumns { left: read(left), right: read(right), parent: read(parent) }
    }

    fn number_spans(&self) -> [Vec<i32>; 3] {
        let (spans, rows) = (&self.batch.spans, self.spans());
        let stored = (
            column(&spans.span_id, rows),
            column(&spans.parent_span_id, rows),
            column(&spans.kind, rows),
        );
        let (Some(ids), Some(parents), Some(kinds)) = stored else {
            return std::array::from_fn(|_| vec![0; rows]);
        };
        let traces = (0..self.traces()).map(|trace| self.trace_rows().rows(trace));
        nested::numbers((ids, parents, kinds), traces)
    }

    /// The row of each span's parent, [`NO_ROW`] if it is not in the trace. Two spans may have the parent's id, as
    /// client and server of one call. Then a server span's parent is the client span; any other span's parent is the
    /// server span.
    pub(crate) fn parents(&self) -> &[u32] {
        self.parents.get_or_init(|| {
            let (spans, rows) = (&self.batch.spans, self.spans());
            let mut parents = vec![NO_ROW; rows];
            let stored = (column(&spans.span_id, rows), column(&spans.parent_span_id, rows));
            let (Some(ids), Some(parent_ids)) = stored else { return parents };
            let kind = |row: u32| spans.kind.get(row as usize).copied().unwrap_or(0);
            // Trace by trace, which stays in the cache; a table of all spans does not.
            let (mut sorted, mut by_id) = (Vec::new(), Vec::<(SpanId, Candidates)>::new());
            for trace in 0..self.traces() {
                let of_trace = self.trace_rows().rows(trace);
                sorted.clear();
                sorted.extend(of_trace.iter().map(|&row| (ids[row as usize], row)));
                sorted.sort_unstable();
                by_id.clear();
                for &(id, row) in &sorted {
                    if by_id.last().is_none_or(|&(last, _)| last != id) {
                        by_id.push((id, Candidates::default()));
                    }
                    if let Some((_, candidates)) = by_id.last_mut() {
                        candidates.add(row, kind(row));
                    }
                }
                for &row in of_trace {
                    let wanted = parent_ids[row as usize];
                    let place = by_id.binary_search_by_key(&wanted, |&(id, _)| id);
                    let (false, Ok(place)) = (wanted.is_zero(), place) else { continue };
                    let parent = by_id[place].1.parent_of(kind(row));
                    if parent != row {
                        parents[row as usize] = parent;
                    }
                }
            }
            parents
        })
    }

    /// Number of direct children of each span.
    pub(crate) fn child_counts(&self) -> &[i64] {
        self.child_counts.get_or_init(|| {
            let mut counts = vec![0; self.spans()];
            for &parent in self.parents() {
                if let Some(count) = counts.get_mut(parent as usize) {
                    *count += 1;
                }
            }
            counts
        })
    }

    /// Trace ids as hex without leading zeros.
    pub(crate) fn trace_id_texts(&self) -> &[String] {
        self.trace_id_texts.get_or_init(|| trimmed_texts(&self.batch.traces.ids))
    }

    /// Ids of linked traces as hexadecimal text without leading zeros.
    pub(crate) fn link_trace_texts(&self) -> &[String] {
        self.link_trace_texts.get_or_init(|| trimmed_texts(&self.batch.links.trace_id))
    }

    /// Span ids as hex.
    pub(crate) fn span_id_texts(&self) -> &[[u8; 16]] {
        self.span_id_texts.get_or_init(|| span_id_texts(&self.batch.spans.span_id))
    }

    /// Ids of parent spans as hex.
    pub(crate) fn parent_id_texts(&self) -> &[[u8; 16]] {
        self.parent_id_texts.get_or_init(|| span_id_texts(&self.batch.spans.parent_span_id))
    }

    /// Ids of linked spans as hex.
    pub(crate) fn link_span_texts(&self) -> &[[u8; 16]] {
        self.link_span_texts.get_or_init(|| span_id_texts(&self.batch.links.span_id))
    }

    /// The code of an attribute key; `None` if the batch does not have that string.
    pub(crate) fn key_code(&self, key: &str) -> Option<StringCode> {
        let strings = &self.batch.strings;
        let finds = self.key_finds.get();
        if finds < MOST_KEY_FINDS {
            self.key_finds.set(finds + 1);
            return find_string(strings, key.as_bytes());
        }
        // Codes sorted by their strings.
        let index = self.key_index.get_or_init(|| {
            let mut codes: Vec<StringCode> = (0..strings.len() as u32).collect();
            codes.sort_unstable_by_key(|&code| strings.get(code));
            codes
        });
        let place = index.binary_search_by_key(&key.as_bytes(), |&code| strings.get(code)).ok()?;
        Some(index[place])
    }
}

/// The first row of each of `groups` groups, and the end; `None` if the rows are not in order of group.
fn starts_of_runs(group_of: &[u32], groups: usize) -> Option<Vec<u32>> {
    let (first, following) = group_of.split_first()?;
    let mut starts = Vec::with_capacity(groups + 1);
    let mut begin = |group: u32, row: usize| {
        let group = group as usize;
        let is_next = group < groups && starts.len() <= group;
        starts.resize(if is_next { group + 1 } else { starts.len() }, row as u32);
        is_next
    };
    if !begin(*first, 0) {
        return None;
    }
    for (index, (before, chunk)) in group_of.chunks(64).zip(following.chunks(64)).enumerate() {
        let mut lanes = [0; 64];
        for ((lane, before), group) in lanes.iter_mut().zip(before).zip(chunk) {
            *lane = u8::from(before != group);
        }
        let mut changes = pack(&lanes);
        while changes != 0 {
            let place = changes.trailing_zeros() as usize;
            changes &= changes - 1;
            if !begin(chunk[place], index * 64 + place + 1) {
                return None;
            }
        }
    }
    starts.resize(groups + 1, group_of.len() as u32);
    Some(starts)
}

fn trimmed_texts(ids: &[TraceId]) -> Vec<String> {
    ids.iter().map(|id| id.to_hex_trimmed()).collect()
}

fn span_id_texts(ids: &[SpanId]) -> Vec<[u8; 16]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let text = |id: &SpanId| {
        let mut text = [0; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(id.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        text
    };
    ids.iter().map(text).collect()
}

/// Stands for several rows.
const SEVERAL: u32 = NO_ROW - 1;

/// The spans of a trace that have one id. Only what matters of each kind is kept, because a sender may give all spans of
/// a trace the same id. Of several of one kind none is a parent: the order of rows is another one in each block.
struct Candidates {
    any: u32,
    client: u32,
    server: u32,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { any: NO_ROW, client: NO_ROW, server: NO_ROW }
    }
}

impl Candidates {
    fn add(&mut self, row: u32, kind: u8) {
        let note = |place: &mut u32| *place = if *place == NO_ROW { row } else { SEVERAL };
        note(&mut self.any);
        match kind {
            OTLP_CLIENT => note(&mut self.client),
            OTLP_SERVER => note(&mut self.server),
            _ => {}
        }
    }

    /// The parent of a span of this kind that has the id as its parent's.
    fn parent_of(&self, kind: u8) -> u32 {
        let found = match (self.any, kind) {
            (SEVERAL, OTLP_SERVER) => self.client,
            (SEVERAL, _) => self.server,
            (only, _) => only,
        };
        if found == SEVERAL { NO_ROW } else { found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn starts_of_runs_agree_with_a_count(
            sizes in proptest::collection::vec(0usize..100, 0..20),
            swapped in proptest::option::of((0usize..500, 0usize..500)),
        ) {
            let runs = sizes.iter().enumerate().map(|(group, &size)| vec![group as u32; size]);
            let mut group_of: Vec<u32> = runs.flatten().collect();
            if let Some((one, other)) = swapped
                && one.max(other) < group_of.len()
            {
                group_of.swap(one, other);
            }
            let rows = |group: usize| group_of.partition_point(|&other| (other as usize) < group) as u32;
            let expected = (0..=sizes.len()).map(rows).collect();
            let in_order = group_of.is_sorted() && !group_of.is_empty();
            prop_assert_eq!(starts_of_runs(&group_of, sizes.len()), in_order.then_some(expected));
        }
    }
}
