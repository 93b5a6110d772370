//! The skeleton of a trace: all its spans in columns, without attributes. It has a tenth of the bytes of the trace, and
//! is read without copying.
//!
//! ```text
//! u32 length of the header, header (JSON), zeros up to a multiple of 8, columns
//! ```
//!
//! Columns are little-endian, with one value for each row. The header says where each begins, counted from the end of
//! the zeros.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde_json::json;
use tactus_api::trace::{CombinedTrace, TraceFacts, service_name};
use tactus_model::TraceId;
use tactus_model::wire::WireError;
use tactus_proto::lossy;

use super::layout::{Layout, SpanHead};

/// All columns of a row, and a little more.
const BYTES_A_ROW: usize = 42;

/// A trace ready to be written.
pub(super) struct Skeleton {
    spans: Vec<SpanHead>,
    /// Index into `services`, by span.
    service_of: Vec<u32>,
    services: Vec<String>,
    names: Vec<String>,
    layout: Layout,
}

/// What a row shows.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) span: &'a SpanHead,
    pub(super) service: &'a str,
    /// Its number among the services of the trace.
    pub(super) service_number: u32,
    /// Of the number that the span says.
    pub(super) name: &'a str,
    /// Row of the parent, or [`NO_PARENT`](super::layout::NO_PARENT).
    pub(super) parent: u32,
}

impl Skeleton {
    /// Errors: a message that is none.
    pub(super) fn of(trace: &CombinedTrace) -> Result<Self, WireError> {
        let count = trace.spans();
        let (mut spans, mut service_of) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut services, mut names) = (Names::default(), Names::default());
        for (resource, messages) in trace.spans_by_resource() {
            let service = services.number(service_name(resource)?);
            for message in messages {
                let (head, name) = SpanHead::read(message)?;
                spans.push(SpanHead { name: names.number(name), ..head });
                service_of.push(service);
            }
        }
        let layout = Layout::of(&spans);
        Ok(Self { spans, service_of, services: services.texts(), names: names.texts(), layout })
    }

    /// Which span each row shows, in the order of the trace.
    pub(super) fn order(&self) -> &[u32] {
        &self.layout.order
    }

    /// The rows from top to bottom.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.layout.order.iter().zip(&self.layout.parents).map(|(&span, &parent)| {
            let service_number = self.service_of[span as usize];
            let service = &self.services[service_number as usize];
            let span = &self.spans[span as usize];
            Row { span, service, service_number, name: &self.names[span.name as usize], parent }
        })
    }

    /// The whole answer.
    pub(super) fn encode(&self, id: TraceId, facts: &TraceFacts) -> Vec<u8> {
        let begin = self.spans.iter().map(|span| span.start).min().unwrap_or_default();
        let order = &self.layout.order;
        let rows = || order.iter().map(|&span| &self.spans[span as usize]);
        let mut columns = Columns::with_capacity(order.len() * BYTES_A_ROW);
        // Exact up to 104 days after the first span.
        columns.add("start", "f64", rows().map(|span| ((span.start - begin) as f64).to_le_bytes()));
        let duration = |span: &SpanHead| i128::from(span.end) - i128::from(span.start);
        columns.add("duration", "f64", rows().map(|span| (duration(span) as f64).to_le_bytes()));
        columns.add("id", "u64", rows().map(|span| span.id.0));
        let parents = self.layout.parents.iter();
        columns.add("parent", "i32", parents.map(|&row| (row as i32).to_le_bytes()));
        columns.add("name", "u32", rows().map(|span| span.name.to_le_bytes()));
        let services = order.iter().map(|&span| self.service_of[span as usize]);
        columns.add("service", "u32", services.map(u32::to_le_bytes));
        columns.add("events", "u16", rows().map(|span| span.events.to_le_bytes()));
        columns.add("links", "u16", rows().map(|span| span.links.to_le_bytes()));
        columns.add("flags", "u8", rows().map(|span| [span.kind | span.status << 3]));
        let header = json!({
            "traceId": id.to_hex(),
            "start": begin.to_string(),
            "spans": self.spans.len(),
            "services": self.services,
            "names": self.names,
            "columns": columns.index,
            "partial": facts.partial,
            "message": facts.message,
            "missingParents": self.layout.missing_parents,
        });
        let header = header.to_string().into_bytes();
        let mut body = Vec::with_capacity(header.len() + columns.bytes.len() + 16);
        body.extend((header.len() as u32).to_le_bytes());
        body.extend(header);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(columns.bytes);
        body
    }
}

/// Texts by number, each once.
#[derive(Default)]
struct Names<'a> {
    names: Vec<&'a [u8]>,
    numbers: HashMap<&'a [u8], u32, RandomState>,
}

impl<'a> Names<'a> {
    fn number(&mut self, name: &'a [u8]) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.names.push(name);
        }
        number
    }

    fn texts(&self) -> Vec<String> {
        self.names.iter().map(|name| lossy(name).into_owned()).collect()
    }
}

/// Columns one after the other, each from a multiple of 8.
#[derive(Default)]
struct Columns {
    index: Vec<serde_json::Value>,
    bytes: Vec<u8>,
}

impl Columns {
    fn with_capacity(bytes: usize) -> Self {
        Self { index: Vec::new(), bytes: Vec::with_capacity(bytes) }
    }

    fn add<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        values: impl Iterator<Item = [u8; N]>,
    ) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.index.push(json!({ "name": name, "type": kind, "offset": self.bytes.len() }));
        values.for_each(|value| self.bytes.extend_from_slice(&value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn columns_begin_at_multiples_of_eight() {
        let mut columns = Columns::default();
        columns.add("a", "u8", [[1], [2], [3]].into_iter());
        columns.add("b", "u16", [7u16.to_le_bytes()].into_iter());
        assert_eq!(columns.bytes, [1, 2, 3, 0, 0, 0, 0, 0, 7, 0]);
        assert_eq!(columns.index[1]["offset"], 8);
    }
}
