//! Decompression of page bodies.

use std::io::Read;

use super::{DecodeError, DecodeResult};

/// Compression of a column chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Stored as is.
    Uncompressed,
    /// Snappy, raw block.
    Snappy,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// LZ4, raw block.
    Lz4Raw,
}

/// Decompresses one page after the other.
#[derive(Default)]
pub(crate) struct Decompressor {
    /// Only grows; its start is the last page.
    buffer: Vec<u8>,
    /// Created on first use, because it is large and costs more to create than a small page costs to decompress.
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decompressor {
    /// Bytes of the buffer.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Decompresses `input`.
    ///
    /// Errors: the result does not have `expected` bytes. Allocates no more than the codec can produce from an input of
    /// this length.
    pub(crate) fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        expected: usize,
    ) -> DecodeResult<&[u8]> {
        let wrong = DecodeError("a page does not decompress to its declared size");
        // The largest growth that each format allows: snappy copies 64 bytes with 3, LZ4 lengths grow by 255 a byte,
        // deflate by 1032. Zstandard has no useful limit; beyond its usual growth, input is read as a stream.
        let growth = match codec {
            Codec::Uncompressed => 1,
            Codec::Snappy => 32,
            Codec::Lz4Raw => 256,
            Codec::Gzip => 1100,
            Codec::Zstd => usize::MAX,
        };
        if expected > input.len().saturating_mul(growth).saturating_add(64) {
            return Err(wrong);
        }
        let out = &mut self.buffer;
        let written = match codec {
            Codec::Gzip => read(flate2::read::MultiGzDecoder::new(input), expected, out),
            Codec::Zstd if expected > input.len().saturating_mul(1024) => {
                zstd::stream::read::Decoder::new(input)
                    .ok()
                    .and_then(|decoder| read(decoder, expected, out))
            }
            Codec::Zstd => {
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(zstd::bulk::Decompressor::new().map_err(|_| wrong)?),
                };
                zstd.decompress_to_buffer(input, sized(out, expected)).ok()
            }
            Codec::Snappy if snap::raw::decompress_len(input) != Ok(expected) => None,
            Codec::Snappy => snap::raw::Decoder::new().decompress(input, sized(out, expected)).ok(),
            Codec::Lz4Raw => lz4_flex::block::decompress_into(input, sized(out, expected)).ok(),
            Codec::Uncompressed => (input.len() == expected).then(|| {
                sized(out, expected).copy_from_slice(input);
                expected
            }),
        };
        if written == Some(expected) { Ok(&self.buffer[..expected]) } else { Err(wrong) }
    }
}

/// The first bytes of a buffer, which grows if it is shorter.
fn sized(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

/// Replaces the content of `out` by that of a stream, but reads at most one byte more than `expected`.
fn read(stream: impl Read, expected: usize, out: &mut Vec<u8>) -> Option<usize> {
    out.clear();
    stream.take(expected as u64 + 1).read_to_end(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn compressed(codec: Codec, content: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Uncompressed => content.to_vec(),
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(content).unwrap(),
            Codec::Zstd => zstd::bulk::compress(content, 1).unwrap(),
            Codec::Lz4Raw => lz4_flex::block::compress(content),
            Codec::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const ALL: [Codec; 5] =
        [Codec::Uncompressed, Codec::Snappy, Codec::Gzip, Codec::Zstd, Codec::Lz4Raw];

    #[test]
    fn every_codec_round_trips_and_checks_the_size() {
        let mut decompressor = Decompressor::default();
        for content in [b"hello hello hello hello".to_vec(), vec![0u8; 300_000], Vec::new()] {
            for codec in ALL {
                let input = compressed(codec, &content);
                let found = decompressor.decompress(codec, &input, content.len());
                assert_eq!(found, Ok(&content[..]));
                assert!(decompressor.decompress(codec, &input, content.len() + 1).is_err());
                if !content.is_empty() {
                    assert!(decompressor.decompress(codec, &input, content.len() - 1).is_err());
                    let cut = &input[..input.len() - 1];
                    assert!(
                        decompressor.decompress(codec, cut, content.len()).is_err(),
                        "{codec:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn implausible_sizes_allocate_nothing() {
        let mut decompressor = Decompressor::default();
        for codec in [Codec::Snappy, Codec::Gzip, Codec::Lz4Raw, Codec::Zstd] {
            assert!(decompressor.decompress(codec, &[1, 2, 3], 1 << 31).is_err());
            assert!(decompressor.buffer.capacity() < 1 << 20);
        }
    }
}
