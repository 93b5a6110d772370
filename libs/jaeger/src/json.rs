//! The JSON of Jaeger's HTTP API, as its UI reads it.

mod build;
mod messages;
mod pieces;
mod read;
mod upload;

use serde::Serialize;

#[cfg(test)]
pub(crate) use build::trace;
pub use pieces::{TraceWriter, around_traces};
pub use read::{FileError, read_jaeger_file};
pub use upload::{UploadError, traces_of_upload};

/// What answers are wrapped in. Keys stand in this order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Envelope<T> {
    /// The answer.
    pub data: T,
    /// Number of elements, where the API tells.
    pub total: usize,
    /// Always 0.
    pub limit: usize,
    /// Always 0.
    pub offset: usize,
    /// `None`: the key is there, and null.
    pub errors: Option<Vec<EnvelopeError>>,
}

impl<T> Envelope<T> {
    /// An answer without errors.
    pub fn new(data: T, total: usize) -> Self {
        Self { data, total, limit: 0, offset: 0, errors: None }
    }
}

/// An error within an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeError {
    /// HTTP status; left out if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
    /// For the reader.
    pub msg: String,
    /// The trace that it is about; left out if empty.
    #[serde(rename = "traceID", skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
