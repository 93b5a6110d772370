//! Decompression of request bodies with bounded memory.
//!
//! Everything is decoded into one buffer that never outgrows the limit by more than the growth step
//! of a vector, whatever the body claims. Bodies that end too early are errors.

mod lz4;

use std::io::{self, Read};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use tokio::sync::Semaphore;

/// Start of the snappy framing format, by which framed bodies are told from raw blocks.
const SNAPPY_STREAM_START: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Larger compressed bodies are decoded off the async threads.
const INLINE_BYTES: usize = 16 << 10;

/// Decoders at work off the async threads: no more than cores, so that a burst waits its turn
/// instead of holding memory for all of its bodies at once.
static WORKERS: LazyLock<Semaphore> = LazyLock::new(|| {
    Semaphore::new(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
});

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// gzip, of one or more members.
    Gzip,
    /// deflate with zlib wrapper: `zlib`, and what HTTP and gRPC call `deflate`.
    Zlib,
    /// zstd.
    Zstd,
    /// snappy, framed or raw, told apart by the first bytes.
    Snappy,
    /// snappy in the framing format only.
    SnappyFramed,
    /// lz4 frame.
    Lz4,
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The plain text is longer than the limit.
    #[error("decompressed body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not in the format claimed, damaged, or cut off.
    #[error("{0}")]
    Corrupt(String),
}

impl Encoding {
    /// The encoding of an HTTP `Content-Encoding`, whatever its case. `None`: unknown.
    pub fn from_content_encoding(name: &str) -> Option<Self> {
        let known = [
            ("gzip", Self::Gzip),
            ("zlib", Self::Zlib),
            ("deflate", Self::Zlib),
            ("zstd", Self::Zstd),
            ("snappy", Self::Snappy),
            ("x-snappy-framed", Self::SnappyFramed),
            ("lz4", Self::Lz4),
        ];
        known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, found)| found)
    }

    /// The encoding of a gRPC `grpc-encoding` other than `identity`. `None`: unknown.
    pub fn from_grpc_encoding(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Zlib),
            "zstd" => Some(Self::Zstd),
            "snappy" => Some(Self::SnappyFramed),
            _ => None,
        }
    }
}

/// Decompresses `body` to at most `limit` bytes; large bodies on the blocking thread pool.
pub async fn decompress(
    encoding: Encoding,
    body: Bytes,
    limit: usize,
) -> Result<Bytes, DecompressError> {
    if body.len() <= INLINE_BYTES {
        return decompress_now(encoding, &body, limit).map(Bytes::from);
    }
    off_thread(move || decompress_now(encoding, &body, limit).map(Bytes::from))
        .await
        .unwrap_or_else(|error| Err(DecompressError::Corrupt(error.to_string())))
}

/// Runs CPU work on the blocking pool, at most one task a core at once. Errors: the work panicked.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    // The semaphore is never closed, so there is nothing to do about an error.
    let _permit = WORKERS.acquire().await;
    tokio::task::spawn_blocking(work).await
}

/// Decompresses `body` to at most `limit` bytes on this thread.
pub fn decompress_now(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    match encoding {
        Encoding::Gzip => read_all(flate2::bufread::MultiGzDecoder::new(body), body.len(), limit),
        Encoding::Zlib => inflate_zlib(body, limit),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(corrupt)?;
            decoder.window_log_max(zstd_window_log(limit)).map_err(corrupt)?;
            read_all(decoder, body.len(), limit)
        }
        Encoding::Snappy if !body.starts_with(SNAPPY_STREAM_START) => unsnap_block(body, limit),
        Encoding::Snappy | Encoding::SnappyFramed => unsnap_frames(body, limit),
        Encoding::Lz4 => {
            // The decoder takes a frame that is cut off between blocks for a complete one.
            if !lz4::ends_with_a_frame(body) {
                return Err(DecompressError::Corrupt("lz4: unexpected end of body".to_owned()));
            }
            read_all(lz4_flex::frame::FrameDecoder::new(body), body.len(), limit)
        }
    }
}

/// Window of a frame that holds `limit` bytes in one segment. A larger one is not needed.
fn zstd_window_log(limit: usize) -> u32 {
    limit.max(8 << 20).next_power_of_two().ilog2().min(27)
}

/// Reads to the end; `compressed_bytes` sizes the first allocation.
fn read_all(
    decoder: impl Read,
    compressed_bytes: usize,
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::with_capacity(first_capacity(compressed_bytes, limit));
    decoder.take(limit as u64 + 1).read_to_end(&mut out).map_err(corrupt)?;
    if out.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(out) }
}

/// Room for the usual ratio of span data; more is found by doubling.
fn first_capacity(compressed_bytes: usize, limit: usize) -> usize {
    compressed_bytes.saturating_mul(6).clamp(1 << 10, limit.saturating_add(1).max(1 << 10))
}

/// By hand, because the reader of `flate2` takes a stream that is cut off for a complete one.
fn inflate_zlib(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut decompress = Decompress::new(true);
    let mut out = Vec::with_capacity(first_capacity(body.len(), limit));
    loop {
        let consumed = decompress.total_in() as usize;
        let before = out.len();
        let status = decompress
            .decompress_vec(&body[consumed..], &mut out, FlushDecompress::None)
            .map_err(corrupt)?;
        if out.len() > limit {
            return Err(DecompressError::TooLarge { limit });
        }
        if status == Status::StreamEnd {
            return Ok(out);
        }
        if out.len() == out.capacity() {
            let step = out.len().min(limit.saturating_add(1) - out.len()).max(1);
            out.reserve(step);
        } else if out.len() == before && decompress.total_in() as usize == consumed {
            return Err(DecompressError::Corrupt("zlib: unexpected end of body".to_owned()));
        }
    }
}

fn unsnap_block(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    // The length is a mere claim of the body: check it before anything is allocated.
    let length = snap::raw::decompress_len(body).map_err(corrupt)?;
    if length > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(corrupt)
}

fn unsnap_frames(body: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    if !body.is_empty() && !body.starts_with(SNAPPY_STREAM_START) {
        return Err(DecompressError::Corrupt("snappy: stream identifier is missing".to_owned()));
    }
    read_all(snap::read::FrameDecoder::new(body), body.len(), limit)
}

fn corrupt(error: impl Into<io::Error>) -> DecompressError {
    DecompressError::Corrupt(error.into().to_string())
}

#[cfg(test)]
mod tests;
