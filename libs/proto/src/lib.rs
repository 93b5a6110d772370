//! Messages, clients and server traits of every protocol that Tactus speaks, generated from `proto/`.
//!
//! Modules are named after the protobuf packages: `opentelemetry::proto::trace::v1`, `tempopb`, `google::rpc`. The code
//! under `src/gen` is committed, so that a build needs no protobuf compiler; a test fails if it is outdated. Every
//! `bytes` field is a [`bytes::Bytes`], a slice of the decoded buffer.
//!
//! The text fields of OTLP are declared as `bytes`, because senders do send invalid UTF-8. It must be passed on
//! unchanged and shown with U+FFFD (see [`lossy`]), and must never make a request be refused.

mod generated {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        missing_docs,
        unreachable_pub,
        reason = "generated code"
    )]
    include!("gen/packages.rs");
}

pub use generated::*;

pub mod codec;
pub mod retry;
mod shape;

use std::borrow::Cow;

pub use shape::Shaped;

/// Short paths to the OTLP messages, which are spread over five packages.
pub mod otlp {
    pub use crate::generated::opentelemetry::proto::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_client, trace_service_server,
    };
    pub use crate::generated::opentelemetry::proto::common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value,
    };
    pub use crate::generated::opentelemetry::proto::resource::v1::Resource;
    pub use crate::generated::opentelemetry::proto::trace::v1::{
        InstrumentationLibrarySpans, ResourceSpans, ScopeSpans, Span, Status, span, status,
    };
}

/// What the gRPC services of Jaeger's query port take and answer, as a serialized `FileDescriptorSet`: for clients that
/// ask the reflection service. Text fields of OTLP are `string` here, as in its own files.
pub const JAEGER_QUERY_DESCRIPTORS: &[u8] = include_bytes!("gen/jaeger_query.binpb");

/// The header in which the services of a cluster send each other their secret.
pub const INTERNAL_TOKEN_HEADER: &str = "x-tactus-internal-token";

/// The header with the label of the cluster that a call between services is meant for.
pub const CLUSTER_HEADER: &str = "x-tactus-cluster";

/// The header with the name of the instance of a ring that a call between services is meant for.
pub const INSTANCE_HEADER: &str = "x-tactus-instance";

/// The live tail of an ingester, wherever it runs.
pub type DynLiveTail = dyn tactus::v1::live_tail_server::LiveTail<
        TailStream = tonic::codegen::BoxStream<tactus::v1::TailResponse>,
    >;

/// A text field that is stored as bytes, as text for display. Invalid UTF-8 becomes U+FFFD.
pub fn lossy(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// Replaces surrogates by U+FFFD. JSON escapes such as `\ud83d` leave them in a text that was cut within a character.
pub fn replace_surrogates(mut text: &mut [u8]) {
    let is_surrogate = |bytes: &[u8]| matches!(bytes, [0xED, 0xA0..=0xBF, 0x80..=0xBF]);
    while let Some(at) = text.windows(3).position(is_surrogate) {
        let (surrogate, rest) = text[at..].split_at_mut(3);
        surrogate.copy_from_slice("\u{FFFD}".as_bytes());
        text = rest;
    }
}

#[cfg(test)]
mod tests;
