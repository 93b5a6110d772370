//! Removes or replaces attribute values.

use std::time::Duration;

use tactus_model::merge::merge;
use tactus_model::{
    Attribute, AttributeList, Buffer, DictionaryBuilder, SpanBatch, StringCode, ValueType,
    hashed_text, text_of_value,
};
use tactus_traceql::eval::Window;
use tactus_work::Work;

use super::{Redaction, RedactionAction, RedactionScope};
use crate::{Error, Result};

/// Redacts whole traces with one rule after the other. Returns the number of changed values.
///
/// Errors: `Invalid` if a filter cannot be evaluated on this data, or if a dictionary would become too large.
pub(crate) fn apply_all(rules: &[Redaction], batch: &mut SpanBatch) -> Result<u64> {
    let mut values = 0;
    for rule in rules {
        let redacted = apply(rule, batch)?;
        if redacted > 0 {
            // Rebuilds the dictionary, so that strings that are no longer used, such as redacted ones, are gone.
            *batch = merge(&[batch]).0;
        }
        values += redacted;
    }
    Ok(values)
}

fn apply(rule: &Redaction, batch: &mut SpanBatch) -> Result<u64> {
    let Some(key) = batch.strings.find(&rule.key) else { return Ok(0) };
    let spans = selected_spans(rule, batch)?;
    if spans.as_ref().is_some_and(|spans| !spans.contains(&true)) {
        return Ok(0);
    }
    let mut editor = Editor {
        key,
        action: &rule.action,
        strings: DictionaryBuilder::of(&batch.strings),
        values: 0,
    };
    let wants = |scope| rule.scope == RedactionScope::Any || rule.scope == scope;
    let selection = spans.as_deref();
    if wants(RedactionScope::Span) {
        editor.edit(&mut batch.span_attributes, |span| is_selected(selection, span))?;
    }
    if wants(RedactionScope::Event) {
        let events = owned_by(selection, &batch.events.starts);
        editor.edit(&mut batch.events.attributes, |event| is_selected(events.as_deref(), event))?;
    }
    if wants(RedactionScope::Link) {
        let links = owned_by(selection, &batch.links.starts);
        editor.edit(&mut batch.links.attributes, |link| is_selected(links.as_deref(), link))?;
    }
    if wants(RedactionScope::Resource) {
        let table = &mut batch.resources;
        if let Some(spans) = selection {
            let copies = divide(&mut batch.spans.resource, spans, &mut table.attributes, key);
            extend_copied(&mut table.dropped_attributes, &copies.of);
            editor.edit(&mut table.attributes, |row| row >= copies.first)?;
        } else {
            editor.edit(&mut table.attributes, |_| true)?;
        }
    }
    if wants(RedactionScope::Scope) {
        let table = &mut batch.scopes;
        if let Some(spans) = selection {
            let copies = divide(&mut batch.spans.scope, spans, &mut table.attributes, key);
            extend_copied(&mut table.dropped_attributes, &copies.of);
            extend_copied(&mut table.name, &copies.of);
            extend_copied(&mut table.version, &copies.of);
            editor.edit(&mut table.attributes, |row| row >= copies.first)?;
        } else {
            editor.edit(&mut table.attributes, |_| true)?;
        }
    }
    let Editor { strings, values, .. } = editor;
    batch.strings = strings.finish();
    Ok(values)
}

/// Longest time of a processor that the query of a rule may take for one batch: its job fails, and is tried again.
const MAX_CPU_TIME: Duration = Duration::from_secs(10);

/// True for each span that the rule applies to; `None` if it applies to all.
fn selected_spans(rule: &Redaction, batch: &SpanBatch) -> Result<Option<Vec<bool>>> {
    if rule.filter.is_none() && rule.range.is_none() {
        return Ok(None);
    }
    let mut spans = vec![rule.filter.is_none(); batch.len()];
    if let Some(filter) = &rule.filter {
        let invalid = |why: String| Error::Invalid(format!("redaction {:?}: {why}", rule.name));
        let run = || filter.find_matches(batch, Window::default());
        let found = Work::of_thread().within_cpu_time(MAX_CPU_TIME).run(run);
        let found = found.map_err(|over| invalid(over.to_string()))?;
        let matches = found.map_err(|error| invalid(error.to_string()))?;
        for set in matches.traces.iter().flat_map(|trace| &trace.span_sets) {
            set.rows.iter().for_each(|&row| spans[row as usize] = true);
        }
    }
    if let Some(range) = rule.range {
        for (selected, start) in spans.iter_mut().zip(batch.spans.start.iter()) {
            *selected &= (range.start..=range.end).contains(start);
        }
    }
    Ok(Some(spans))
}

fn is_selected(selection: Option<&[bool]>, owner: usize) -> bool {
    selection.is_none_or(|selection| selection[owner])
}

/// True for each event (or link) of a selected span.
fn owned_by(selection: Option<&[bool]>, starts: &[u32]) -> Option<Vec<bool>> {
    let selection = selection?;
    let mut items = Vec::with_capacity(starts.last().map_or(0, |&end| end as usize));
    for (pair, &selected) in starts.windows(2).zip(selection) {
        items.resize(pair[1] as usize, selected);
    }
    Some(items)
}

/// Rows that were added to a table for the selected spans.
struct Copies {
    first: usize,
    /// For each added row: the row that it copies.
    of: Vec<u32>,
}

/// Spans share rows of this table. If a shared row has the key, gives the selected spans a row of their own.
fn divide(
    rows: &mut Buffer<u32>,
    selected: &[bool],
    list: &mut AttributeList,
    key: StringCode,
) -> Copies {
    const UNKNOWN: u32 = u32::MAX;
    let mut copies = Copies { first: list.owners(), of: Vec::new() };
    let mut copy_of = vec![UNKNOWN; copies.first];
    for (row, _) in rows.make_mut().iter_mut().zip(selected).filter(|(_, selected)| **selected) {
        let copy = &mut copy_of[*row as usize];
        if *copy == UNKNOWN {
            *copy = *row;
            if list.find(*row as usize, key).is_some() {
                *copy = list.owners() as u32;
                copies.of.push(*row);
                list.range(*row as usize).for_each(|entry| list.push(list.at(entry)));
                list.end_owner();
            }
        }
        *row = *copy;
    }
    copies
}

fn extend_copied(column: &mut Buffer<u32>, of: &[u32]) {
    let column = column.make_mut();
    for &row in of {
        column.push(column[row as usize]);
    }
}

/// Edits the attributes with one key.
struct Editor<'a> {
    key: StringCode,
    action: &'a RedactionAction,
    strings: DictionaryBuilder,
    values: u64,
}

impl Editor<'_> {
    fn edit(&mut self, list: &mut AttributeList, wanted: impl Fn(usize) -> bool) -> Result<()> {
        if !list.keys.contains(&self.key) {
            return Ok(());
        }
        let mut edited = AttributeList::default();
        for owner in 0..list.owners() {
            let is_wanted = wanted(owner);
            for attribute in list.of(owner) {
                match is_wanted && attribute.key == self.key {
                    true => self.redact(attribute, &mut edited)?,
                    false => edited.push(attribute),
                }
            }
            edited.end_owner();
        }
        *list = edited;
        Ok(())
    }

    fn redact(&mut self, attribute: Attribute, edited: &mut AttributeList) -> Result<()> {
        let text = match self.action {
            RedactionAction::Remove => {
                self.values += 1;
                return Ok(());
            }
            RedactionAction::Replace(text) => text.clone(),
            RedactionAction::Hash if attribute.value_type == ValueType::Unset => {
                edited.push(attribute);
                return Ok(());
            }
            RedactionAction::Hash => {
                let value = attribute.value(self.strings.dictionary());
                let Some(hash) = hashed_text(&text_of_value(value)) else {
                    edited.push(attribute);
                    return Ok(());
                };
                hash
            }
        };
        let value = (attribute.value_type == ValueType::String)
            .then(|| self.strings.dictionary().get(attribute.payload as StringCode));
        if value == Some(text.as_bytes()) {
            edited.push(attribute);
            return Ok(());
        }
        self.values += 1;
        let code = self
            .strings
            .try_intern(text.as_bytes())
            .ok_or_else(|| Error::Invalid("too many strings for a row group".to_owned()))?;
        let payload = u64::from(code);
        edited.push(Attribute { value_type: ValueType::String, payload, ..attribute });
        Ok(())
    }
}
