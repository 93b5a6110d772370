//! Converts `tracing` spans to OTLP spans.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tactus_proto::otlp::{AnyValue, KeyValue, Span, Status, any_value::Value, span, status};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::context::{self, SpanContext};
use super::sampler::Sampler;
use crate::error_text;
use crate::metrics::Counter;

/// Log lines that a span takes along.
const MAX_EVENTS: usize = 32;
/// Longest text of an attribute, in bytes.
const MAX_TEXT: usize = 2048;

/// Records the spans of this program and hands them to the exporter.
#[derive(Debug)]
pub struct TraceLayer {
    sender: mpsc::Sender<Span>,
    dropped: Counter,
    sampler: Sampler,
}

/// Kept with each span of the subscriber. A trace that is not sampled has no span here.
struct Recording {
    context: SpanContext,
    span: Option<Box<Span>>,
}

impl TraceLayer {
    pub(super) fn new(sender: mpsc::Sender<Span>, dropped: Counter, sampler: Sampler) -> Self {
        Self { sender, dropped, sampler }
    }

    fn begin(&self, fields: Fields, parent: Option<SpanContext>, name: &str) -> Recording {
        let caller = fields.traceparent.as_deref().and_then(SpanContext::parse);
        let above = caller.or(parent);
        let mut context = above.map_or_else(SpanContext::root, |above| above.child());
        context.sampled = match (caller, parent) {
            (None, Some(parent)) => parent.sampled,
            (caller, _) => self.sampler.samples(&context, caller.as_ref(), fields.ingest),
        };
        let span = context.sampled.then(|| {
            let mut span = Box::new(Span {
                trace_id: Bytes::copy_from_slice(&context.trace_id),
                span_id: Bytes::copy_from_slice(&context.span_id),
                parent_span_id: above
                    .map(|above| Bytes::copy_from_slice(&above.span_id))
                    .unwrap_or_default(),
                name: Bytes::copy_from_slice(name.as_bytes()),
                kind: span::SpanKind::Internal as i32,
                start_time_unix_nano: now(),
                flags: 1,
                ..Span::default()
            });
            fields.apply(&mut span);
            span
        });
        Recording { context, span }
    }
}

impl<S> Layer<S> for TraceLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| {
            parent.extensions().get::<Recording>().map(|recording| recording.context)
        });
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let recording = self.begin(fields, parent, attributes.metadata().name());
        span.extensions_mut().insert(recording);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(Recording { span: Some(span), .. }) = extensions.get_mut() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            fields.apply(span);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        let mut extensions = span.extensions_mut();
        let Some(Recording { span: Some(span), .. }) = extensions.get_mut() else { return };
        if span.events.len() >= MAX_EVENTS {
            span.dropped_events_count += 1;
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if *event.metadata().level() == Level::ERROR && span.status.is_none() {
            span.status = Some(error_status(&fields.message));
        }
        span.events.push(span::Event {
            time_unix_nano: now(),
            name: fields.message.into(),
            attributes: fields.attributes,
            dropped_attributes_count: 0,
        });
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(recording) = span.extensions().get::<Recording>() {
            context::enter(id.into_u64(), recording.context);
        }
    }

    fn on_exit(&self, id: &Id, _context: Context<'_, S>) {
        context::exit(id.into_u64());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let recording = span.extensions_mut().remove::<Recording>();
        if let Some(Recording { span: Some(mut span), .. }) = recording {
            span.end_time_unix_nano = now().max(span.start_time_unix_nano);
            if self.sender.try_send(*span).is_err() {
                self.dropped.inc();
            }
        }
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn error_status(message: &str) -> Status {
    Status { message: message.to_owned().into(), code: status::StatusCode::Error as i32 }
}

/// Collects the fields of a span or an event.
#[derive(Default)]
struct Fields {
    attributes: Vec<KeyValue>,
    message: String,
    name: Option<String>,
    kind: Option<span::SpanKind>,
    error: bool,
    traceparent: Option<String>,
    ingest: bool,
}

impl Fields {
    fn apply(self, span: &mut Span) {
        for attribute in self.attributes {
            match span.attributes.iter_mut().find(|known| known.key == attribute.key) {
                Some(known) => *known = attribute,
                None => span.attributes.push(attribute),
            }
        }
        if let Some(name) = self.name {
            span.name = name.into();
        }
        if let Some(kind) = self.kind {
            span.kind = kind as i32;
        }
        if self.error {
            span.status = Some(error_status(""));
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        self.attributes.push(KeyValue {
            key: Bytes::from_static(field.name().as_bytes()),
            value: Some(AnyValue { value: Some(value) }),
        });
    }

    fn text(&mut self, field: &Field, mut text: String) {
        let end = text.floor_char_boundary(MAX_TEXT);
        text.truncate(end);
        match field.name() {
            "message" => self.message = text,
            "otel.name" => self.name = Some(text),
            "otel.status_code" => self.error = text == "ERROR",
            "traceparent" => self.traceparent = Some(text),
            "otel.kind" => {
                self.kind = match text.as_str() {
                    "server" => Some(span::SpanKind::Server),
                    "client" => Some(span::SpanKind::Client),
                    "producer" => Some(span::SpanKind::Producer),
                    "consumer" => Some(span::SpanKind::Consumer),
                    _ => None,
                }
            }
            _ => self.put(field, Value::StringValue(text.into())),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "ingest" => self.ingest = value,
            _ => self.put(field, Value::BoolValue(value)),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::DoubleValue(value));
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.text(field, error_text(error));
    }
}
