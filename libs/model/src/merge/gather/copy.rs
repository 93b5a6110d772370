//! Copies spans with everything that belongs to them, column by column.

use std::ops::Range;

use super::{
    AttributeColumns, TraceMerger, UNMAPPED,
    output::{InputMap, Run},
};
use crate::{
    AttributeList, Buffer, DictionaryBuilder, EventTable, LinkTable, SpanBatch, SpanColumns,
    StringCode, ValueType,
};

fn total(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.len()).sum()
}

impl TraceMerger<'_> {
    /// Appends consecutive spans of one trace from an input. Only the trace and origin columns are filled now;
    /// [`Self::copy_runs`] fills the others.
    pub(super) fn append(&mut self, input: usize, rows: Range<usize>) {
        let SpanBatch { traces, spans, .. } = &mut self.to.out;
        let (trace, first) = (traces.ids.len() as u32 - 1, spans.trace.len());
        spans.trace.make_mut().extend(std::iter::repeat_n(trace, rows.len()));
        let origins = self.columns[input].origin;
        if !origins.is_empty() {
            for (row, &origin) in (first..).zip(&origins[rows.clone()]) {
                raise_origin(spans, row, origin);
            }
        }
        let at = |row: usize| (input as u32, row as u32);
        let higher = &self.to.higher_origins;
        let begin = higher.partition_point(|&(input, row, _)| (input, row) < at(rows.start));
        let of_run = higher[begin..].iter();
        for &(_, row, origin) in of_run.take_while(|(input, row, _)| (*input, *row) < at(rows.end))
        {
            raise_origin(spans, first + row as usize - rows.start, origin);
        }
        self.to.runs.push(Run::new(input, &rows));
    }

    /// Fills the other columns of the appended spans, one whole column after the other. If spans did not arrive in
    /// order of their traces, runs are short, and going through all columns for each run would cost more than the
    /// copying.
    pub(super) fn copy_runs(&mut self) {
        let mut runs = std::mem::take(&mut self.to.runs);
        if runs.is_empty() {
            return;
        }
        self.append_owners(&runs);
        let (columns, inputs) = (self.columns.as_slice(), self.inputs);
        let mut entries = std::mem::take(&mut self.to.entries);
        let mut codes = CodeMaps { maps: &mut self.to.maps, inputs, to: &mut self.to.strings };
        let SpanBatch { spans, events, links, span_attributes, .. } = &mut self.to.out;
        extend(&mut spans.span_id, &runs, |input| columns[input].span_id);
        extend(&mut spans.parent_span_id, &runs, |input| columns[input].parent_span_id);
        extend(&mut spans.start, &runs, |input| columns[input].start);
        extend(&mut spans.duration, &runs, |input| columns[input].duration);
        codes.extend(&mut spans.name, &runs, |input| columns[input].name);
        extend(&mut spans.kind, &runs, |input| columns[input].kind);
        extend(&mut spans.status, &runs, |input| columns[input].status);
        let of_events = |input: usize| columns[input].event_starts;
        let of_links = |input: usize| columns[input].link_starts;
        codes.extend(&mut spans.status_message, &runs, |input| columns[input].status_message);
        codes.extend(&mut spans.trace_state, &runs, |input| columns[input].trace_state);
        extend(&mut spans.dropped_attributes, &runs, |input| columns[input].dropped_attributes);
        extend(&mut spans.dropped_events, &runs, |input| columns[input].dropped_events);
        extend(&mut spans.dropped_links, &runs, |input| columns[input].dropped_links);
        let attributes = |input: usize| columns[input].attributes;
        copy_attributes(&runs, attributes, span_attributes, &mut codes, &mut entries);
        let mut children = Vec::new();
        extend_ends(&mut events.starts, &runs, of_events, &mut children);
        append_events(&children, events, &mut codes, &mut entries);
        extend_ends(&mut links.starts, &runs, of_links, &mut children);
        append_links(&children, links, &mut codes, &mut entries);
        runs.clear();
        entries.clear();
        (self.to.runs, self.to.entries) = (runs, entries);
    }

    fn append_owners(&mut self, runs: &[Run]) {
        for &run in runs {
            let input = run.input();
            let (resources, scopes) = (self.columns[input].resource, self.columns[input].scope);
            for row in run.rows() {
                let resource = self.resource(input, resources[row]);
                self.to.out.spans.resource.push(resource);
                let scope = self.scope(input, scopes[row]);
                self.to.out.spans.scope.push(scope);
            }
        }
    }

    fn resource(&mut self, input: usize, row: u32) -> u32 {
        let known = self.to.maps[input].resources[row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.resources;
        let dropped = from.dropped_attributes[row as usize];
        let table = &mut self.to.out.resources;
        let new = table.dropped_attributes.len() as u32;
        let mut codes =
            CodeMaps { maps: &mut self.to.maps, inputs: self.inputs, to: &mut self.to.strings };
        let attributes = |_| AttributeColumns::of(&from.attributes);
        let (owner, entries) = ([Run::new(input, &one(row as usize))], &mut self.to.entries);
        copy_attributes(&owner, attributes, &mut table.attributes, &mut codes, entries);
        let content = content_of(&table.attributes, new, &[u64::from(dropped)]);
        let found = self.to.resource_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.dropped_attributes.push(dropped);
                self.to.resource_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.to.maps[input].resources[row as usize] = mapped;
        mapped
    }

    fn scope(&mut self, input: usize, row: u32) -> u32 {
        let known = self.to.maps[input].scopes[row as usize];
        if known != UNMAPPED {
            return known;
        }
        let batch = self.inputs[input];
        let from = &batch.scopes;
        let index = row as usize;
        let dropped = from.dropped_attributes[index];
        let table = &mut self.to.out.scopes;
        let new = table.name.len() as u32;
        let mut codes =
            CodeMaps { maps: &mut self.to.maps, inputs: self.inputs, to: &mut self.to.strings };
        let mut map = codes.of(input);
        let (name, version) = (map.code(from.name[index]), map.code(from.version[index]));
        let attributes = |_| AttributeColumns::of(&from.attributes);
        let (owner, entries) = ([Run::new(input, &one(index))], &mut self.to.entries);
        copy_attributes(&owner, attributes, &mut table.attributes, &mut codes, entries);
        let texts = [u64::from(dropped), u64::from(name), u64::from(version)];
        let content = content_of(&table.attributes, new, &texts);
        let found = self.to.scope_index.find(&content);
        match found {
            Some(_) => table.attributes.truncate_owners(new as usize),
            None => {
                table.name.push(name);
                table.version.push(version);
                table.dropped_attributes.push(dropped);
                self.to.scope_index.insert(&content, new);
            }
        }
        let mapped = found.unwrap_or(new);
        self.to.maps[input].scopes[index] = mapped;
        mapped
    }
}

fn one(row: usize) -> Range<usize> {
    row..row + 1
}

/// `column` selects the column of an input.
fn extend<'a, T: bytemuck::Pod>(
    to: &mut Buffer<T>,
    runs: &[Run],
    column: impl Fn(usize) -> &'a [T],
) {
    let to = to.make_mut();
    to.reserve(total(runs));
    for run in runs {
        let from = column(run.input());
        match run.len() {
            // Copying a slice of unknown length is a function call; a single value is not.
            1 => to.push(from[run.first as usize]),
            _ => to.extend_from_slice(&from[run.rows()]),
        }
    }
}

/// Appends the end offsets of each row's items to an offsets column; `items` are set to the items of all these rows. If
/// an input was read without this list, its rows have no items.
fn extend_ends<'a>(
    to: &mut Buffer<u32>,
    runs: &[Run],
    starts: impl Fn(usize) -> &'a [u32],
    items: &mut Vec<Run>,
) {
    items.clear();
    let to = to.make_mut();
    to.reserve(total(runs));
    let mut end = to.last().copied().unwrap_or(0);
    for run in runs {
        let rows = run.rows();
        let Some(bounds) = starts(run.input()).get(rows.start..=rows.end) else {
            to.extend(std::iter::repeat_n(end, rows.len()));
            continue;
        };
        let first = bounds[0];
        to.extend(bounds[1..].iter().map(|bound| end + (bound - first)));
        let last = bounds[rows.len()];
        end += last - first;
        if last > first {
            items.push(Run { input: run.input, first, end: last });
        }
    }
}

fn append_events(
    items: &[Run],
    to: &mut EventTable,
    codes: &mut CodeMaps<'_>,
    entries: &mut Vec<Run>,
) {
    if items.is_empty() {
        return;
    }
    let inputs = codes.inputs;
    let from = |input: usize| &inputs[input].events;
    extend(&mut to.time, items, |input| &from(input).time);
    codes.extend(&mut to.name, items, |input| &from(input).name);
    extend(&mut to.dropped_attributes, items, |input| &from(input).dropped_attributes);
    let attributes = |input: usize| AttributeColumns::of(&from(input).attributes);
    copy_attributes(items, attributes, &mut to.attributes, codes, entries);
}

fn append_links(
    items: &[Run],
    to: &mut LinkTable,
    codes: &mut CodeMaps<'_>,
    entries: &mut Vec<Run>,
) {
    if items.is_empty() {
        return;
    }
    let inputs = codes.inputs;
    let from = |input: usize| &inputs[input].links;
    extend(&mut to.trace_id, items, |input| &from(input).trace_id);
    extend(&mut to.span_id, items, |input| &from(input).span_id);
    codes.extend(&mut to.trace_state, items, |input| &from(input).trace_state);
    extend(&mut to.dropped_attributes, items, |input| &from(input).dropped_attributes);
    let attributes = |input: usize| AttributeColumns::of(&from(input).attributes);
    copy_attributes(items, attributes, &mut to.attributes, codes, entries);
}

/// Raises the origin of a row to `origin` if that is higher. The column is created when the first origin other than
/// zero appears.
fn raise_origin(spans: &mut SpanColumns, row: usize, origin: u64) {
    if origin == 0 {
        return;
    }
    let origins = spans.origin.make_mut();
    if origins.len() <= row {
        origins.resize(row + 1, 0);
    }
    origins[row] = origins[row].max(origin);
}

/// Maps codes of the inputs to codes of the output.
struct CodeMaps<'b> {
    maps: &'b mut [InputMap],
    inputs: &'b [&'b SpanBatch],
    to: &'b mut DictionaryBuilder,
}

/// Maps codes of one input to codes of the output.
struct CodeMap<'b> {
    codes: &'b mut [u32],
    from: &'b SpanBatch,
    to: &'b mut DictionaryBuilder,
}

impl<'b> CodeMaps<'b> {
    #[inline]
    fn of(&mut self, input: usize) -> CodeMap<'_> {
        CodeMap { codes: &mut self.maps[input].codes, from: self.inputs[input], to: self.to }
    }

    fn extend<'a>(
        &mut self,
        to: &mut Buffer<StringCode>,
        runs: &[Run],
        column: impl Fn(usize) -> &'a [StringCode],
    ) {
        let to = to.make_mut();
        to.reserve(total(runs));
        for run in runs {
            let mut map = self.of(run.input());
            let from = &column(run.input())[run.rows()];
            to.extend(from.iter().map(|&code| map.code(code)));
        }
    }
}

impl CodeMap<'_> {
    #[inline]
    fn code(&mut self, code: StringCode) -> StringCode {
        let mapped = &mut self.codes[code as usize];
        // Code 0 is the empty string in every dictionary, so 0 can mean both "empty" and "not mapped yet".
        if *mapped == 0 && code != 0 {
            *mapped = self.to.intern(self.from.strings.get(code));
        }
        *mapped
    }
}

/// Appends the attributes of these owners. `entries` is reused memory for their positions.
fn copy_attributes<'a>(
    owners: &[Run],
    from: impl Fn(usize) -> AttributeColumns<'a>,
    to: &mut AttributeList,
    codes: &mut CodeMaps<'_>,
    entries: &mut Vec<Run>,
) {
    extend_ends(&mut to.starts, owners, |input| from(input).starts, entries);
    codes.extend(&mut to.keys, entries, |input| from(input).keys);
    let (types, payloads) = (to.types.make_mut(), to.payloads.make_mut());
    types.reserve(total(entries));
    payloads.reserve(total(entries));
    // A type byte that is not known is stored as a key without a value.
    let known = |&byte: &u8| ValueType::from_u8(byte).unwrap_or(ValueType::Unset);
    for run in entries {
        let (from, mut map) = (from(run.input()), codes.of(run.input()));
        let of_run = &from.types[run.rows()];
        types.extend(of_run.iter().map(|byte| known(byte) as u8));
        let values = of_run.iter().zip(&from.payloads[run.rows()]);
        payloads.extend(values.map(|(byte, &payload)| match known(byte).holds_code() {
            true => u64::from(map.code(payload as StringCode)),
            false => payload,
        }));
    }
}

fn content_of(attributes: &AttributeList, owner: u32, extra: &[u64]) -> Vec<u64> {
    let mut content = extra.to_vec();
    for attribute in attributes.of(owner as usize) {
        content.push(u64::from(attribute.key) << 8 | attribute.value_type as u64);
        content.push(attribute.payload);
    }
    content
}
