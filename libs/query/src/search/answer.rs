//! The answer to a search.

use std::sync::Arc;

use prost::Message as _;
use tactus_api::explain::Explanation;
use tactus_api::json::search_bytes;
use tactus_api::{Encoding, Error, Result};
use tactus_proto::tempopb::{SearchResponse, TraceSearchMetadata};
use tactus_server::bodies::{AnswerMemory, Bodies, NoRoom};
use tactus_work::Held;

/// Traces with more sets and spans are worked on away from the threads that serve connections.
const INLINE_LINES: usize = 1_000;

/// The answer to a search.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// The message for the client.
    pub response: SearchResponse,
    /// Something could not be read, so traces may be missing.
    pub partial: bool,
    /// How the query ran, if the client asked.
    pub explanation: Option<Box<Explanation>>,
    /// Memory of the message.
    pub memory: Arc<Held>,
}

impl SearchAnswer {
    /// True if the work on it takes long.
    pub(crate) fn is_long(&self) -> bool {
        is_long(&self.response.traces)
    }

    /// Memory for what is sent, before that is written. Errors: there is none.
    pub(crate) async fn memory_of_written(
        &self,
        memory: &Arc<Bodies>,
        encoding: Encoding,
    ) -> Result<AnswerMemory> {
        let bytes = match encoding {
            Encoding::Protobuf => self.response.encoded_len(),
            _ => search_bytes(&self.response),
        };
        let mut taken = AnswerMemory::of(memory);
        taken.add(bytes as u64).await.map_err(|NoRoom| Error::TooManyBytes)?;
        Ok(taken)
    }
}

impl PartialEq for SearchAnswer {
    /// Answers are equal whatever memory they take.
    fn eq(&self, other: &Self) -> bool {
        self.response == other.response
            && self.partial == other.partial
            && self.explanation == other.explanation
    }
}

/// True if the work on these traces takes long: a trace may have a set for each of its spans.
pub(super) fn is_long(traces: &[TraceSearchMetadata]) -> bool {
    let lines = |trace: &TraceSearchMetadata| {
        1 + trace.span_sets.iter().map(|set| 1 + set.spans.len()).sum::<usize>()
    };
    traces.iter().map(lines).sum::<usize>() > INLINE_LINES
}

#[cfg(test)]
mod tests {
    use tactus_proto::tempopb::{Span, SpanSet};

    use super::*;

    fn traces(traces: usize, sets: usize, spans: usize) -> Vec<TraceSearchMetadata> {
        let set = SpanSet { spans: vec![Span::default(); spans], ..SpanSet::default() };
        let span_sets = vec![set; sets];
        vec![TraceSearchMetadata { span_sets, ..TraceSearchMetadata::default() }; traces]
    }

    #[test]
    fn few_traces_of_many_sets_or_spans_take_as_long_as_many_traces() {
        assert!(!is_long(&traces(200, 1, 3)));
        assert!(is_long(&traces(1, 1_000, 1)));
        assert!(is_long(&traces(10, 1, 100)));
        assert!(is_long(&traces(1_001, 0, 0)));
    }
}
