//! The formats of a trace that is written piece by piece.

use bytes::Bytes;
use prost::Message as _;
use tactus_api::json::JsonStyle;
use tactus_api::trace::{CombinedTrace, Pieces, TraceFacts};
use tactus_api::{Encoding, Error, Result};
use tactus_jaeger::json::{TraceWriter, around_traces};
use tactus_model::TraceId;
use tactus_proto::opentelemetry::proto::trace::v1::TracesData;
use tactus_work::Held;

use super::sent_trace::{PIECE_BYTES, TraceForm};
use crate::trace_by_id::{FoundTrace, malformed};

/// A trace with more bytes of messages is not written as one piece of JSON.
const LONG_JSON_BYTES: usize = 1 << 20;

/// The format of the query API.
pub(super) struct ApiForm {
    is_v2: bool,
    encoding: Encoding,
    has_spans: bool,
}

impl ApiForm {
    /// `None` for the format for language models, which is not written in pieces.
    pub(super) fn new(is_v2: bool, encoding: Encoding) -> Option<Self> {
        (encoding != Encoding::Llm).then_some(Self { is_v2, encoding, has_spans: false })
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// True if the trace is to be written piece by piece, because the whole answer takes several times its memory.
    pub(super) fn is_long(&self, found: &FoundTrace) -> bool {
        self.encoding == Encoding::Json && found.trace.bytes() > LONG_JSON_BYTES
    }
}

impl TraceForm for ApiForm {
    fn tells_at_the_end(&self) -> bool {
        self.is_v2
    }

    fn pieces(&self, trace: CombinedTrace) -> Pieces {
        match (self.encoding, self.is_v2) {
            (Encoding::Json, false) => trace.into_pieces_by_scope(PIECE_BYTES),
            _ => trace.into_pieces(PIECE_BYTES),
        }
    }

    fn begin(&mut self) -> Result<Vec<u8>> {
        let json = if self.is_v2 { "{\"trace\":{\"resourceSpans\":[" } else { "{\"batches\":[" };
        Ok(if self.encoding == Encoding::Json { json.into() } else { Vec::new() })
    }

    fn piece(&mut self, piece: &CombinedTrace) -> Result<Vec<u8>> {
        if self.encoding != Encoding::Json {
            let piece = piece.with_valid_text();
            return Ok(match self.is_v2 {
                true => piece.to_protobuf_v2_part(),
                false => piece.to_protobuf_v1(),
            });
        }
        let elements = piece.to_json_elements(JsonStyle::Protobuf).map_err(malformed)?;
        Ok(behind(&mut self.has_spans, elements))
    }

    fn end(&mut self, facts: &TraceFacts) -> Result<Vec<u8>> {
        Ok(match (self.encoding, self.is_v2) {
            (Encoding::Json, true) => [&b"]},"[..], &facts.to_json_end()].concat(),
            (Encoding::Json, false) => b"]}".to_vec(),
            (_, true) => facts.to_protobuf_end(),
            (_, false) => Vec::new(),
        })
    }
}

/// OTLP's JSON.
#[derive(Default)]
pub(super) struct OtlpForm {
    has_spans: bool,
}

impl TraceForm for OtlpForm {
    fn tells_at_the_end(&self) -> bool {
        false
    }

    fn begin(&mut self) -> Result<Vec<u8>> {
        Ok(b"{\"resourceSpans\":[".to_vec())
    }

    fn piece(&mut self, piece: &CombinedTrace) -> Result<Vec<u8>> {
        let elements = piece.to_json_elements(JsonStyle::Otlp).map_err(malformed)?;
        Ok(behind(&mut self.has_spans, elements))
    }

    fn end(&mut self, _: &TraceFacts) -> Result<Vec<u8>> {
        Ok(b"]}".to_vec())
    }
}

/// Jaeger's JSON, which its UI opens. Memory: the processes, counted as what the query holds.
pub(super) struct JaegerForm {
    writer: TraceWriter,
    held: Held,
}

impl JaegerForm {
    pub(super) fn new(id: TraceId) -> Self {
        Self { writer: TraceWriter::new(id), held: Held::default() }
    }
}

impl TraceForm for JaegerForm {
    fn tells_at_the_end(&self) -> bool {
        true
    }

    fn begin(&mut self) -> Result<Vec<u8>> {
        let (begin, _) = around_traces(None).map_err(unwritten)?;
        Ok([begin, self.writer.begin().map_err(unwritten)?].concat())
    }

    fn piece(&mut self, piece: &CombinedTrace) -> Result<Vec<u8>> {
        self.writer.add(traces_data(piece)?.resource_spans);
        let spans = self.writer.spans(usize::MAX).map_err(unwritten)?;
        match self.held.grow_to(self.writer.heap_bytes()) {
            true => Ok(spans),
            false => Err(Error::TooManyBytes),
        }
    }

    fn end(&mut self, facts: &TraceFacts) -> Result<Vec<u8>> {
        let warnings = Some(facts.message.clone()).filter(|message| !message.is_empty());
        let trace = self.writer.end(warnings.into_iter().collect()).map_err(unwritten)?;
        let (_, end) = around_traces(None).map_err(unwritten)?;
        Ok([trace, end].concat())
    }
}

/// The text before further elements of a list: a comma, unless they are the first.
fn behind(has_spans: &mut bool, mut elements: Vec<u8>) -> Vec<u8> {
    if !elements.is_empty() && std::mem::replace(has_spans, true) {
        elements.insert(0, b',');
    }
    elements
}

fn traces_data(trace: &CombinedTrace) -> Result<TracesData> {
    TracesData::decode(Bytes::from(trace.to_protobuf_v1())).map_err(malformed)
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::Internal(error.to_string())
}
