//! The answer for one trace, written a piece at a time: spans come first, processes when all spans are known.

use tactus_model::TraceId;
use tactus_proto::otlp::ResourceSpans;

use super::build::TraceParts;
use super::{Envelope, Trace};

/// Where spans stand in the answer. Before it is nothing but the id.
const SPANS: &str = "\"spans\":[";

/// Writes a trace; what its methods return in turn is one document.
#[derive(Debug)]
pub struct TraceWriter {
    id: TraceId,
    parts: TraceParts,
    has_spans: bool,
}

impl TraceWriter {
    /// A writer of this trace.
    pub fn new(id: TraceId) -> Self {
        Self { id, parts: TraceParts::default(), has_spans: false }
    }

    /// The beginning. Errors: as of `serde_json`; there are none.
    pub fn begin(&self) -> serde_json::Result<Vec<u8>> {
        let nothing = TraceParts::default().finish(self.id, Vec::new());
        let (begin, _) = around_spans(nothing)?;
        Ok(begin.into_bytes())
    }

    /// Further spans. Errors: as of [`Self::begin`].
    pub fn spans(&mut self, resource_spans: &[ResourceSpans]) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::new();
        for span in self.parts.add(resource_spans) {
            if std::mem::replace(&mut self.has_spans, true) {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, &span)?;
        }
        Ok(out)
    }

    /// Estimated memory of the processes so far.
    pub fn heap_bytes(&self) -> usize {
        // As messages, and as what is shown: names and values as texts of their own.
        self.parts.process_bytes * 4
    }

    /// The end; `warnings` are about the trace as a whole. Errors: as of [`Self::begin`].
    pub fn end(&mut self, warnings: Vec<String>) -> serde_json::Result<Vec<u8>> {
        let parts = std::mem::take(&mut self.parts);
        let (_, end) = around_spans(parts.finish(self.id, warnings))?;
        Ok(end.into_bytes())
    }
}

/// What stands around the spans of a trace, of which there are none.
fn around_spans(trace: Trace) -> serde_json::Result<(String, String)> {
    let text = serde_json::to_string(&Envelope::new([trace], 0))?;
    let at = text.find(SPANS).map_or(text.len(), |at| at + SPANS.len());
    let (begin, end) = text.split_at(at);
    Ok((begin.to_owned(), end.to_owned()))
}
