//! What a rewrite changes besides merging traces.

pub(crate) mod redact;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tactus_model::{SpanBatch, TraceId, span_end};
use tactus_traceql::eval::{CompiledQuery, Window};

use crate::{Error, Result};

/// What to leave out and what to replace. The default changes nothing.
#[derive(Debug, Default)]
pub struct Changes {
    /// Leave out traces that are too old.
    pub retention: Option<RetentionClasses>,
    /// Leave out these traces.
    pub remove: RemoveTraces,
    /// Replaces or removes attribute values, in this order, after traces are complete.
    pub redact: Vec<Redaction>,
}

/// The traces to delete.
pub type RemoveTraces = HashSet<TraceId>;

/// How long traces are kept, by their content.
///
/// The first class whose query matches a trace decides; otherwise `keep`. A trace has expired if its end plus the time
/// that it is kept is before `now`. A trace is judged by those of its spans that are in the rewritten blocks.
#[derive(Debug)]
pub struct RetentionClasses {
    /// Classes, the most important first.
    pub classes: Vec<RetentionClass>,
    /// For traces of no class; `None` keeps them for ever.
    pub keep: Option<Duration>,
    /// Unix nanoseconds.
    pub now: u64,
    /// The time range of the blocks, start and end, unix nanoseconds. A trace that ends outside of it counts as ending
    /// at its bound: block times are close to the time of arrival, and a sender with a wrong clock must not lose its
    /// spans at once.
    pub within: (u64, u64),
}

/// Traces that are kept alike.
pub struct RetentionClass {
    /// Its name or query as text, which distinguishes it in [`crate::fingerprint`].
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
    /// Its name or rule as text, which distinguishes it in [`crate::fingerprint`].
    pub name: String,
    /// Whose attributes.
    pub scope: RedactionScope,
    /// Key of the attribute, exact.
    pub key: Vec<u8>,
    /// How the value is handled, whatever its type.
    pub action: RedactionAction,
    /// Applies only to spans that match, with their resource, scope, events and links; `None`: to all spans.
    pub filter: Option<CompiledQuery>,
    /// Applies only to spans that start in this range; `None`: to all times.
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

/// The owners of attributes that a [`Redaction`] applies to.
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
    /// Replaces the value by `sha256:` and the SHA-256 of its text in hexadecimal, so that equal values stay equal. A
    /// value of that form is not changed, so that doing it twice changes nothing.
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

/// The rows of expired traces, ascending.
///
/// Errors: `Invalid` if a query cannot be evaluated on this data.
pub(crate) fn expired_traces(classes: &RetentionClasses, batch: &SpanBatch) -> Result<Vec<u32>> {
    let (first, last) = classes.within;
    let mut ends = trace_ends(batch);
    ends.iter_mut().for_each(|end| *end = (*end).max(first).min(last));
    let is_old = |end: u64, keep: Option<Duration>| {
        keep.is_some_and(|keep| u128::from(end) + keep.as_nanos() < u128::from(classes.now))
    };
    let all = classes.classes.iter().map(|class| class.keep).chain([classes.keep]);
    let shortest = all.flatten().min();
    if !ends.iter().any(|&end| is_old(end, shortest)) {
        return Ok(Vec::new());
    }
    let mut keeps = vec![None; ends.len()];
    for class in &classes.classes {
        if keeps.iter().all(Option::is_some) {
            break;
        }
        let matches = class.query.find_matches(batch, Window::default()).map_err(|error| {
            Error::Invalid(format!("retention class {:?}: {error}", class.name))
        })?;
        for row in matches.trace_rows() {
            keeps[row as usize].get_or_insert(class.keep);
        }
    }
    let rows = (0u32..).zip(ends.iter().zip(keeps));
    let expired = rows.filter(|(_, (end, keep))| is_old(**end, keep.unwrap_or(classes.keep)));
    Ok(expired.map(|(row, _)| row).collect())
}

/// The latest end of a span of each trace, unix nanoseconds.
fn trace_ends(batch: &SpanBatch) -> Vec<u64> {
    let spans = &batch.spans;
    let mut ends = vec![0; batch.traces.ids.len()];
    let times = spans.start.iter().zip(spans.duration.iter());
    for (&trace, (&start, &duration)) in spans.trace.iter().zip(times) {
        let end: &mut u64 = &mut ends[trace as usize];
        *end = (*end).max(span_end(start, duration));
    }
    ends
}

#[cfg(test)]
mod tests;
