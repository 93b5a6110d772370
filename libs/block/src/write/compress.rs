//! Compression of pages.

use parquet::basic::{CompressionCodec, ZstdLevel};

use super::Compression;
use crate::error::Result;
use crate::schema::LeafCompression;

/// Added to the compression level for bytes that many columns share, which are compressed only once, and for blobs,
/// which are rarely read.
const SHARED_EXTRA_LEVELS: i32 = 2;

/// Compression level for blobs if other columns do not use zstd.
const BLOB_LEVEL: i32 = 3;

/// Bytes at the start of many pages, both uncompressed and compressed.
#[derive(Debug, Default)]
pub(super) struct SharedBytes {
    raw: Vec<u8>,
    /// A zstd frame of `raw`; unused by other codecs.
    frame: Vec<u8>,
}

/// Compresses pages with one codec, reusing its memory.
pub(super) struct Compressor {
    codec: Codec,
    /// For blobs if `codec` is not zstd. Created on first use.
    blobs: Option<zstd::bulk::Compressor<'static>>,
    scratch: Vec<u8>,
}

enum Codec {
    Uncompressed,
    Snappy(Box<snap::raw::Encoder>),
    /// One for a column's own bytes, one for bytes that columns share.
    Zstd {
        own: zstd::bulk::Compressor<'static>,
        shared: zstd::bulk::Compressor<'static>,
    },
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        let codec = match compression {
            Compression::None => Codec::Uncompressed,
            Compression::Snappy => Codec::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd(level) => {
                let level = ZstdLevel::try_new(level)?.compression_level();
                Codec::Zstd {
                    own: zstd::bulk::Compressor::new(level)?,
                    shared: zstd::bulk::Compressor::new((level + SHARED_EXTRA_LEVELS).min(22))?,
                }
            }
        };
        Ok(Self { codec, blobs: None, scratch: Vec::new() })
    }

    /// The codec of a column as the footer names it.
    pub(super) fn codec(&self, compression: LeafCompression) -> CompressionCodec {
        match self.codec {
            _ if compression == LeafCompression::Blob => CompressionCodec::ZSTD,
            Codec::Uncompressed => CompressionCodec::UNCOMPRESSED,
            Codec::Snappy(_) => CompressionCodec::SNAPPY,
            Codec::Zstd { .. } => CompressionCodec::ZSTD,
        }
    }

    /// Compresses bytes that will start any number of pages: `before`, and then `bytes`.
    pub(super) fn share(
        &mut self,
        before: Option<&SharedBytes>,
        bytes: Vec<u8>,
    ) -> Result<SharedBytes> {
        let frame = match &mut self.codec {
            Codec::Zstd { shared, .. } if !bytes.is_empty() => shared.compress(&bytes)?,
            _ => Vec::new(),
        };
        Ok(match before {
            None => SharedBytes { raw: bytes, frame },
            Some(before) => SharedBytes {
                raw: [before.raw.as_slice(), &bytes].concat(),
                frame: [before.frame.as_slice(), &frame].concat(),
            },
        })
    }

    /// Compresses `shared` followed by `own` with a column's codec. Also returns the uncompressed size.
    pub(super) fn page(
        &mut self,
        compression: LeafCompression,
        shared: &SharedBytes,
        own: &[u8],
    ) -> Result<(Vec<u8>, usize)> {
        match compression {
            LeafCompression::AsSet => self.whole_page(shared, own),
            LeafCompression::OnlyLevels => self.page_with_values_as_they_are(shared, own),
            LeafCompression::Blob => self.blob_page(shared, own),
        }
    }

    /// With zstd the result is two frames, which decompress to the concatenation of their contents (RFC 8878, section
    /// 3). The first frame is a copy.
    fn whole_page(&mut self, shared: &SharedBytes, own: &[u8]) -> Result<(Vec<u8>, usize)> {
        let raw_length = shared.raw.len() + own.len();
        let page = match &mut self.codec {
            Codec::Uncompressed => [shared.raw.as_slice(), own].concat(),
            Codec::Snappy(encoder) => {
                self.scratch.clear();
                self.scratch.extend_from_slice(&shared.raw);
                self.scratch.extend_from_slice(own);
                encoder.compress_vec(&self.scratch).map_err(std::io::Error::other)?
            }
            Codec::Zstd { own: compressor, .. } => {
                let mut page = Vec::new();
                if own.is_empty() && !shared.raw.is_empty() {
                    page.extend_from_slice(&shared.frame);
                } else {
                    self.scratch.clear();
                    self.scratch.reserve(zstd::zstd_safe::compress_bound(own.len()));
                    compressor.compress_to_buffer(own, &mut self.scratch)?;
                    page.reserve_exact(shared.frame.len() + self.scratch.len());
                    page.extend_from_slice(&shared.frame);
                    page.extend_from_slice(&self.scratch);
                }
                page
            }
        };
        Ok((page, raw_length))
    }

    /// As [`Self::whole_page`], but with zstd `own` becomes a frame of uncompressed blocks: a reader finds the values
    /// as they are, after the frames of the levels. Other codecs compress the whole page.
    fn page_with_values_as_they_are(
        &mut self,
        shared: &SharedBytes,
        own: &[u8],
    ) -> Result<(Vec<u8>, usize)> {
        if own.is_empty() || !matches!(self.codec, Codec::Zstd { .. }) {
            return self.whole_page(shared, own);
        }
        let mut page = Vec::new();
        page.reserve_exact(shared.frame.len() + own.len() + raw_frame_overhead(own.len()));
        page.extend_from_slice(&shared.frame);
        put_raw_frame(&mut page, own);
        Ok((page, shared.raw.len() + own.len()))
    }

    /// A page that is always compressed with zstd.
    fn blob_page(&mut self, shared: &SharedBytes, own: &[u8]) -> Result<(Vec<u8>, usize)> {
        let length = shared.raw.len() + own.len();
        if let Codec::Zstd { shared: compressor, .. } = &mut self.codec {
            let mut page = shared.frame.clone();
            if !own.is_empty() || page.is_empty() {
                page.extend_from_slice(&compressor.compress(own)?);
            }
            return Ok((page, length));
        }
        let compressor = match &mut self.blobs {
            Some(compressor) => compressor,
            none => none.insert(zstd::bulk::Compressor::new(BLOB_LEVEL)?),
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(&shared.raw);
        self.scratch.extend_from_slice(own);
        Ok((compressor.compress(&self.scratch)?, length))
    }
}

/// The most that a block of a zstd frame holds.
const MAX_BLOCK: usize = 128 << 10;

/// Magic, descriptor and content size.
const FRAME_HEADER: usize = 9;

const BLOCK_HEADER: usize = 3;

fn raw_frame_overhead(bytes: usize) -> usize {
    FRAME_HEADER + bytes.div_ceil(MAX_BLOCK).max(1) * BLOCK_HEADER
}

/// Appends a zstd frame (RFC 8878, section 3.1.1) of raw blocks.
fn put_raw_frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
    // One segment, so no window; a content size of four bytes; no checksum, no dictionary.
    out.push(2 << 6 | 1 << 5);
    // Pages are far below 4 GiB, because their length must fit into 31 bits of the page header.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let blocks = bytes.len().div_ceil(MAX_BLOCK);
    for (number, block) in bytes.chunks(MAX_BLOCK).enumerate() {
        let is_last = u32::from(number + 1 == blocks);
        let header = is_last | (block.len() as u32) << 3;
        out.extend_from_slice(&header.to_le_bytes()[..BLOCK_HEADER]);
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_frames_decompress_to_their_bytes() {
        let all: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for length in [1, 255, 256, MAX_BLOCK - 1, MAX_BLOCK, MAX_BLOCK + 1, all.len()] {
            let mut compressor = Compressor::new(Compression::Zstd(1)).unwrap();
            let shared = compressor.share(None, vec![7; 1000]).unwrap();
            let own = &all[..length];
            let (page, size) = compressor.page_with_values_as_they_are(&shared, own).unwrap();
            assert_eq!(size, 1000 + length);
            assert_eq!(page.len(), shared.frame.len() + length + raw_frame_overhead(length));
            let found = zstd::stream::decode_all(&page[..]).unwrap();
            assert_eq!(found, [&[7; 1000], own].concat());
        }
    }
}
