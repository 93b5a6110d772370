//! Compressed bodies, for the tests here and for those of the fuzz targets.

use std::io::Write;

use super::Encoding;

/// Compresses as a client would; [`Encoding::Deflate`] and [`Encoding::Snappy`] give the raw formats.
pub(crate) fn compress(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let compressed = match encoding {
        Encoding::Gzip => {
            finish(flate2::write::GzEncoder::new(Vec::new(), level), plain, |e| e.finish())
        }
        Encoding::Zlib => {
            finish(flate2::write::ZlibEncoder::new(Vec::new(), level), plain, |e| e.finish())
        }
        Encoding::Deflate => {
            finish(flate2::write::DeflateEncoder::new(Vec::new(), level), plain, |e| e.finish())
        }
        Encoding::Zstd => zstd::stream::encode_all(plain, 1),
        Encoding::Snappy => snap::raw::Encoder::new().compress_vec(plain).map_err(Into::into),
        Encoding::SnappyFramed => finish(snap::write::FrameEncoder::new(Vec::new()), plain, |e| {
            e.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
        }),
        Encoding::Lz4 => finish(lz4_flex::frame::FrameEncoder::new(Vec::new()), plain, |e| {
            e.finish().map_err(std::io::Error::other)
        }),
    };
    compressed.expect("compressing into memory does not fail")
}

fn finish<E: Write>(
    mut encoder: E,
    plain: &[u8],
    finish: impl FnOnce(E) -> std::io::Result<Vec<u8>>,
) -> std::io::Result<Vec<u8>> {
    encoder.write_all(plain)?;
    finish(encoder)
}
