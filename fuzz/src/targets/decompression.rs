//! Compressed bodies.

#[path = "../../../libs/receivers/src/testing/compress.rs"]
mod compress;

use tactus_receivers::compression::{Encoding, decompress_now};

use compress::compress;

const ENCODINGS: [Encoding; 7] = [
    Encoding::Gzip,
    Encoding::Zlib,
    Encoding::Deflate,
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
            let body = compress(ENCODINGS[place], text);
            [&[place as u8][..], &body].concat()
        })
    });
    // A megabyte of one byte is large in formats that shrink little; nothing is learnt from it.
    seeds.filter(|seed| seed.len() < 10_000).collect()
}
