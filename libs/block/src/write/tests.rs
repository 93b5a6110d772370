//! Random batches to files, read back with the Parquet library and compared with a slow, obvious expectation.

mod cases;
mod checks;
mod expected;
mod expected_attributes;
mod expected_columns;
mod read_back;
mod rewrite;
mod samples;
mod stripes;
