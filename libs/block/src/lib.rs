//! Blocks: `data.parquet` in the vParquet4 format, from and to [`tactus_model::SpanBatch`].
//!
//! Pages are encoded and decoded here, straight from and to dictionary codes; page headers, footer and page
//! index are the Parquet library's. What lies beside `data.parquet` in a block is the storage lib's business.
#![warn(missing_docs)]

mod error;
pub mod schema;

pub use error::{Error, Result};
