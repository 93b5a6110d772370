//! Blocks: reads and writes `data.parquet` in the vParquet4 and vParquet5 formats as [`tactus_model::SpanBatch`]; also
//! reads vParquet3.
//!
//! This crate encodes and decodes pages itself, straight from and to dictionary codes, each with a checksum in its
//! header. The Parquet library handles the footer and the page index. The other files of a block belong to
//! `tactus_storage`.
#![warn(missing_docs)]

mod attribute_owner;
mod build;
mod decoding;
mod encoding;
mod error;
pub mod read;
pub mod schema;
pub mod summary;
mod write;

pub use build::{BlockBuilder, BuilderSettings, BuiltBlock, ROW_GROUP_SPANS};
pub use error::{Error, Result};
pub use write::{
    BlockSummary, BlockWriter, Compression, RowGroupInfo, STRIPE_BYTES, WriterSettings,
    estimated_bytes,
};
