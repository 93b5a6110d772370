//! Decompression of request bodies with bounded memory.
//!
//! Everything is decoded into one buffer that never outgrows the limit, whatever the body claims, and is counted before it
//! grows. Bodies that end too early are errors.

use std::io::{self, Read};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
pub use tactus_server::bodies::DecompressError;
use tactus_server::bodies::{Held, Plain, first_capacity};
use tactus_work::{Slot, SlotLimits, Slots, turns::cores};

/// Start of the snappy framing format, by which framed bodies are told from raw blocks.
const SNAPPY_STREAM_START: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Larger compressed bodies are decoded off the async threads.
const INLINE_BYTES: usize = 16 << 10;

/// So are bodies that become more than this, and than this many times their own bytes: spans become some ten times.
const INLINE_PLAIN_BYTES: usize = 64 << 10;
const INLINE_GROWTH: usize = 32;

/// Decoders at work off the async threads: no more than cores, so that a burst waits its turn
/// instead of holding memory for all of its bodies at once. Tenants take turns.
static WORKERS: LazyLock<Slots> = LazyLock::new(|| Slots::new(SlotLimits::of_turns(cores())));

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// gzip, of one or more members.
    Gzip,
    /// deflate with zlib wrapper: `zlib`, and what gRPC calls `deflate`.
    Zlib,
    /// What HTTP calls `deflate`: with zlib wrapper, which some senders leave out, told apart by the first bytes.
    Deflate,
    /// zstd.
    Zstd,
    /// snappy, framed or raw, told apart by the first bytes.
    Snappy,
    /// snappy in the framing format only.
    SnappyFramed,
    /// lz4 frame.
    Lz4,
}

impl Encoding {
    /// The encoding of an HTTP `Content-Encoding`, whatever its case. `None`: unknown.
    pub(crate) fn from_content_encoding(name: &str) -> Option<Self> {
        let known = [
            ("gzip", Self::Gzip),
            ("zlib", Self::Zlib),
            ("deflate", Self::Deflate),
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
/// `tenant`: as in [`Line`](tactus_work::Line).
pub async fn decompress(
    encoding: Encoding,
    body: Bytes,
    limit: usize,
    held: &Held,
    tenant: impl FnOnce() -> u64,
) -> Result<Bytes, DecompressError> {
    if body.len() <= INLINE_BYTES && !(encoding == Encoding::Lz4 && has_large_blocks(&body)) {
        let room = |bytes| held.try_take_for_work(bytes);
        let at_once = limit.min(INLINE_PLAIN_BYTES.max(INLINE_GROWTH * body.len()));
        match decompress_now(encoding, &body, at_once, room) {
            // The window of zstd is limited as well, so what is called damaged may be sound.
            Err(DecompressError::TooLarge { .. } | DecompressError::Corrupt(_))
                if at_once < limit =>
            {
                held.keep_of_work(0);
            }
            plain => return plain.map(Bytes::from),
        }
    }
    let place = turn(tenant()).await;
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
    let work = move || {
        // Kept until the thread is free, even if the client has left.
        let _place = place;
        decompress_now(encoding, &body, limit, room)
    };
    tokio::task::spawn_blocking(work).await.map_or_else(
        |error| Err(DecompressError::Corrupt(error.to_string())),
        |out| out.map(Bytes::from),
    )
}

/// Waits for a turn of the tenant to work on the blocking pool: at most one task a core works at once.
pub(crate) async fn turn(tenant: u64) -> Option<Slot> {
    WORKERS.turn(tenant).await
}

/// Decompresses `body` to at most `limit` bytes on this thread. `room` is asked before memory is taken; when it says no,
/// there is no more.
pub fn decompress_now(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
    room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, DecompressError> {
    let mut out = Plain::new(body.len(), limit, room)?;
    match encoding {
        Encoding::Gzip => out.read_gzip(body),
        Encoding::Zlib => inflate(&mut out, body, true),
        Encoding::Deflate => inflate(&mut out, body, has_zlib_header(body)),
        Encoding::Zstd => out.read_zstd(body),
        Encoding::Snappy if !body.starts_with(SNAPPY_STREAM_START) => unsnap_block(&mut out, body),
        Encoding::Snappy | Encoding::SnappyFramed => unsnap_frames(&mut out, body),
        Encoding::Lz4 => unlz4_frames(&mut out, body),
    }?;
    Ok(out.bytes)
}

type Result<T, E = DecompressError> = std::result::Result<T, E>;

fn corrupt(text: &str) -> DecompressError {
    DecompressError::Corrupt(text.to_owned())
}

/// By hand, because the reader of `flate2` takes a stream that is cut off for a complete one.
fn inflate(
    out: &mut Plain<impl FnMut(usize) -> bool>,
    body: &[u8],
    has_header: bool,
) -> Result<()> {
    let mut decompress = Decompress::new(has_header);
    loop {
        let consumed = decompress.total_in() as usize;
        let before = out.bytes.len();
        let status = decompress
            .decompress_vec(&body[consumed..], &mut out.bytes, FlushDecompress::None)
            .map_err(DecompressError::corrupt)?;
        if out.bytes.len() > out.limit {
            return Err(DecompressError::TooLarge { limit: out.limit });
        }
        if status == Status::StreamEnd {
            return Ok(());
        }
        if out.bytes.len() == out.bytes.capacity() {
            out.grow()?;
        } else if out.bytes.len() == before && decompress.total_in() as usize == consumed {
            let format = if has_header { "zlib" } else { "deflate" };
            return Err(corrupt(&format!("{format}: unexpected end of body")));
        }
    }
}

/// Whether a body begins as zlib's format does: method 8, and a multiple of 31. No encoder writes raw deflate that
/// begins so: it would be a block without compression whose padding is not zero.
fn has_zlib_header(body: &[u8]) -> bool {
    let Some(header) = body.first_chunk::<2>() else { return false };
    header[0] & 0xf == 8 && u16::from_be_bytes(*header).is_multiple_of(31)
}

/// A raw block has no more than 64 bytes of text for each three of its own.
const SNAPPY_GROWTH: usize = 22;

fn unsnap_block(out: &mut Plain<impl FnMut(usize) -> bool>, body: &[u8]) -> Result<()> {
    // The length is a mere claim of the body: check it before anything is allocated.
    let length = snap::raw::decompress_len(body).map_err(DecompressError::corrupt)?;
    if length > out.limit {
        return Err(DecompressError::TooLarge { limit: out.limit });
    }
    // All of it would be filled with zeros first.
    if length > body.len().saturating_mul(SNAPPY_GROWTH) {
        return Err(corrupt("snappy: a block claims to hold more than it can"));
    }
    out.reserve(length)?;
    out.bytes.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(body, &mut out.bytes);
    out.bytes.truncate(written.map_err(DecompressError::corrupt)?);
    Ok(())
}

fn unsnap_frames(out: &mut Plain<impl FnMut(usize) -> bool>, body: &[u8]) -> Result<()> {
    if !body.is_empty() && !body.starts_with(SNAPPY_STREAM_START) {
        return Err(corrupt("snappy: stream identifier is missing"));
    }
    out.read(snap::read::FrameDecoder::new(body))
}

/// The decoder fills a block with zeros for each frame, whatever is in it. All of a body together have no more bytes than
/// what it may become, and these for frames that are mostly empty.
const FREE_LZ4_BLOCK_BYTES: usize = 32 << 20;

fn unlz4_frames(out: &mut Plain<impl FnMut(usize) -> bool>, body: &[u8]) -> Result<()> {
    for frame in lz4_frames(body, out.limit.saturating_add(FREE_LZ4_BLOCK_BYTES))? {
        // One for all would keep the buffers of the largest, which it does not expect.
        out.read(PastEmptyBlocks(lz4_flex::frame::FrameDecoder::new(frame)))?;
    }
    Ok(())
}

/// Reads on where the decoder says that there is no more, as it does at the end of each empty block.
struct PastEmptyBlocks<'b>(lz4_flex::frame::FrameDecoder<&'b [u8]>);

impl Read for PastEmptyBlocks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer)? {
                0 if !buffer.is_empty() && !self.0.get_ref().is_empty() => {}
                read => return Ok(read),
            }
        }
    }
}

/// Whether the blocks of all frames together are too large to be filled on an async thread.
fn has_large_blocks(body: &[u8]) -> bool {
    lz4_frames(body, INLINE_PLAIN_BYTES).is_err()
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

/// The frames of `body`, whose contents are not looked at. Errors: one is cut off, which the decoder would take for complete
/// where that is between blocks; their blocks have more than `max_block_bytes`, one of each frame.
fn lz4_frames(mut body: &[u8], max_block_bytes: usize) -> Result<Vec<&[u8]>> {
    let (mut frames, mut room) = (Vec::new(), max_block_bytes);
    while !body.is_empty() || frames.is_empty() {
        let Some(left) = room.checked_sub(lz4_block_bytes(body)) else {
            return Err(corrupt("lz4: too many frames in a body"));
        };
        room = left;
        let rest = skip_frame(body).ok_or_else(|| corrupt("lz4: unexpected end of body"))?;
        frames.push(&body[..body.len() - rest.len()]);
        body = rest;
    }
    Ok(frames)
}

/// The size of a block of the frame at which `body` begins: 4 to 7 in its descriptor stand for 64 KiB to 4 MiB, and other
/// numbers for nothing.
fn lz4_block_bytes(body: &[u8]) -> usize {
    let number = body.get(MAGIC.len() + 1).map_or(0, |descriptor| descriptor >> 4 & 7);
    1 << (8 + 2 * number.max(4))
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
