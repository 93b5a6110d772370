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

/// Replaces the start of `out` by the decompressed `input` and returns it.
///
/// `out` only grows, so that one buffer serves many pages. Errors: another length than `expected`.
/// No more is allocated than the codec can make of an input of this length.
pub(crate) fn decompress<'o>(
    codec: Codec,
    input: &[u8],
    expected: usize,
    out: &'o mut Vec<u8>,
) -> DecodeResult<&'o [u8]> {
    let wrong = DecodeError("a page does not decompress to its declared size");
    // The most that each format makes of a byte: snappy copies 64 bytes by 3, LZ4 lengths grow by 255
    // a byte, deflate by 1032. Zstandard has no useful bound; it is read as a stream.
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
    if matches!(codec, Codec::Zstd) && expected > input.len().saturating_mul(1024) {
        let decoder = zstd::stream::read::Decoder::new(input).map_err(|_| wrong)?;
        return read_exactly(decoder, expected, out).ok_or(wrong);
    }
    if matches!(codec, Codec::Gzip) {
        let decoder = flate2::read::MultiGzDecoder::new(input);
        return read_exactly(decoder, expected, out).ok_or(wrong);
    }
    if out.len() < expected {
        out.resize(expected, 0);
    }
    let target = &mut out[..expected];
    let written = match codec {
        Codec::Snappy if snap::raw::decompress_len(input) != Ok(expected) => None,
        Codec::Snappy => snap::raw::Decoder::new().decompress(input, target).ok(),
        Codec::Lz4Raw => lz4_flex::block::decompress_into(input, target).ok(),
        Codec::Zstd => zstd::bulk::decompress_to_buffer(input, target).ok(),
        Codec::Gzip | Codec::Uncompressed => {
            (input.len() == expected).then(|| target.copy_from_slice(input)).map(|()| expected)
        }
    };
    if written == Some(expected) { Ok(&out[..expected]) } else { Err(wrong) }
}

fn read_exactly(reader: impl Read, expected: usize, out: &mut Vec<u8>) -> Option<&[u8]> {
    out.clear();
    let read = reader.take(expected as u64 + 1).read_to_end(out).ok()?;
    (read == expected).then_some(&out[..])
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
        let mut out = Vec::new();
        for content in [b"hello hello hello hello".to_vec(), vec![0u8; 300_000], Vec::new()] {
            for codec in ALL {
                let input = compressed(codec, &content);
                assert_eq!(decompress(codec, &input, content.len(), &mut out), Ok(&content[..]));
                assert!(decompress(codec, &input, content.len() + 1, &mut out).is_err());
                if !content.is_empty() {
                    assert!(decompress(codec, &input, content.len() - 1, &mut out).is_err());
                    let cut = &input[..input.len() - 1];
                    assert!(decompress(codec, cut, content.len(), &mut out).is_err(), "{codec:?}");
                }
            }
        }
    }

    #[test]
    fn implausible_sizes_allocate_nothing() {
        let mut out = Vec::new();
        for codec in [Codec::Snappy, Codec::Gzip, Codec::Lz4Raw, Codec::Zstd] {
            assert!(decompress(codec, &[1, 2, 3], 1 << 31, &mut out).is_err());
            assert!(out.capacity() < 1 << 20);
        }
    }
}
