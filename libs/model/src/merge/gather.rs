//! Copies chosen spans of several batches into a new one.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::MergeStats;
use crate::{
    Attribute, AttributeList, DictionaryBuilder, SpanBatch, SpanId, StringCode, TraceId, ValueType,
};

const UNMAPPED: u32 = u32::MAX;

/// Capacity kept free of reallocation beyond the estimate from the inputs, as a divisor.
const SLACK: usize = 16;

/// The span columns of one input as slices: a mapped column costs a check each time it is asked for.
struct Columns<'a> {
    resource: &'a [u32],
    scope: &'a [u32],
    span_id: &'a [SpanId],
    parent_span_id: &'a [SpanId],
    start: &'a [u64],
    duration: &'a [u64],
    name: &'a [StringCode],
    kind: &'a [u8],
    status: &'a [u8],
    status_message: &'a [StringCode],
    trace_state: &'a [StringCode],
    dropped_attributes: &'a [u32],
    dropped_events: &'a [u32],
    dropped_links: &'a [u32],
    attributes: AttributeColumns<'a>,
    event_starts: &'a [u32],
    link_starts: &'a [u32],
}

/// An attribute list as slices.
#[derive(Clone, Copy)]
struct AttributeColumns<'a> {
    starts: &'a [u32],
    keys: &'a [StringCode],
    types: &'a [u8],
    payloads: &'a [u64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a SpanBatch) -> Self {
        let spans = &batch.spans;
        Self {
            resource: &spans.resource,
            scope: &spans.scope,
            span_id: &spans.span_id,
            parent_span_id: &spans.parent_span_id,
            start: &spans.start,
            duration: &spans.duration,
            name: &spans.name,
            kind: &spans.kind,
            status: &spans.status,
            status_message: &spans.status_message,
            trace_state: &spans.trace_state,
            dropped_attributes: &spans.dropped_attributes,
            dropped_events: &spans.dropped_events,
            dropped_links: &spans.dropped_links,
            attributes: AttributeColumns::of(&batch.span_attributes),
            event_starts: &batch.events.starts,
            link_starts: &batch.links.starts,
        }
    }
}

impl<'a> AttributeColumns<'a> {
    fn of(list: &'a AttributeList) -> Self {
        Self {
            starts: &list.starts,
            keys: &list.keys,
            types: &list.types,
            payloads: &list.payloads,
        }
    }
}

/// The batch that grows trace by trace: [`Self::start_trace`], [`Self::candidate`] for each span,
/// [`Self::finish_trace`].
pub(super) struct Gather<'a> {
    inputs: &'a [&'a SpanBatch],
    columns: Vec<Columns<'a>>,
    out: SpanBatch,
    strings: DictionaryBuilder,
    /// Per input: code there -> code here, 0 while unknown. Zeroed memory costs nothing until it is touched, and a
    /// row group touches little of the dictionaries of all its segments.
    codes: Vec<Vec<u32>>,
    resources: Vec<Vec<u32>>,
    scopes: Vec<Vec<u32>>,
    resource_index: RowIndex,
    scope_index: RowIndex,
    candidates: Vec<(u32, u32)>,
    /// Span id and number of each candidate.
    keys: Vec<(SpanId, u32)>,
    duplicate: Vec<bool>,
    stats: MergeStats,
}

/// Rows by their content, for tables whose rows are each kept once.
#[derive(Default)]
struct RowIndex {
    rows: HashTable<(u32, Box<[u64]>)>,
    hasher: RandomState,
}

impl RowIndex {
    fn find(&self, content: &[u64]) -> Option<u32> {
        let hash = self.hasher.hash_one(content);
        self.rows.find(hash, |(_, other)| **other == *content).map(|found| found.0)
    }

    fn insert(&mut self, content: &[u64], row: u32) {
        let (hash, hasher) = (self.hasher.hash_one(content), &self.hasher);
        self.rows.insert_unique(hash, (row, content.into()), |(_, c)| hasher.hash_one(&**c));
    }
}

impl<'a> Gather<'a> {
    pub(super) fn new(inputs: &'a [&'a SpanBatch]) -> Self {
        let unmapped = |count: usize| vec![UNMAPPED; count];
        Self {
            inputs,
            columns: inputs.iter().map(|batch| Columns::of(batch)).collect(),
            out: SpanBatch::default(),
            strings: DictionaryBuilder::default(),
            codes: inputs.iter().map(|batch| vec![0; batch.strings.len()]).collect(),
            resources: inputs.iter().map(|batch| unmapped(batch.resources.len())).collect(),
            scopes: inputs.iter().map(|batch| unmapped(batch.scopes.len())).collect(),
            resource_index: RowIndex::default(),
            scope_index: RowIndex::default(),
            candidates: Vec::new(),
            keys: Vec::new(),
            duplicate: Vec::new(),
            stats: MergeStats::default(),
        }
    }

    /// Makes room for this many of the inputs' spans.
    pub(super) fn reserve(&mut self, spans: usize) {
        let all_spans: usize = self.inputs.iter().map(|batch| batch.len()).sum();
        let part = |total: usize| {
            let estimate = (total as u128 * spans as u128 / all_spans.max(1) as u128) as usize;
            estimate + estimate / SLACK + 1
        };
        let entries = self.inputs.iter().map(|batch| batch.span_attributes.len()).sum();
        let columns = &mut self.out.spans;
        for column in [
            &mut columns.trace,
            &mut columns.resource,
            &mut columns.scope,
            &mut columns.name,
            &mut columns.status_message,
            &mut columns.trace_state,
            &mut columns.dropped_attributes,
            &mut columns.dropped_events,
            &mut columns.dropped_links,
            &mut self.out.events.starts,
            &mut self.out.links.starts,
            &mut self.out.span_attributes.starts,
        ] {
            column.make_mut().reserve_exact(spans + 1);
        }
        columns.span_id.make_mut().reserve_exact(spans);
        columns.parent_span_id.make_mut().reserve_exact(spans);
        columns.start.make_mut().reserve_exact(spans);
        columns.duration.make_mut().reserve_exact(spans);
        columns.kind.make_mut().reserve_exact(spans);
        columns.status.make_mut().reserve_exact(spans);
        let attributes = &mut self.out.span_attributes;
        attributes.keys.make_mut().reserve_exact(part(entries));
        attributes.types.make_mut().reserve_exact(part(entries));
        attributes.payloads.make_mut().reserve_exact(part(entries));
    }

    pub(super) fn start_trace(&mut self, id: TraceId) {
        self.candidates.clear();
        self.out.traces.ids.push(id);
    }

    pub(super) fn candidate(&mut self, input: u32, row: u32) {
        self.candidates.push((input, row));
    }

    pub(super) fn finish_trace(&mut self) {
        if self.candidates.is_empty() {
            self.out.traces.ids.make_mut().pop();
            return;
        }
        self.mark_duplicates();
        for i in 0..self.candidates.len() {
            if self.duplicate[i] {
                self.stats.duplicate_spans += 1;
            } else {
                let (input, row) = self.candidates[i];
                self.append(input as usize, row as usize);
            }
        }
    }

    /// Marks candidates that are the same span as an earlier one: same id, kind, start and name.
    fn mark_duplicates(&mut self) {
        self.duplicate.clear();
        self.duplicate.resize(self.candidates.len(), false);
        self.keys.clear();
        let candidates = self.candidates.iter().zip(0..);
        self.keys.extend(candidates.map(|(&(input, row), candidate)| {
            (self.columns[input as usize].span_id[row as usize], candidate)
        }));
        self.keys.sort_unstable();
        if self.keys.windows(2).all(|pair| pair[0].0 != pair[1].0) {
            return;
        }
        let mut keys = std::mem::take(&mut self.keys);
        for same_id in keys.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            same_id.sort_unstable_by_key(|&(_, candidate)| (self.facts_of(candidate), candidate));
            for pair in same_id.windows(2) {
                let (one, two) = (pair[0].1, pair[1].1);
                if self.facts_of(one) == self.facts_of(two) {
                    self.duplicate[two as usize] = true;
                }
            }
        }
        self.keys = keys;
    }

    /// What besides its id makes a span of a trace the same span.
    fn facts_of(&self, candidate: u32) -> (u8, u64, &[u8]) {
        let (input, row) = self.candidates[candidate as usize];
        let columns = &self.columns[input as usize];
        (columns.kind[row as usize], columns.start[row as usize], self.name_of(candidate))
    }

    fn name_of(&self, candidate: u32) -> &[u8] {
        let (input, row) = self.candidates[candidate as usize];
        let batch = self.inputs[input as usize];
        batch.strings.get(batch.spans.name[row as usize])
    }

    fn append(&mut self, input: usize, row: usize) {
        let resource = self.resource(input, self.columns[input].resource[row]);
        let scope = self.scope(input, self.columns[input].scope[row]);
        let from = &self.columns[input];
        let mut map = CodeMap {
            codes: &mut self.codes[input],
            from: self.inputs[input],
            to: &mut self.strings,
        };
        let spans = &mut self.out.spans;
        spans.trace.push(self.out.traces.ids.len() as u32 - 1);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.span_id.push(from.span_id[row]);
        spans.parent_span_id.push(from.parent_span_id[row]);
        spans.start.push(from.start[row]);
        spans.duration.push(from.duration[row]);
        spans.name.push(map.code(from.name[row]));
        spans.kind.push(from.kind[row]);
        spans.status.push(from.status[row]);
        spans.status_message.push(map.code(from.status_message[row]));
        spans.trace_state.push(map.code(from.trace_state[row]));
        spans.dropped_attributes.push(from.dropped_attributes[row]);
        spans.dropped_events.push(from.dropped_events[row]);
        spans.dropped_links.push(from.dropped_links[row]);
        copy_attributes(from.attributes, row, &mut self.out.span_attributes, &mut map);
        let has_events = from.event_starts[row] < from.event_starts[row + 1];
        let has_links = from.link_starts[row] < from.link_starts[row + 1];
        if has_events {
            self.append_events(input, row);
        } else {
            self.out.events.starts.push(self.out.events.time.len() as u32);
        }
        if has_links {
            self.append_links(input, row);
        } else {
            self.out.links.starts.push(self.out.links.trace_id.len() as u32);
        }
    }

    fn append_events(&mut self, input: usize, row: usize) {
        let batch = self.inputs[input];
        let mut map = CodeMap { codes: &mut self.codes[input], from: batch, to: &mut self.strings };
        let (from, to) = (&batch.events, &mut self.out.events);
        for event in from.range(row) {
            to.time.push(from.time[event]);
            to.name.push(map.code(from.name[event]));
            to.dropped_attributes.push(from.dropped_attributes[event]);
            copy_attributes(
                AttributeColumns::of(&from.attributes),
                event,
                &mut to.attributes,
                &mut map,
            );
        }
        to.starts.push(to.time.len() as u32);
    }

    fn append_links(&mut self, input: usize, row: usize) {
        let batch = self.inputs[input];
        let mut map = CodeMap { codes: &mut self.codes[input], from: batch, to: &mut self.strings };
        let (from, to) = (&batch.links, &mut self.out.links);
        for link in from.range(row) {
            to.trace_id.push(from.trace_id[link]);
            to.span_id.push(from.span_id[link]);
            to.trace_state.push(map.code(from.trace_state[link]));
            to.dropped_attributes.push(from.dropped_attributes[link]);
            copy_attributes(
                AttributeColumns::of(&from.attributes),
                link,
                &mut to.attributes,
                &mut map,
            );
        }
        to.starts.push(to.trace_id.len() as u32);
    }

    fn resource(&mut self, input: usize, row: u32) -> u32 {
        let known = self.resources[input][row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.resources;
        let dropped = from.dropped_attributes[row as usize];
        let table = &mut self.out.resources;
        let new = table.dropped_attributes.len() as u32;
        let mut map = CodeMap { codes: &mut self.codes[input], from: batch, to: &mut self.strings };
        let attributes = AttributeColumns::of(&from.attributes);
        copy_attributes(attributes, row as usize, &mut table.attributes, &mut map);
        let content = content_of(&table.attributes, new, &[u64::from(dropped)]);
        let found = self.resource_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.dropped_attributes.push(dropped);
                self.resource_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.resources[input][row as usize] = mapped;
        mapped
    }

    fn scope(&mut self, input: usize, row: u32) -> u32 {
        let known = self.scopes[input][row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.scopes;
        let index = row as usize;
        let dropped = from.dropped_attributes[index];
        let table = &mut self.out.scopes;
        let new = table.name.len() as u32;
        let mut map = CodeMap { codes: &mut self.codes[input], from: batch, to: &mut self.strings };
        let (name, version) = (map.code(from.name[index]), map.code(from.version[index]));
        copy_attributes(
            AttributeColumns::of(&from.attributes),
            index,
            &mut table.attributes,
            &mut map,
        );
        let texts = [u64::from(dropped), u64::from(name), u64::from(version)];
        let content = content_of(&table.attributes, new, &texts);
        let found = self.scope_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.name.push(name);
                table.version.push(version);
                table.dropped_attributes.push(dropped);
                self.scope_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.scopes[input][index] = mapped;
        mapped
    }

    pub(super) fn finish(mut self) -> (SpanBatch, MergeStats) {
        self.out.strings = self.strings.finish();
        (self.out, self.stats)
    }
}

/// From the codes of one input to those of the output.
struct CodeMap<'b> {
    codes: &'b mut [u32],
    from: &'b SpanBatch,
    to: &'b mut DictionaryBuilder,
}

impl CodeMap<'_> {
    #[inline]
    fn code(&mut self, code: StringCode) -> StringCode {
        let mapped = &mut self.codes[code as usize];
        // Code 0 is the empty string everywhere, so for it "unknown" is the answer.
        if *mapped == 0 && code != 0 {
            *mapped = self.to.intern(self.from.strings.get(code));
        }
        *mapped
    }
}

#[inline]
fn copy_attributes(
    from: AttributeColumns<'_>,
    owner: usize,
    to: &mut AttributeList,
    map: &mut CodeMap<'_>,
) {
    let range = from.starts[owner] as usize..from.starts[owner + 1] as usize;
    let keys = from.keys[range.clone()].iter();
    let values = from.types[range.clone()].iter().zip(&from.payloads[range]);
    for (&key, (&value_type, &payload)) in keys.zip(values) {
        let value_type = ValueType::from_u8(value_type).unwrap_or(ValueType::Unset);
        let payload = if value_type.holds_code() {
            u64::from(map.code(payload as StringCode))
        } else {
            payload
        };
        to.push(Attribute { key: map.code(key), value_type, payload });
    }
    to.end_owner();
}

fn content_of(attributes: &AttributeList, owner: u32, extra: &[u64]) -> Vec<u64> {
    let mut content = extra.to_vec();
    for attribute in attributes.of(owner as usize) {
        content.push(u64::from(attribute.key) << 8 | attribute.value_type as u64);
        content.push(attribute.payload);
    }
    content
}
