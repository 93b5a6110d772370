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
    /// The group of these spans, once there is one.
    group_of_batch: Option<usize>,
    groups: SpanGroups<u8>,
}

/// The bytes that identify a process; empty for none at all.
pub(crate) fn process_key(process: Option<&Process>) -> Vec<u8> {
    process.map_or_else(Vec::new, Message::encode_length_delimited_to_vec)
}

impl OtlpWriter {
    /// No spans yet. `process`: that of spans without one of their own. `bytes`: of the request that spans are read from.
    pub fn new(process: Option<&Process>, bytes: usize) -> Self {
        let (of_batch, groups) = (process_key(process), SpanGroups::new(bytes));
        Self { of_batch, group_of_batch: None, groups }
    }

    /// Adds a span, unless it is blank. Errors: ids of a wrong length, more processes and scopes than the bytes of the request
    /// can fill; the others stay.
    pub fn push(&mut self, mut span: JaegerSpan) -> Result<(), ModelError> {
        let own = span.process.take();
        if own.is_none() && is_blank(&span) {
            return Ok(());
        }
        let (scope, span) = convert(span)?;
        let groups = &mut self.groups;
        let group = match own {
            Some(_) => group_of(groups, &process_key(own.as_ref())),
            None => *self.group_of_batch.get_or_insert_with(|| group_of(groups, &self.of_batch)),
        };
        Ok(self.groups.add_to(group, scope, &span)?)
    }

    /// The group of a process, of which there is the [`process_key`]. A span of it is to follow.
    pub(crate) fn group_of(&mut self, process: &[u8]) -> usize {
        group_of(&mut self.groups, process)
    }

    /// Adds a span of the process that has a group. Errors: as of [`Self::push`].
    pub(crate) fn push_to(&mut self, group: usize, span: JaegerSpan) -> Result<(), ModelError> {
        let (scope, span) = convert(span)?;
        Ok(self.groups.add_to(group, scope, &span)?)
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

fn group_of(groups: &mut SpanGroups<u8>, process: &[u8]) -> usize {
    // A key is a message that was encoded here.
    let resource = || Process::decode_length_delimited(process).map(resource).unwrap_or_default();
    groups.group(process, resource)
}
