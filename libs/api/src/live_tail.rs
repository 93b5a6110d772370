//! The parameters of a live tail: its filter, and how many spans it shows.

use std::time::{Duration, Instant};

use tactus_traceql::{RootExpr, eval::CompiledQuery};

use crate::job::{JobError, parse_query};

/// The filter of a live tail. An empty text selects all spans.
///
/// Errors: invalid TraceQL; a query that does not judge each span by itself.
pub fn parse_filter(text: &str) -> Result<RootExpr, JobError> {
    let text = if text.trim().is_empty() { "{ }" } else { text };
    let root = parse_query(text)?;
    if !root.judges_spans_alone() {
        let example =
            r#"{ resource.service.name = "shop" && status = error } | select(span.http.route)"#;
        return Err(JobError::Invalid(format!(
            "a live tail sees spans as they come, not traces: it takes one filter of single spans, such as {example}"
        )));
    }
    Ok(root)
}

/// As [`parse_filter`], compiled.
pub fn compile_filter(text: &str) -> Result<CompiledQuery, JobError> {
    Ok(CompiledQuery::compile(&parse_filter(text)?)?)
}

/// Limits spans per second, as a token bucket that holds the spans of one second.
#[derive(Debug, Clone)]
pub struct SpanRate {
    per_second: f64,
    left: f64,
    updated: Instant,
}

impl SpanRate {
    /// A limit whose bucket is full at first.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), left: per_second.into(), updated: now }
    }

    /// Spans that may be shown now.
    pub fn available(&mut self, now: Instant) -> usize {
        let gone: Duration = now.saturating_duration_since(self.updated);
        self.updated = now;
        self.left = (self.left + gone.as_secs_f64() * self.per_second).min(self.per_second);
        self.left as usize
    }

    /// Counts spans that are shown.
    pub fn take(&mut self, spans: usize) {
        self.left -= spans as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_needs_other_spans_is_refused() {
        for accepted in [
            "",
            "{ }",
            "{ status = error || span.a > 3 } | select(span.b, resource.c)",
            "{ duration > 1s && event:name = \"exception\" }",
        ] {
            assert!(compile_filter(accepted).is_ok(), "{accepted}");
        }
        for refused in [
            "{ status = error",
            "{ } >> { }",
            "{ } && { }",
            "{ } | count() > 2",
            "{ } | rate()",
            "{ } | by(name)",
            "{ traceDuration > 1s }",
            "{ rootName = \"a\" }",
            "{ parent.a = 1 }",
            "{ } | select(rootServiceName)",
        ] {
            let error = compile_filter(refused).unwrap_err();
            assert!(matches!(error, JobError::Invalid(_)), "{refused}: {error}");
        }
    }

    #[test]
    fn rate_saves_a_second_at_most() {
        let start = Instant::now();
        let mut rate = SpanRate::new(10, start);
        assert_eq!(rate.available(start), 10);
        rate.take(10);
        assert_eq!(rate.available(start + Duration::from_millis(500)), 5);
        rate.take(3);
        assert_eq!(rate.available(start + Duration::from_millis(500)), 2);
        assert_eq!(rate.available(start + Duration::from_secs(60)), 10);
        // A clock that steps back gives nothing.
        rate.take(10);
        assert_eq!(rate.available(start), 0);
    }
}
