//! Encodes spans of Jaeger's model as OTLP, one by one.

use bytes::Bytes;
use prost::Message;
use prost_types::{Duration, Timestamp};
use tactus_proto::jaeger::api_v2::{Process, Span as JaegerSpan};

use super::groups::SpanGroups;
use super::span::convert;
use super::{ModelError, resource};

/// Spans by process and scope, in the order in which these first appear, as an OTLP export. Ids may come out empty or
/// zero; those who store spans refuse them.
#[derive(Debug)]
pub struct OtlpWriter {
    /// The process of spans without one of their own.
    of_batch: Vec<u8>,
    groups: SpanGroups<u8>,
}

/// The bytes that identify a process; empty for none at all.
pub(crate) fn process_key(process: Option<&Process>) -> Vec<u8> {
    process.map_or_else(Vec::new, Message::encode_length_delimited_to_vec)
}

impl OtlpWriter {
    /// No spans yet. `process`: that of spans without one of their own. `bytes`: of the request that spans are read from.
    pub fn new(process: Option<&Process>, bytes: usize) -> Self {
        Self { of_batch: process_key(process), groups: SpanGroups::new(bytes) }
    }

    /// Adds a span, unless it is blank. Errors: ids of a wrong length, more processes and scopes than the bytes of the request
    /// can fill; the others stay.
    pub fn push(&mut self, mut span: JaegerSpan) -> Result<(), ModelError> {
        let own = span.process.take();
        if own.is_none() && is_blank(&span) {
            return Ok(());
        }
        match own {
            Some(_) => add(&mut self.groups, &process_key(own.as_ref()), span),
            None => add(&mut self.groups, &self.of_batch, span),
        }
    }

    /// Adds a span of a process, of which there is the [`process_key`]. Errors: as of [`Self::push`].
    pub(crate) fn push_of(&mut self, process: &[u8], span: JaegerSpan) -> Result<(), ModelError> {
        add(&mut self.groups, process, span)
    }

    /// The bytes of an ExportTraceServiceRequest; none without any span.
    pub fn finish(self) -> Bytes {
        self.groups.finish()
    }
}

/// True for a span without content: an empty message, or one of Thrift, which has all fields, with zeros.
fn is_blank(span: &JaegerSpan) -> bool {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    if !span.operation_name.is_empty() || !is_zero(&span.trace_id) || !is_zero(&span.span_id) {
        return false;
    }
    let rest = JaegerSpan {
        trace_id: Bytes::new(),
        span_id: Bytes::new(),
        start_time: span.start_time.filter(|time| *time != Timestamp::default()),
        duration: span.duration.filter(|time| *time != Duration::default()),
        ..span.clone()
    };
    rest == JaegerSpan::default()
}

fn add(groups: &mut SpanGroups<u8>, process: &[u8], span: JaegerSpan) -> Result<(), ModelError> {
    let (scope, span) = convert(span)?;
    // A key is a message that was encoded here.
    let resource = || Process::decode_length_delimited(process).map(resource).unwrap_or_default();
    Ok(groups.add(process, resource, scope, &span)?)
}
