//! Spans of Jaeger's model, encoded as OTLP one by one: as messages they would take many times the memory of a request.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tactus_model::wire::{put_message_field, put_message_frame, put_varint};
use tactus_proto::jaeger::api_v2::{Process, Span as JaegerSpan};
use tactus_proto::otlp::InstrumentationScope;

use super::span::{Scope, convert};
use super::{ModelError, resource};

/// Spans by process and scope, in the order in which these first appear.
#[derive(Debug)]
pub(crate) struct OtlpWriter {
    /// The process of spans without one of their own.
    of_batch: Vec<u8>,
    groups: Vec<Group>,
    by_process: HashMap<Vec<u8>, usize>,
}

/// The spans of one process.
#[derive(Debug)]
struct Group {
    process: Vec<u8>,
    /// A Resource message.
    resource: Vec<u8>,
    /// The spans as fields of ScopeSpans messages.
    scopes: Vec<(Scope, Vec<u8>)>,
    by_scope: HashMap<Scope, usize>,
}

/// By which processes are told apart; empty for none at all.
pub(crate) fn process_key(process: Option<&Process>) -> Vec<u8> {
    process.map_or_else(Vec::new, Message::encode_length_delimited_to_vec)
}

impl OtlpWriter {
    /// No spans yet. `process`: that of spans without one of their own.
    pub(crate) fn new(process: Option<&Process>) -> Self {
        Self { of_batch: process_key(process), groups: Vec::new(), by_process: HashMap::new() }
    }

    /// Adds a span, unless it is an empty message. Errors: ids of a wrong length.
    pub(crate) fn push(&mut self, mut span: JaegerSpan) -> Result<(), ModelError> {
        let own = span.process.take();
        if own.is_none() && span == JaegerSpan::default() {
            return Ok(());
        }
        if own.is_some() {
            return self.push_of(&process_key(own.as_ref()), span);
        }
        let of_batch = std::mem::take(&mut self.of_batch);
        let pushed = self.push_of(&of_batch, span);
        self.of_batch = of_batch;
        pushed
    }

    /// Adds a span of a process, of which there is the [`process_key`]. Errors: ids of a wrong length.
    pub(crate) fn push_of(&mut self, process: &[u8], span: JaegerSpan) -> Result<(), ModelError> {
        let (scope, span) = convert(span)?;
        let spans = self.group(process).spans(scope);
        put_varint(spans, 2 << 3 | 2);
        span.encode_length_delimited(spans).expect("a Vec grows as it must");
        Ok(())
    }

    /// The group of a process; spans next to each other are mostly of one.
    fn group(&mut self, process: &[u8]) -> &mut Group {
        let latest = self.groups.len().wrapping_sub(1);
        let index = match self.groups.get(latest) {
            Some(group) if group.process == process => latest,
            _ => match self.by_process.get(process) {
                Some(&index) => index,
                None => {
                    self.by_process.insert(process.to_vec(), self.groups.len());
                    self.groups.push(Group::new(process.to_vec()));
                    self.groups.len() - 1
                }
            },
        };
        &mut self.groups[index]
    }

    /// The bytes of an ExportTraceServiceRequest; none without any span.
    pub(crate) fn finish(self) -> Bytes {
        let sizes = self.groups.iter().map(|group| {
            let spans: usize = group.scopes.iter().map(|(_, spans)| spans.len() + 64).sum();
            group.resource.len() + spans + 32
        });
        let mut request = Vec::with_capacity(sizes.sum());
        for group in self.groups {
            put_message_field(&mut request, 1, &group.finish());
        }
        request.into()
    }
}

impl Group {
    fn new(process: Vec<u8>) -> Self {
        // What was encoded here is read here.
        let message = Process::decode_length_delimited(Bytes::copy_from_slice(&process));
        let resource = message.map(resource).unwrap_or_default().encode_to_vec();
        Self { process, resource, scopes: Vec::new(), by_scope: HashMap::new() }
    }

    /// The spans of a scope.
    fn spans(&mut self, scope: Scope) -> &mut Vec<u8> {
        let latest = self.scopes.len().wrapping_sub(1);
        let index = match self.scopes.get(latest) {
            Some((known, _)) if *known == scope => latest,
            _ => *self.by_scope.entry(scope).or_insert_with_key(|scope| {
                self.scopes.push((scope.clone(), Vec::new()));
                self.scopes.len() - 1
            }),
        };
        &mut self.scopes[index].1
    }

    /// A ResourceSpans message.
    fn finish(self) -> Vec<u8> {
        let mut message = Vec::new();
        put_message_field(&mut message, 1, &self.resource);
        for (Scope { name, version }, spans) in self.scopes {
            let scope = InstrumentationScope { name, version, ..InstrumentationScope::default() };
            let mut head = Vec::new();
            put_message_field(&mut head, 1, &scope.encode_to_vec());
            put_message_frame(&mut message, 2, head.len() + spans.len());
            message.extend_from_slice(&head);
            message.extend_from_slice(&spans);
        }
        message
    }
}
