//! Where blocks keep the values of a query's attributes, and as which numbers.

use tactus_block::read::StringColumn;
use tactus_traceql::{Attribute, AttributeScope, Intrinsic, Kind, Status};

/// Where blocks keep the strings of an attribute; nowhere for one that has none.
pub(crate) fn string_columns(attribute: &Attribute) -> Vec<StringColumn> {
    match attribute {
        Attribute::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Name => vec![StringColumn::Name],
            Intrinsic::StatusMessage => vec![StringColumn::StatusMessage],
            Intrinsic::EventName => vec![StringColumn::EventName],
            Intrinsic::InstrumentationName => vec![StringColumn::ScopeName],
            Intrinsic::InstrumentationVersion => vec![StringColumn::ScopeVersion],
            Intrinsic::TraceRootService => vec![StringColumn::RootServiceName],
            Intrinsic::TraceRootName => vec![StringColumn::RootSpanName],
            _ => Vec::new(),
        },
        // The parent span may be one that the row group has, but of another trace: never mind.
        Attribute::Named { scope, parent: _, name } => {
            let key = name.as_bytes().to_vec();
            match scope {
                AttributeScope::Span => vec![StringColumn::SpanAttribute(key)],
                AttributeScope::Resource => vec![StringColumn::ResourceAttribute(key)],
                AttributeScope::Event => vec![StringColumn::EventAttribute(key)],
                AttributeScope::Link => vec![StringColumn::LinkAttribute(key)],
                AttributeScope::Instrumentation => vec![StringColumn::ScopeAttribute(key)],
                AttributeScope::Unscoped => vec![
                    StringColumn::SpanAttribute(key.clone()),
                    StringColumn::ResourceAttribute(key),
                ],
            }
        }
    }
}

/// The number of a status in OTLP and in blocks.
pub(super) fn stored_status(status: Status) -> u64 {
    match status {
        Status::Unset => 0,
        Status::Ok => 1,
        Status::Error => 2,
    }
}

/// The number of a status in OTLP and in blocks.
pub(super) fn stored_kind(kind: Kind) -> u64 {
    match kind {
        Kind::Unspecified => 0,
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Producer => 4,
        Kind::Consumer => 5,
    }
}
