use super::*;
use crate::read::values::Words;

/// A zigzag-coded number.
fn number(out: &mut Vec<u8>, value: i64) {
    let mut value = (value << 1 ^ value >> 63) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A v1 data page of PLAIN words without levels.
fn page(codec: Codec, words: usize) -> Vec<u8> {
    let plain = vec![0u8; words * 8];
    let body = match codec {
        Codec::Zstd => zstd::bulk::compress(&plain, 1).unwrap(),
        _ => plain.clone(),
    };
    let mut page = Vec::new();
    // Page type, sizes; then the header of the data page: entries, and three encodings.
    for value in [0, plain.len() as i64, body.len() as i64] {
        page.push(0x15);
        number(&mut page, value);
    }
    page.push(0x2c);
    for value in [words as i64, 0, 3, 3] {
        page.push(0x15);
        number(&mut page, value);
    }
    page.extend([0, 0]);
    page.extend(body);
    page
}

fn read(codec: Codec, words: usize, declared: usize) -> DecodeResult<usize> {
    let chunk = Chunk {
        leaf: Leaf { index: 0, max_rep: 0, max_def: 0 },
        codec,
        verify: true,
        entries: words,
        uncompressed: declared,
        pieces: vec![page(codec, words).into()],
        dictionary: None,
        window: None,
        chosen: None,
    };
    let mut decoder = Words::collecting(0);
    read_pages(&chunk, Needs::default(), &mut Scratch::default(), &mut decoder, |_, _| Ok(()))?;
    Ok(decoder.values.len())
}

#[test]
fn pages_that_swell_are_read_if_the_footer_announces_them() {
    let (few, many) = (1000, 4 << 20);
    assert_eq!(read(Codec::Zstd, few, 0), Ok(few));
    assert_eq!(read(Codec::Zstd, many, many * 8 + 100), Ok(many));
    assert_eq!(
        read(Codec::Zstd, many, few * 8),
        Err(DecodeError("a page is larger than its chunk declares"))
    );
    // What is as large in the file surprises nobody.
    assert_eq!(read(Codec::Uncompressed, many, 0), Ok(many));
}
