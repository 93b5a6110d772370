//! Zipkin's first model: a span with annotations and binary annotations, each at an endpoint.

use bytes::Bytes;
use tactus_model::{SpanId, TraceId};
use tactus_proto::otlp::any_value::Value;

pub(crate) mod json;
pub(crate) mod thrift;

/// A span, or one side of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace_id: TraceId,
    pub(crate) id: SpanId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) name: Bytes,
    /// Microseconds since 1970; 0: unknown.
    pub(crate) timestamp: u64,
    /// Microseconds; 0: unknown.
    pub(crate) duration: u64,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) binary_annotations: Vec<BinaryAnnotation>,
}

/// A place on the network, as texts of attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service_name: Bytes,
    pub(crate) ipv4: Bytes,
    pub(crate) ipv6: Bytes,
    /// 0: unknown.
    pub(crate) port: u16,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// Microseconds since 1970; 0: unknown.
    pub(crate) timestamp: u64,
    pub(crate) value: Bytes,
    pub(crate) endpoint: Option<Box<Endpoint>>,
}

/// A property.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BinaryAnnotation {
    pub(crate) key: Bytes,
    /// `None`: a value without a type, as JSON's `null`.
    pub(crate) value: Option<Value>,
    pub(crate) endpoint: Option<Box<Endpoint>>,
}

#[cfg(test)]
mod tests;
