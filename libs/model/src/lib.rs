//! The data model: ids, tenants, spans in columns, and the OTLP wire format.
//!
//! A span has three forms: OTLP bytes, [`SpanBatch`], and Parquet rows. This crate knows the first two, and how to
//! convert between them: [`walk`] finds the spans of an export request without decoding attributes, [`BatchBuilder`]
//! turns them into columns once, [`merge`] sorts and combines batches, and [`otlp`] writes a trace back as OTLP. It
//! knows no Parquet, no storage and no query language.
#![warn(missing_docs)]

pub mod any_value;
mod attributes;
mod batch;
mod buffer;
mod builder;
mod check;
mod cut_traces;
mod dictionary;
mod distinct_owners;
pub mod error_text;
mod format_duration;
mod hashing;
mod ids;
pub mod merge;
pub mod message_count;
pub mod nested_set;
mod of_tenant;
mod origins;
pub mod otlp;
mod projection;
mod shared_ids;
mod span_identity;
mod tenant;
pub mod walk;
pub mod wire;
mod words;

pub use any_value::ValueType;
pub use attributes::{Attribute, AttributeList};
pub use batch::{
    EventTable, LinkTable, ResourceTable, ScopeTable, SpanBatch, SpanColumns, TraceSummaries,
    TraceTable, span_end,
};
pub use buffer::{Buffer, ColumnSource, StoredColumn};
pub use builder::{
    AppendError, BatchBuilder, BuilderLimits, Candidate, KnownOwners, LeftOut, MALFORMED_PROTOBUF,
    Mark, RunMessages, SelectedBatch, SelectedKeys, TooDeepKey,
};
pub use cut_traces::CutTraces;
pub use dictionary::{Dictionary, DictionaryBuilder, StringCode};
pub use distinct_owners::distinct_owners;
pub use format_duration::format_duration;
pub use hashing::{FNV_32_BASIS, fnv1_32, fnv1a_32, fnv1a_64, hashed_text, mix_64, text_of_value};
pub use ids::{IdProblem, SpanId, TraceId, bytes_to_hex};
pub use of_tenant::OfTenant;
pub use origins::{OriginCollector, OriginSet, origin_stream};
pub use projection::{AttributeSelection, Projection};
pub use shared_ids::separate_shared_ids;
pub use span_identity::{NameHash, SpanIdentity, SpanKey, span_hash};
pub use tenant::{TOO_MANY_TENANTS, TenantError, TenantId};
