//! Compressed bodies.

use std::io::Write;

use tactus_receivers::compression::{Encoding, decompress_now};

const ENCODINGS: [Encoding; 6] = [
    Encoding::Gzip,
    Encoding::Zlib,
    Encoding::Zstd,
    Encoding::Snappy,
    Encoding::SnappyFramed,
    Encoding::Lz4,
];
/// The most that a body may decompress to.
const LIMIT: usize = 1 << 20;

/// The first byte: which encoding.
pub(crate) fn feed(input: &[u8]) {
    let Some((&encoding, body)) = input.split_first() else { return };
    let encoding = ENCODINGS[usize::from(encoding) % ENCODINGS.len()];
    if let Ok(plain) = decompress_now(encoding, body, LIMIT, |_| true) {
        assert!(plain.len() <= LIMIT);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [Vec::new(), b"a body of some text, text, text".to_vec(), vec![7; 3 << 20]];
    let seeds = texts.iter().flat_map(|text| {
        (0..ENCODINGS.len()).map(|place| {
            let body = compressed(ENCODINGS[place], text).expect("memory takes all bytes");
            [&[place as u8][..], &body].concat()
        })
    });
    // A megabyte of one byte is large in formats that shrink little; nothing is learnt from it.
    seeds.filter(|seed| seed.len() < 10_000).collect()
}

fn compressed(encoding: Encoding, text: &[u8]) -> std::io::Result<Vec<u8>> {
    let level = flate2::Compression::fast();
    match encoding {
        Encoding::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level);
            out.write_all(text)?;
            out.finish()
        }
        Encoding::Zlib => {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), level);
            out.write_all(text)?;
            out.finish()
        }
        Encoding::Zstd => zstd::stream::encode_all(text, 1),
        Encoding::Snappy => Ok(snap::raw::Encoder::new().compress_vec(text)?),
        Encoding::SnappyFramed => {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            out.write_all(text)?;
            out.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
        }
        Encoding::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(text)?;
            out.finish().map_err(std::io::Error::other)
        }
    }
}
