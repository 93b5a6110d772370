//! Span kinds by Jaeger's names.

use tactus_proto::opentelemetry::proto::trace::v1::span::SpanKind;

/// All kinds, in the order in which operations are listed.
pub(super) const KINDS: [SpanKind; 6] = [
    SpanKind::Client,
    SpanKind::Consumer,
    SpanKind::Internal,
    SpanKind::Producer,
    SpanKind::Server,
    SpanKind::Unspecified,
];

/// The name of a kind, in TraceQL as well.
pub(crate) fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

/// The kind of this name.
pub(super) fn parse_kind(text: &str) -> Option<SpanKind> {
    KINDS.into_iter().find(|&kind| kind_name(kind) == text)
}
