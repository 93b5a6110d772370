//! What is fed with bytes that nobody vouches for: one function for each decoder, the inputs to begin with, and a bound on
//! memory. libFuzzer (`make fuzz`) and the tests of every build (`tests/replay.rs`) call the same functions.
#![warn(missing_docs)]

mod memory;
mod sample;
mod targets;

use std::path::PathBuf;

/// Something that takes bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// How `make fuzz` and the folder of its inputs call it.
    pub name: &'static str,
    feed: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    /// Memory that a byte of the input may take.
    bytes_each: u64,
}

/// Memory of any input, all that is asked for while it is looked at taken together.
const FIXED_BYTES: u64 = 64 << 20;
/// And for each of its bytes.
const BYTES_EACH: u64 = 64;
/// A file may list its segments and columns so that they overlap: a byte is read with each.
const SEGMENT_BYTES_EACH: u64 = 4 << 10;
/// A byte of a row group may stand for 64 entries of a column, and there are a hundred columns.
const BLOCK_BYTES_EACH: u64 = 64 << 10;

impl Target {
    const fn new(name: &'static str, feed: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, feed, seeds, bytes_each: BYTES_EACH }
    }

    const fn of_segments(name: &'static str, feed: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, feed, seeds, bytes_each: SEGMENT_BYTES_EACH }
    }

    const fn of_blocks(name: &'static str, feed: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Self {
        Self { name, feed, seeds, bytes_each: BLOCK_BYTES_EACH }
    }

    /// One for tests of the bound.
    #[doc(hidden)]
    pub fn of_test(feed: fn(&[u8])) -> Self {
        Self::new("test", feed, Vec::new)
    }

    /// Feeds one input. Panics if the decoder does, if what it gives contradicts itself, or if it asked for more memory than
    /// [`FIXED_BYTES`] and so much for each byte of the input: all of it counts, also what was given back.
    pub fn feed(&self, input: &[u8]) {
        let before = memory::allocated();
        (self.feed)(input);
        let spent = memory::allocated() - before;
        let bound = FIXED_BYTES + self.bytes_each * input.len() as u64;
        assert!(spent <= bound, "{spent} bytes of memory for an input of {} bytes", input.len());
    }

    /// Sound inputs, made of real data.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }

    /// Where the inputs lie that a run of libFuzzer found to be different.
    pub fn corpus(&self) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).join(self.name)
    }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target::new("otlp", targets::otlp::feed, targets::otlp::seeds),
    Target::new("otlp_json", targets::otlp::feed_json, targets::otlp::json_seeds),
    Target::new("decompression", targets::decompression::feed, targets::decompression::seeds),
    Target::new("tenant", targets::tenant::feed, targets::tenant::seeds),
    Target::new("tenant_index", targets::tenant_index::feed, targets::tenant_index::seeds),
    Target::new("jaeger_thrift", targets::jaeger::feed_thrift, targets::jaeger::thrift_seeds),
    Target::new("jaeger_protobuf", targets::jaeger::feed_protobuf, targets::jaeger::protobuf_seeds),
    Target::new("zipkin", targets::zipkin::feed, targets::zipkin::seeds),
    Target::new("log", targets::disk::feed_log, targets::disk::log_seeds),
    Target::of_segments("segments", targets::disk::feed_segments, targets::disk::segment_seeds),
    Target::of_blocks("block_file", targets::block::feed_file, targets::block::file_seeds),
    Target::of_blocks("block_pages", targets::block::feed_pages, targets::block::page_seeds),
    Target::new("gossip", targets::gossip::feed, targets::gossip::seeds),
    Target::new("traceql", targets::traceql::feed, targets::traceql::seeds),
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
