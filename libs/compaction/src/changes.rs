//! What a rewrite changes besides putting traces together.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tactus_model::TraceId;
use tactus_traceql::eval::CompiledQuery;

pub(crate) mod redact;
pub(crate) mod retention;
#[cfg(test)]
mod tests;

/// What to leave out and what to replace. The default changes nothing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Leave out traces that are too old.
    pub retention: Option<RetentionClasses>,
    /// Leave out these traces.
    pub remove: RemoveTraces,
    /// Replace or remove attribute values; done in order, after traces are complete.
    pub redact: Vec<Redaction>,
}

/// The traces to delete.
pub type RemoveTraces = HashSet<TraceId>;

/// How long traces are kept, by what they hold.
///
/// The first class whose query matches a trace decides, else `keep`. A trace is out of date if its end plus the time
/// it is kept lies before `now`. A trace is judged by the spans that the rewritten blocks have of it.
#[derive(Debug)]
pub struct RetentionClasses {
    /// Classes, the most important first.
    pub classes: Vec<RetentionClass>,
    /// For traces of no class; `None` keeps them for ever.
    pub keep: Option<Duration>,
    /// Unix nanoseconds.
    pub now: u64,
    /// Times of the blocks, start and end, unix nanoseconds. A trace that ends outside counts as ending there: block
    /// times are near the time of arrival, and a sender with a wrong clock must not lose its spans at once.
    pub within: (u64, u64),
}

/// Traces that are kept alike.
pub struct RetentionClass {
    /// Its name or query as text: tells it from others in [`crate::fingerprint`].
    pub name: String,
    /// A trace belongs to the class if the query has a match in it.
    pub query: CompiledQuery,
    /// `None` keeps them for ever.
    pub keep: Option<Duration>,
}

impl fmt::Debug for RetentionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetentionClass")
            .field("name", &self.name)
            .field("keep", &self.keep)
            .finish()
    }
}

/// Attribute values to remove or replace.
pub struct Redaction {
    /// Its name or rule as text: tells it from others in [`crate::fingerprint`].
    pub name: String,
    /// Whose attributes.
    pub scope: RedactionScope,
    /// Key of the attribute, exact.
    pub key: Vec<u8>,
    /// What becomes of the value, whatever its type.
    pub action: RedactionAction,
    /// Only on spans that match, with their resource, scope, events and links; `None` for all spans.
    pub filter: Option<CompiledQuery>,
    /// Only on spans that start in it; `None` for all times.
    pub range: Option<TimeRange>,
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("name", &self.name)
            .field("scope", &self.scope)
            .field("key", &String::from_utf8_lossy(&self.key))
            .field("action", &self.action)
            .field("range", &self.range)
            .finish()
    }
}

/// The owners of attributes that a [`Redaction`] looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedactionScope {
    /// All of them.
    #[default]
    Any,
    /// Resources.
    Resource,
    /// Instrumentation scopes.
    Scope,
    /// Spans.
    Span,
    /// Events.
    Event,
    /// Links.
    Link,
}

/// What a [`Redaction`] does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedactionAction {
    /// Removes the attribute.
    Remove,
    /// Sets the value to this string.
    Replace(String),
    /// Sets the value to `sha256:` and the SHA-256 of its text in hexadecimal: equal values stay equal. A value of that
    /// form stays as it is, so that doing it twice changes nothing.
    Hash,
}

/// A range of time, both ends inclusive, in unix nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First nanosecond.
    pub start: u64,
    /// Last nanosecond.
    pub end: u64,
}

impl Changes {
    /// True if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.retention.is_none() && self.remove.is_empty() && self.redact.is_empty()
    }

    /// True if it can leave out traces.
    pub(crate) fn drops_traces(&self) -> bool {
        self.retention.is_some() || !self.remove.is_empty()
    }
}
