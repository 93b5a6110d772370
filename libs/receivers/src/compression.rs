//! Decompression of request bodies with bounded memory.
//!
//! Everything is decoded into one buffer that never outgrows the limit, whatever the body claims, and is counted before it
//! grows. Bodies that end too early are errors.

use std::io;
use std::io::Read;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use tactus_server::bodies::{Held, NoRoom};
use tokio::sync::{Semaphore, SemaphorePermit};

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
    /// There is no memory for the plain text; the body may be sent again.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
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
    pub(crate) fn from_grpc_encoding(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Zlib),
            "zstd" => Some(Self::Zstd),
            "snappy" => Some(Self::SnappyFramed),
            _ => None,
        }
    }
}

/// Decompresses `body` to at most `limit` bytes, for which `held` takes memory; large bodies on the blocking thread pool.
pub async fn decompress(
    encoding: Encoding,
    body: Bytes,
    limit: usize,
    held: &Held,
) -> Result<Bytes, DecompressError> {
    if body.len() <= INLINE_BYTES {
        let room = |bytes| held.try_take_for_work(bytes);
        return decompress_now(encoding, &body, limit, room).map(Bytes::from);
    }
    let _turn = turn().await;
    // What is needed at first may be waited for; what is found to be missing then, not.
    let mut taken = first_capacity(body.len(), limit);
    held.take_for_work(taken).await?;
    let held = held.clone();
    let room = move |bytes| match taken.checked_sub(bytes) {
        Some(left) => {
            taken = left;
            true
        }
        None => held.try_take_for_work(bytes),
    };
    tokio::task::spawn_blocking(move || decompress_now(encoding, &body, limit, room))
        .await
        .map_or_else(
            |error| Err(DecompressError::Corrupt(error.to_string())),
            |out| out.map(Bytes::from),
        )
}

/// Waits for a turn to work on the blocking pool: at most one task a core works at once.
pub(crate) async fn turn() -> Option<SemaphorePermit<'static>> {
    // The semaphore is never closed, so there is nothing to do about an error.
    WORKERS.acquire().await.ok()
}

/// Decompresses `body` to at most `limit` bytes on this thread. `room` is asked before memory is taken; when it says no,
/// there is no more.
pub fn decompress_now(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
    room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, DecompressError> {
    let mut out = Plain { bytes: Vec::new(), limit, room };
    out.reserve(first_capacity(body.len(), limit))?;
    match encoding {
        Encoding::Gzip => out.read_all(flate2::bufread::MultiGzDecoder::new(body)),
        Encoding::Zlib => out.inflate_zlib(body),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(corrupt)?;
            decoder.window_log_max(zstd_window_log(limit)).map_err(corrupt)?;
            out.read_all(decoder)
        }
        Encoding::Snappy if !body.starts_with(SNAPPY_STREAM_START) => out.unsnap_block(body),
        Encoding::Snappy | Encoding::SnappyFramed => out.unsnap_frames(body),
        Encoding::Lz4 => {
            // The decoder takes a frame that is cut off between blocks for a complete one.
            if !ends_with_a_frame(body) {
                return Err(DecompressError::Corrupt("lz4: unexpected end of body".to_owned()));
            }
            out.read_all(lz4_flex::frame::FrameDecoder::new(body))
        }
    }
}

/// Window of a frame that holds `limit` bytes in one segment. A larger one is not needed.
fn zstd_window_log(limit: usize) -> u32 {
    limit.max(8 << 20).next_power_of_two().ilog2().min(27)
}

/// Room for the usual ratio of span data; more is found by doubling.
fn first_capacity(compressed_bytes: usize, limit: usize) -> usize {
    compressed_bytes.saturating_mul(6).clamp(1 << 10, limit.saturating_add(1).max(1 << 10))
}

/// Plain text as it is found.
struct Plain<R> {
    bytes: Vec<u8>,
    limit: usize,
    room: R,
}

impl<R: FnMut(usize) -> bool> Plain<R> {
    /// Makes room for so many bytes in all.
    fn reserve(&mut self, capacity: usize) -> Result<(), DecompressError> {
        let more = capacity.saturating_sub(self.bytes.capacity());
        if more > 0 {
            if !(self.room)(more) {
                return Err(NoRoom.into());
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }

    /// Doubles the room, to a byte more than the limit at most. Errors: the limit is exceeded.
    fn grow(&mut self) -> Result<(), DecompressError> {
        let length = self.bytes.len();
        if length > self.limit {
            return Err(DecompressError::TooLarge { limit: self.limit });
        }
        self.reserve(length.saturating_mul(2).min(self.limit.saturating_add(1)).max(length + 1))
    }

    /// What `decoder` reads to its end.
    fn read_all(mut self, mut decoder: impl Read) -> Result<Vec<u8>, DecompressError> {
        loop {
            let free = self.bytes.capacity() - self.bytes.len();
            let read = decoder.by_ref().take(free as u64).read_to_end(&mut self.bytes);
            if read.map_err(corrupt)? < free {
                break;
            }
            self.grow()?;
        }
        match self.bytes.len() {
            length if length > self.limit => Err(DecompressError::TooLarge { limit: self.limit }),
            _ => Ok(self.bytes),
        }
    }

    /// By hand, because the reader of `flate2` takes a stream that is cut off for a complete one.
    fn inflate_zlib(mut self, body: &[u8]) -> Result<Vec<u8>, DecompressError> {
        let mut decompress = Decompress::new(true);
        loop {
            let consumed = decompress.total_in() as usize;
            let before = self.bytes.len();
            let status = decompress
                .decompress_vec(&body[consumed..], &mut self.bytes, FlushDecompress::None)
                .map_err(corrupt)?;
            if self.bytes.len() > self.limit {
                return Err(DecompressError::TooLarge { limit: self.limit });
            }
            if status == Status::StreamEnd {
                return Ok(self.bytes);
            }
            if self.bytes.len() == self.bytes.capacity() {
                self.grow()?;
            } else if self.bytes.len() == before && decompress.total_in() as usize == consumed {
                return Err(DecompressError::Corrupt("zlib: unexpected end of body".to_owned()));
            }
        }
    }

    fn unsnap_block(mut self, body: &[u8]) -> Result<Vec<u8>, DecompressError> {
        // The length is a mere claim of the body: check it before anything is allocated.
        let length = snap::raw::decompress_len(body).map_err(corrupt)?;
        if length > self.limit {
            return Err(DecompressError::TooLarge { limit: self.limit });
        }
        self.reserve(length)?;
        self.bytes.resize(length, 0);
        let written = snap::raw::Decoder::new().decompress(body, &mut self.bytes);
        self.bytes.truncate(written.map_err(corrupt)?);
        Ok(self.bytes)
    }

    fn unsnap_frames(self, body: &[u8]) -> Result<Vec<u8>, DecompressError> {
        if !body.is_empty() && !body.starts_with(SNAPPY_STREAM_START) {
            return Err(DecompressError::Corrupt(
                "snappy: stream identifier is missing".to_owned(),
            ));
        }
        self.read_all(snap::read::FrameDecoder::new(body))
    }
}

fn corrupt(error: impl Into<io::Error>) -> DecompressError {
    DecompressError::Corrupt(error.into().to_string())
}

/// First bytes of a frame.
const MAGIC: &[u8] = b"\x04\x22\x4d\x18";

/// Flags of the frame descriptor.
const HAS_BLOCK_CHECKSUMS: u8 = 1 << 4;
const HAS_CONTENT_SIZE: u8 = 1 << 3;
const HAS_CONTENT_CHECKSUM: u8 = 1 << 2;
const HAS_DICTIONARY: u8 = 1;

/// Top bit of a block's length: the block is not compressed.
const IS_PLAIN: u32 = 1 << 31;

/// Whether `body` consists of whole frames, each with its end mark. Contents are not looked at.
fn ends_with_a_frame(mut body: &[u8]) -> bool {
    loop {
        match skip_frame(body) {
            Some([]) => return true,
            Some(rest) => body = rest,
            None => return false,
        }
    }
}

fn skip_frame(body: &[u8]) -> Option<&[u8]> {
    let body = body.strip_prefix(MAGIC)?;
    let flags = *body.first()?;
    let checksum = |flag: u8| if flags & flag != 0 { 4 } else { 0 };
    let content_size = if flags & HAS_CONTENT_SIZE != 0 { 8 } else { 0 };
    // Flags, block size and header checksum are one byte each.
    let mut rest = body.get(3 + content_size + checksum(HAS_DICTIONARY)..)?;
    loop {
        let (length, blocks) = rest.split_first_chunk::<4>()?;
        let length = (u32::from_le_bytes(*length) & !IS_PLAIN) as usize;
        if length == 0 {
            return blocks.get(checksum(HAS_CONTENT_CHECKSUM)..);
        }
        rest = blocks.get(length + checksum(HAS_BLOCK_CHECKSUMS)..)?;
    }
}

#[cfg(test)]
mod tests;
