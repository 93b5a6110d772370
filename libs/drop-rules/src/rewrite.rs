//! Rewrites a request without some of its spans, and with others changed.

use std::ops::Range;

use bytes::Bytes;
use tactus_model::wire::{FieldValue, WireError, put_message_field};

use super::attributes::{Edit, Owner, concerns, edit_owner, edit_span, for_each_field};

/// The fields of a ResourceSpans message that hold spans. Old senders use the second one.
const SPAN_LISTS: [u32; 2] = [2, 1000];

/// How the spans of a request are handled.
pub(super) struct Changes<'a> {
    /// Where each span ends, ascending.
    ends: &'a [usize],
    is_dropped: Vec<bool>,
    dropped: u64,
    edits: Vec<Edit<'a>>,
    /// The indices of the edits of each span; empty if there are no edits at all.
    edits_of: Vec<Vec<u16>>,
}

impl<'a> Changes<'a> {
    /// No changes yet; `ends`: where each span ends.
    pub(super) fn none(ends: &'a [usize]) -> Self {
        let is_dropped = vec![false; ends.len()];
        Self { ends, is_dropped, dropped: 0, edits: Vec::new(), edits_of: Vec::new() }
    }

    /// Drops a span; false if it is dropped already.
    pub(super) fn drop_span(&mut self, span: u32) -> bool {
        let is_new = !std::mem::replace(&mut self.is_dropped[span as usize], true);
        self.dropped += u64::from(is_new);
        is_new
    }

    pub(super) fn is_dropped(&self, span: u32) -> bool {
        self.is_dropped[span as usize]
    }

    /// Spans dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Edits attributes of spans that are not dropped, and of their resources.
    pub(super) fn edit(&mut self, edit: Edit<'a>, spans: Vec<u32>) {
        let Ok(number) = u16::try_from(self.edits.len()) else { return };
        if spans.is_empty() {
            return;
        }
        self.edits.push(edit);
        self.edits_of.resize(self.ends.len(), Vec::new());
        for span in spans {
            self.edits_of[span as usize].push(number);
        }
    }

    fn is_empty(&self) -> bool {
        self.dropped == 0 && self.edits.is_empty()
    }

    fn is_touched(&self, span: usize) -> bool {
        self.is_dropped[span] || self.edits_of.get(span).is_some_and(|edits| !edits.is_empty())
    }

    /// The spans that lie in a part of the request.
    fn spans_in(&self, part: &Range<usize>) -> Range<usize> {
        let first = self.ends.partition_point(|&end| end <= part.start);
        first..self.ends.partition_point(|&end| end <= part.end)
    }

    fn edits_of(&self, spans: Range<usize>) -> Vec<Edit<'a>> {
        let Some(edits_of) = self.edits_of.get(spans) else { return Vec::new() };
        let mut numbers = edits_of.concat();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| self.edits[usize::from(number)]).collect()
    }
}

/// The request with the changes; the same bytes if there are none.
pub(super) fn rewrite(request: &Bytes, changes: &Changes<'_>) -> Result<Bytes, WireError> {
    if changes.is_empty() {
        return Ok(request.clone());
    }
    let writer = Writer { request, changes };
    let mut out = Vec::with_capacity(request.len());
    for_each_field(request, |field, value, raw| {
        match value {
            FieldValue::Bytes(message) if field == 1 && writer.is_touched(message) => {
                if let Some(message) = writer.resource_spans(message)? {
                    put_message_field(&mut out, 1, &message);
                }
            }
            _ => out.extend_from_slice(raw),
        }
        Ok(())
    })?;
    Ok(out.into())
}

struct Writer<'a> {
    request: &'a Bytes,
    changes: &'a Changes<'a>,
}

impl Writer<'_> {
    /// The spans in a message of the request.
    fn spans_in(&self, message: &[u8]) -> Range<usize> {
        let start = (message.as_ptr() as usize).saturating_sub(self.request.as_ptr() as usize);
        self.changes.spans_in(&(start..start + message.len()))
    }

    fn is_touched(&self, message: &[u8]) -> bool {
        self.spans_in(message).any(|span| self.changes.is_touched(span))
    }

    fn has_spans_left(&self, message: &[u8]) -> bool {
        self.spans_in(message).any(|span| !self.changes.is_dropped[span])
    }

    /// `None` if no span is left.
    fn resource_spans(&self, message: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        if !self.has_spans_left(message) {
            return Ok(None);
        }
        let edits = self.changes.edits_of(self.spans_in(message));
        let is_edited = concerns(&edits, Owner::Resource);
        let mut out = Vec::with_capacity(message.len());
        for_each_field(message, |field, value, raw| {
            match value {
                FieldValue::Bytes(resource) if field == 1 && is_edited => {
                    let resource = edit_owner(resource, 1, Owner::Resource, &edits)?;
                    put_message_field(&mut out, 1, &resource);
                }
                FieldValue::Bytes(list) if SPAN_LISTS.contains(&field) && self.is_touched(list) => {
                    if self.has_spans_left(list) {
                        put_message_field(&mut out, field, &self.scope_spans(list)?);
                    }
                }
                _ => out.extend_from_slice(raw),
            }
            Ok(())
        })?;
        Ok(Some(out))
    }

    fn scope_spans(&self, message: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(message.len());
        for_each_field(message, |field, value, raw| {
            match value {
                FieldValue::Bytes(span) if field == 2 => self.span(&mut out, span, raw)?,
                _ => out.extend_from_slice(raw),
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn span(&self, out: &mut Vec<u8>, message: &[u8], raw: &[u8]) -> Result<(), WireError> {
        // The position of an empty message tells nothing, so the whole field with its tag is looked up.
        let spans = self.spans_in(raw);
        if spans.clone().any(|span| self.changes.is_dropped[span]) {
            return Ok(());
        }
        let edits = self.changes.edits_of(spans);
        if edits.is_empty() {
            out.extend_from_slice(raw);
        } else {
            put_message_field(out, 2, &edit_span(message, &edits)?);
        }
        Ok(())
    }
}
