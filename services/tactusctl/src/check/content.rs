//! What a trace holds: a function of seed, tenant and time slot, so that any process knows what must be there.
//!
//! Time is cut into slots of the write interval, counted from 1970. A change of anything that follows from a slot needs
//! another [`VERSION`]: it is in every trace, and traces of other versions are not looked for.

use std::time::Duration;

use bytes::Bytes;
use tactus_model::TraceId;
use tactus_proto::otlp::{
    AnyValue, ArrayValue, ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource,
    ResourceSpans, ScopeSpans, Span, Status, any_value::Value, span, status::StatusCode,
};

use super::random::{Random, key};

const VERSION: u32 = 1;

/// Services of a trace; the root span is of the first.
pub(crate) const SERVICES: [&str; 4] =
    ["tactus-check-frontend", "tactus-check-cart", "tactus-check-stock", "tactus-check-ledger"];
/// Name of the root span.
pub(crate) const ROOT_NAME: &str = "GET /checkout";
/// Attribute of the root span: which traces the server had acknowledged before. Not derived from the slot.
pub(crate) const WRITTEN: &str = "check.written";
/// Resource attribute that all traces of a checker have, and those of no other.
pub(crate) const ORIGIN: &str = "check.origin";

/// Random numbers of a slot that its ids take.
const NUMBERS_OF_IDENTITY: u64 = 3;
/// Parents above a span at most.
const MAX_DEPTH: u32 = 5;
/// A trace is over when its slot begins.
const LONGEST_NANOS: u64 = 2_000_000_000;
const OPERATIONS: [&str; 6] =
    ["reserve", "price", "SELECT items", "publish", "render", "Größe prüfen ☂"];

/// What slots become.
#[derive(Debug, Clone)]
pub(crate) struct Derivation {
    origin: String,
    key: u64,
    interval: Duration,
}

/// A span with the service that it is of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServiceSpan {
    /// Index into [`SERVICES`].
    pub(crate) service: usize,
    pub(crate) span: Span,
    /// Sent in a second request, later.
    pub(crate) late: bool,
    /// Value of `check.ratio`.
    pub(crate) ratio: f64,
}

/// A trace as it must be.
#[derive(Debug, Clone)]
pub(crate) struct CheckTrace {
    pub(crate) id: TraceId,
    /// `check.key` of all its spans, and of no other.
    pub(crate) key: String,
    pub(crate) start_unix_nanos: u64,
    /// It may come in two parts, which may lie in different blocks.
    pub(crate) is_divided: bool,
    /// The root first, parents before children.
    pub(crate) spans: Vec<ServiceSpan>,
    resources: Vec<Resource>,
}

impl Derivation {
    /// `seed` tells checkers apart; the interval is at least a millisecond.
    pub(crate) fn new(seed: &str, tenant: Option<&str>, interval: Duration) -> Self {
        let origin = format!("{VERSION}/{}/{seed}", interval.as_millis());
        // Checkers of several tenants write other traces: one that is shown to another tenant is noticed.
        let key = key(&format!("{origin}/{}", tenant.unwrap_or_default()));
        Self { origin, key, interval }
    }

    /// `check.origin`: letters, digits, `-`, `.`, `_` and `/`.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The slot of a time since 1970.
    pub(crate) fn slot(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.interval.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The beginning of a slot, since 1970.
    pub(crate) fn time(&self, slot: u64) -> Duration {
        let nanos = u128::from(slot) * self.interval.as_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Every fourth trace comes in two parts.
    pub(crate) fn is_divided(slot: u64) -> bool {
        slot.is_multiple_of(4)
    }

    /// The trace of a slot.
    pub(crate) fn trace(&self, slot: u64) -> CheckTrace {
        let (id, root) = self.identity(slot);
        let mut random = Random::new(self.key, slot);
        random.skip(NUMBERS_OF_IDENTITY);
        let start = (self.time(slot).as_nanos() as u64).saturating_sub(LONGEST_NANOS);
        let duration = LONGEST_NANOS / 10 + random.below(LONGEST_NANOS * 9 / 10);
        let count = 5 + random.below(12) as usize;
        let mut maker = Maker { slot, key: format!("{}/{slot}", self.origin), id, random };
        let mut spans =
            vec![maker.root(root, start, duration, self.identity(slot.wrapping_sub(1)))];
        let mut depths = vec![0];
        for index in 1..count {
            let parent = maker.random.below(index as u64) as usize;
            let parent = if depths[parent] < MAX_DEPTH { parent } else { 0 };
            let mut child = maker.child(index, &spans[parent]);
            child.late = Self::is_divided(slot) && index >= count / 2;
            depths.push(depths[parent] + 1);
            spans.push(child);
        }
        let resources = SERVICES.map(|service| self.resource(service)).to_vec();
        let is_divided = Self::is_divided(slot);
        CheckTrace { id, key: maker.key, start_unix_nanos: start, is_divided, spans, resources }
    }

    /// Trace id, and span id of the root.
    fn identity(&self, slot: u64) -> (TraceId, Bytes) {
        let mut random = Random::new(self.key, slot);
        let (high, low) = (random.next().max(1), random.next());
        let id = TraceId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes());
        (id, span_id(&mut random))
    }

    fn resource(&self, service: &str) -> Resource {
        let attributes = vec![
            string("service.name", service),
            string("service.version", "1.0"),
            string(ORIGIN, &self.origin),
            string("host.name", &format!("{service}-0")),
        ];
        Resource { attributes, ..Resource::default() }
    }
}

impl CheckTrace {
    pub(crate) fn resource(&self, service: usize) -> &Resource {
        &self.resources[service]
    }

    /// Milliseconds from the first start to the last end, rounded down.
    pub(crate) fn duration_ms(&self) -> u64 {
        let end = self.spans.iter().map(|span| span.span.end_time_unix_nano).max();
        (end.unwrap_or(self.start_unix_nanos) - self.start_unix_nanos) / 1_000_000
    }

    /// The search by TraceQL asks for spans other than the root with at least this `check.ratio`; there is one.
    pub(crate) fn searched_ratio(&self) -> f64 {
        self.spans.last().map_or(0.0, |span| span.ratio)
    }

    /// One of the two parts; the first is all if the trace is not divided, or if `whole`.
    ///
    /// `written` goes into the root span.
    pub(crate) fn request(
        &self,
        late: bool,
        whole: bool,
        written: &str,
    ) -> ExportTraceServiceRequest {
        let mut resource_spans = Vec::new();
        for service in 0..SERVICES.len() {
            let of_service =
                self.spans.iter().enumerate().filter(|(_, span)| span.service == service);
            let spans: Vec<Span> = of_service
                .filter(|(_, span)| (whole && !late) || span.late == late)
                .map(|(index, span)| {
                    let mut span = span.span.clone();
                    if index == 0 {
                        span.attributes.push(string(WRITTEN, written));
                    }
                    span
                })
                .collect();
            if spans.is_empty() {
                continue;
            }
            let scope_spans =
                vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
            resource_spans.push(ResourceSpans {
                resource: Some(self.resources[service].clone()),
                scope_spans,
                ..ResourceSpans::default()
            });
        }
        ExportTraceServiceRequest { resource_spans }
    }
}

/// The instrumentation scope of all spans.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: Bytes::from_static(b"tactusctl check"),
        version: Bytes::from(VERSION.to_string()),
        ..InstrumentationScope::default()
    }
}

/// Makes the spans of a trace, in order.
struct Maker {
    slot: u64,
    key: String,
    id: TraceId,
    random: Random,
}

impl Maker {
    fn root(
        &mut self,
        span_id: Bytes,
        start: u64,
        duration: u64,
        (linked, linked_span): (TraceId, Bytes),
    ) -> ServiceSpan {
        let link = span::Link {
            trace_id: Bytes::copy_from_slice(&linked.0),
            span_id: linked_span,
            attributes: vec![string("check.link", "the trace before")],
            ..span::Link::default()
        };
        let mut made = self.span(0, 0, span_id, (start, duration));
        made.span.name = Bytes::from_static(ROOT_NAME.as_bytes());
        made.span.kind = span::SpanKind::Server.into();
        made.span.trace_state = Bytes::from_static(b"check=1");
        made.span.links = vec![link];
        made
    }

    fn child(&mut self, index: usize, parent: &ServiceSpan) -> ServiceSpan {
        let parent_duration = parent.span.end_time_unix_nano - parent.span.start_time_unix_nano;
        let offset = self.random.below(parent_duration / 2);
        let duration = self.random.below(parent_duration - offset);
        let service = (parent.service + self.random.below(2) as usize).min(SERVICES.len() - 1);
        let id = span_id(&mut self.random);
        let start = parent.span.start_time_unix_nano + offset;
        let mut made = self.span(index, service, id, (start, duration));
        let operation = OPERATIONS[self.random.below(OPERATIONS.len() as u64) as usize];
        made.span.name = Bytes::from_static(operation.as_bytes());
        made.span.parent_span_id = parent.span.span_id.clone();
        let kinds = match service == parent.service {
            true => [span::SpanKind::Internal, span::SpanKind::Client, span::SpanKind::Producer],
            false => [span::SpanKind::Server, span::SpanKind::Server, span::SpanKind::Consumer],
        };
        made.span.kind = kinds[self.random.below(3) as usize].into();
        made
    }

    fn span(&mut self, index: usize, service: usize, id: Bytes, times: (u64, u64)) -> ServiceSpan {
        let (start, duration) = times;
        let code = [200, 200, 404, 500][self.random.below(4) as usize];
        // A fraction that every encoding carries exactly.
        let ratio = self.random.below(1000) as f64 / 8.0;
        let mut attributes = vec![
            string("check.key", &self.key),
            attribute("check.slot", Value::IntValue(self.slot as i64)),
            attribute("check.index", Value::IntValue(index as i64)),
            attribute("check.ratio", Value::DoubleValue(ratio)),
            attribute("check.even", Value::BoolValue(index.is_multiple_of(2))),
            attribute("http.response.status_code", Value::IntValue(code)),
        ];
        if self.random.below(3) == 0 {
            let values =
                ["a", "ß", ""].map(|text| AnyValue { value: Some(text_value(text)) }).to_vec();
            attributes.push(attribute("check.list", Value::ArrayValue(ArrayValue { values })));
        }
        let status = match code {
            500 => Status {
                code: StatusCode::Error.into(),
                message: Bytes::from_static(b"out of stock"),
            },
            404 => Status::default(),
            _ => Status { code: StatusCode::Ok.into(), message: Bytes::new() },
        };
        let mut events = Vec::new();
        for number in 0..self.random.below(3) {
            events.push(span::Event {
                time_unix_nano: start + duration / 3 * number,
                name: Bytes::from_static(if number == 0 { b"cache miss" } else { b"retry" }),
                attributes: vec![attribute("check.event", Value::IntValue(number as i64))],
                ..span::Event::default()
            });
        }
        let span = Span {
            trace_id: Bytes::copy_from_slice(&self.id.0),
            span_id: id,
            start_time_unix_nano: start,
            end_time_unix_nano: start + duration,
            attributes,
            events,
            status: Some(status),
            ..Span::default()
        };
        ServiceSpan { service, span, late: false, ratio }
    }
}

/// A span id that is not "none".
fn span_id(random: &mut Random) -> Bytes {
    Bytes::copy_from_slice(&random.next().max(1).to_be_bytes())
}

fn text_value(text: &str) -> Value {
    Value::StringValue(Bytes::copy_from_slice(text.as_bytes()))
}

fn string(key: &str, value: &str) -> KeyValue {
    attribute(key, text_value(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(AnyValue { value: Some(value) }),
    }
}

#[cfg(test)]
mod tests;
