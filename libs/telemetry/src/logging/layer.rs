//! Turns `tracing` events into lines.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::{self, Debug};
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::format::{Fields, Value, caller, line, timestamp};
use super::{LogFormat, RateLimit, is_ours};
use crate::error_text;

/// Writes events as lines through `write`: all of ours, and of each call site in other crates as many as a [`RateLimit`] admits,
/// because some of those log a line for what any client may send, as the resets of HTTP/2 streams.
pub(super) struct LineLayer<W> {
    format: LogFormat,
    write: W,
    /// By call site, which are as many as the program has.
    others: Mutex<HashMap<Identifier, RateLimit>>,
}

impl<W> LineLayer<W> {
    pub(super) fn new(format: LogFormat, write: W) -> Self {
        Self { format, write, others: Mutex::default() }
    }
}

/// The fields of a span, kept with it.
struct SpanFields(Fields);

impl<S, W> Layer<S> for LineLayer<W>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = FieldVisitor::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(SpanFields(fields)) = extensions.get_mut() {
            let mut visitor = FieldVisitor { fields: std::mem::take(fields) };
            values.record(&mut visitor);
            *fields = visitor.fields;
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let suppressed = if is_ours(metadata) {
            None
        } else {
            let mut others = self.others.lock();
            match others.entry(metadata.callsite()).or_default().admit() {
                Some(suppressed) => suppressed,
                None => return,
            }
        };
        let mut visitor = FieldVisitor::default();
        visitor.text("level", level_name(*metadata.level()));
        visitor.text("ts", timestamp(SystemTime::now()));
        let place = caller(metadata.file().unwrap_or("unknown"), metadata.line().unwrap_or(0));
        visitor.text("caller", place);
        visitor.text("msg", "");
        event.record(&mut visitor);
        if let Some(lines) = suppressed {
            visitor.bare("suppressed", lines);
        }
        let mut fields = visitor.fields;
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(outer)) = span.extensions().get() {
                let shadowed = |key| fields.iter().any(|(known, _)| *known == key);
                let visible: Fields =
                    outer.iter().filter(|(key, _)| !shadowed(*key)).cloned().collect();
                fields.extend(visible);
            }
        }
        (self.write)(&line(self.format, &fields));
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}

/// Most bytes of an error's text: what a client sent may be in it.
const MAX_ERROR_BYTES: usize = 1 << 10;

/// Most bytes of any other text, as a query.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// Cuts a text at a character, and says so.
fn cut(key: &str, mut text: String) -> String {
    const NOTE: &str = "… (cut)";
    let limit = if matches!(key, "error" | "reason") { MAX_ERROR_BYTES } else { MAX_TEXT_BYTES };
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - NOTE.len()));
        text.push_str(NOTE);
    }
    text
}

/// Collects fields; a key recorded again replaces its value in place.
#[derive(Default)]
struct FieldVisitor {
    fields: Fields,
}

impl FieldVisitor {
    fn put(&mut self, key: &'static str, value: Value) {
        let key = if key == "message" { "msg" } else { key };
        match self.fields.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.fields.push((key, value)),
        }
    }

    fn text(&mut self, key: &'static str, text: impl Into<String>) {
        self.put(key, Value::Text(cut(key, text.into())));
    }

    fn bare(&mut self, key: &'static str, value: impl fmt::Display) {
        self.put(key, Value::Bare(value.to_string()));
    }
}

impl Visit for FieldVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field.name(), value);
        } else {
            // JSON has no spelling for it.
            self.text(field.name(), value.to_string());
        }
    }

    /// An error with its sources, since our errors leave those out of their own text.
    fn record_error(&mut self, field: &Field, error: &(dyn Error + 'static)) {
        self.text(field.name(), error_text(error));
    }
}
