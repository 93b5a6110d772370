//! The answer for one trace, written a piece at a time: spans come first, processes when all spans are known.

use tactus_model::TraceId;
use tactus_proto::otlp::ResourceSpans;

use super::build::{SpansLeft, TraceParts};
use super::{Envelope, EnvelopeError};

/// What a process takes of memory for each byte of its message: as that, and as what is written at the end.
const PROCESS_EXPANSION: usize = 4;

/// Where spans stand in the answer. Before it is nothing but the id.
const SPANS: &str = "\"spans\":[";
/// Where traces stand in an answer.
const DATA: &str = "\"data\":[";

/// Writes a trace; what its methods return in turn is one object.
#[derive(Debug)]
pub struct TraceWriter {
    id: TraceId,
    parts: TraceParts,
    left: SpansLeft,
    has_spans: bool,
}

impl TraceWriter {
    /// A writer of this trace.
    pub fn new(id: TraceId) -> Self {
        Self { id, parts: TraceParts::default(), left: SpansLeft::default(), has_spans: false }
    }

    /// The beginning. Errors: as of `serde_json`; there are none.
    pub fn begin(&self) -> serde_json::Result<Vec<u8>> {
        let nothing = TraceParts::default().finish(self.id, Vec::new());
        let (begin, _) = around(&serde_json::to_string(&nothing)?, SPANS);
        Ok(begin)
    }

    /// Spans to write.
    pub fn add(&mut self, resource_spans: Vec<ResourceSpans>) {
        self.left.add(resource_spans);
    }

    /// Further spans of those that were added, in about `max_bytes`; nothing if all are written. Errors: as of [`Self::begin`].
    pub fn spans(&mut self, max_bytes: usize) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < max_bytes
            && let Some(span) = self.parts.next_span(&mut self.left)
        {
            if std::mem::replace(&mut self.has_spans, true) {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, &span)?;
        }
        Ok(out)
    }

    /// Estimated memory of the processes so far.
    pub fn heap_bytes(&self) -> usize {
        self.parts.process_bytes * PROCESS_EXPANSION
    }

    /// The end; `warnings` are about the trace as a whole. Errors: as of [`Self::begin`].
    pub fn end(&mut self, warnings: Vec<String>) -> serde_json::Result<Vec<u8>> {
        let parts = std::mem::take(&mut self.parts);
        let (_, end) = around(&serde_json::to_string(&parts.finish(self.id, warnings))?, SPANS);
        Ok(end)
    }
}

/// What stands around the traces of an answer, without commas between them. Errors: as of `serde_json`; there are none.
pub fn around_traces(errors: Option<Vec<EnvelopeError>>) -> serde_json::Result<(Vec<u8>, Vec<u8>)> {
    let nothing = Envelope { errors, ..Envelope::<[(); 0]>::new([], 0) };
    Ok(around(&serde_json::to_string(&nothing)?, DATA))
}

/// Both sides of the end of `mark`, the first one in the text.
fn around(text: &str, mark: &str) -> (Vec<u8>, Vec<u8>) {
    let at = text.find(mark).map_or(text.len(), |at| at + mark.len());
    let (begin, end) = text.split_at(at);
    (begin.into(), end.into())
}
