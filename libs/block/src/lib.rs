//! Blocks: `data.parquet` in the vParquet4 and vParquet5 formats, from and to [`tactus_model::SpanBatch`].
//!
//! Pages are encoded and decoded here, straight from and to dictionary codes, each with a checksum in its header;
//! footer and page index are the Parquet library's. What lies beside `data.parquet` in a block is the storage lib's
//! business.
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
