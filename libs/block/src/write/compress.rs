//! Compression of pages.

use parquet::basic::{CompressionCodec, ZstdLevel};

use super::Compression;
use crate::error::Result;

/// Level for bytes that many columns share: compressed once, so it may cost more.
const SHARED_EXTRA_LEVELS: i32 = 2;

/// Bytes at the start of many pages, kept ready in both forms.
#[derive(Debug, Default)]
pub(super) struct SharedBytes {
    raw: Vec<u8>,
    /// A zstd frame of `raw`; unused by other codecs.
    frame: Vec<u8>,
}

/// Compresses pages with one codec, reusing its memory.
pub(super) struct Compressor {
    codec: Codec,
    scratch: Vec<u8>,
}

enum Codec {
    Uncompressed,
    Snappy(Box<snap::raw::Encoder>),
    /// For a column's own bytes, and for those that columns share.
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
        Ok(Self { codec, scratch: Vec::new() })
    }

    /// The codec as the footer names it.
    pub(super) fn codec(&self) -> CompressionCodec {
        match self.codec {
            Codec::Uncompressed => CompressionCodec::UNCOMPRESSED,
            Codec::Snappy(_) => CompressionCodec::SNAPPY,
            Codec::Zstd { .. } => CompressionCodec::ZSTD,
        }
    }

    /// Prepares bytes for use at the start of any number of pages: `before`, and then `bytes`.
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

    /// The compressed form of `shared` followed by `own`, and its uncompressed size.
    ///
    /// With zstd this is two frames in a row, which decode to the concatenation of their contents (RFC 8878,
    /// section 3); the first is a copy.
    pub(super) fn page(&mut self, shared: &SharedBytes, own: &[u8]) -> Result<(Vec<u8>, usize)> {
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
}
