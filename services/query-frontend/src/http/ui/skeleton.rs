//! All spans of a trace in columns, without attributes: a tenth of the bytes of the trace, read without copying.
//!
//! ```text
//! u32 length of the header, header (JSON), zeros up to a multiple of 8, columns
//! ```
//!
//! Columns are little-endian, one value a row; the header says where each begins, from the end of the zeros.

use std::collections::HashMap;

use bytes::Bytes;
use prost::{DecodeError, Message as _};
use serde_json::json;
use tactus_api::trace::{CombinedTrace, TraceFacts};
use tactus_model::TraceId;
use tactus_proto::lossy;
use tactus_proto::otlp::Resource;
use tactus_proto::otlp::any_value::Value;

use super::layout::{Layout, SpanHead};

/// A trace ready to be written.
pub(super) struct Skeleton {
    spans: Vec<SpanHead>,
    /// Index into `services`, by span.
    service_of: Vec<u32>,
    services: Vec<String>,
    layout: Layout,
    detail_bytes: usize,
}

impl Skeleton {
    /// Errors: a message that is none.
    pub(super) fn of(trace: &CombinedTrace) -> Result<Self, DecodeError> {
        let (mut spans, mut service_of) = (Vec::new(), Vec::new());
        let mut services = Names::default();
        for (resource, messages) in trace.spans_by_resource() {
            let service = services.number(&service_name(resource)?);
            for message in messages {
                spans.push(SpanHead::decode(message.clone())?);
                service_of.push(service);
            }
        }
        let layout = Layout::of(&spans);
        let services = services.names;
        Ok(Self { spans, service_of, services, layout, detail_bytes: trace.bytes() })
    }

    /// Which span each row shows, in the order of the trace.
    pub(super) fn order(&self) -> &[u32] {
        &self.layout.order
    }

    /// Of each row its span, its service and the row of its parent, or [`NO_PARENT`](super::layout::NO_PARENT).
    pub(super) fn rows(&self) -> impl Iterator<Item = (&SpanHead, &str, u32)> {
        self.layout.order.iter().zip(&self.layout.parents).map(|(&span, &parent)| {
            let service = self.service_of[span as usize] as usize;
            (&self.spans[span as usize], self.services[service].as_str(), parent)
        })
    }

    /// The whole answer.
    pub(super) fn encode(&self, id: TraceId, facts: &TraceFacts) -> Vec<u8> {
        let begin = self.spans.iter().map(|span| span.start).min().unwrap_or_default();
        let mut names = Names::default();
        let rows = || {
            let spans = self.layout.order.iter().map(|&span| span as usize);
            spans.map(|span| (&self.spans[span], self.service_of[span]))
        };
        let name_of: Vec<u32> = rows().map(|(span, _)| names.number(&lossy(&span.name))).collect();
        let mut columns = Columns::default();
        // Exact up to 104 days after the first span.
        columns.add(
            "start",
            "f64",
            rows().map(|(span, _)| ((span.start - begin) as f64).to_le_bytes()),
        );
        let duration = |span: &SpanHead| i128::from(span.end) - i128::from(span.start);
        columns.add(
            "duration",
            "f64",
            rows().map(|(span, _)| (duration(span) as f64).to_le_bytes()),
        );
        columns.add("id", "u64", rows().map(|(span, _)| span.id().0));
        columns.add(
            "parent",
            "i32",
            self.layout.parents.iter().map(|&row| (row as i32).to_le_bytes()),
        );
        columns.add("name", "u32", name_of.iter().map(|name| name.to_le_bytes()));
        columns.add("service", "u32", rows().map(|(_, service)| service.to_le_bytes()));
        columns.add("events", "u16", rows().map(|(span, _)| count(&span.events).to_le_bytes()));
        columns.add("links", "u16", rows().map(|(span, _)| count(&span.links).to_le_bytes()));
        columns.add("flags", "u8", rows().map(|(span, _)| [flags(span)]));
        let header = json!({
            "traceId": id.to_hex(),
            "start": begin.to_string(),
            "spans": self.spans.len(),
            "services": self.services,
            "names": names.names,
            "columns": columns.index,
            "detailBytes": self.detail_bytes,
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

/// Kind in the low three bits, then two of the status.
fn flags(span: &SpanHead) -> u8 {
    let kind = u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or_default();
    let status = span.status.map_or(0, |status| status.code);
    kind | u8::try_from(status).ok().filter(|status| *status <= 2).unwrap_or_default() << 3
}

fn count(list: &[Bytes]) -> u16 {
    u16::try_from(list.len()).unwrap_or(u16::MAX)
}

fn service_name(resource: &Bytes) -> Result<String, DecodeError> {
    let resource = Resource::decode(resource.clone())?;
    let name =
        resource.attributes.into_iter().find(|attribute| &attribute.key[..] == b"service.name");
    Ok(match name.and_then(|attribute| attribute.value).and_then(|value| value.value) {
        Some(Value::StringValue(name)) => lossy(&name).into_owned(),
        _ => String::new(),
    })
}

/// Texts by number, each once.
#[derive(Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// Columns one after the other, each from a multiple of 8.
#[derive(Default)]
struct Columns {
    index: Vec<serde_json::Value>,
    bytes: Vec<u8>,
}

impl Columns {
    fn add<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        values: impl Iterator<Item = [u8; N]>,
    ) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.index.push(json!({ "name": name, "type": kind, "offset": self.bytes.len() }));
        self.bytes.extend(values.flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_unknown_codes_are_none() {
        let span = |kind, code| SpanHead {
            kind,
            status: Some(super::super::layout::StatusHead { code }),
            ..SpanHead::default()
        };
        assert_eq!(flags(&span(3, 2)), 0b10_011);
        assert_eq!(flags(&span(-1, 77)), 0);
    }

    #[test]
    fn columns_begin_at_multiples_of_eight() {
        let mut columns = Columns::default();
        columns.add("a", "u8", [[1], [2], [3]].into_iter());
        columns.add("b", "u16", [7u16.to_le_bytes()].into_iter());
        assert_eq!(columns.bytes, [1, 2, 3, 0, 0, 0, 0, 0, 7, 0]);
        assert_eq!(columns.index[1]["offset"], 8);
    }
}
