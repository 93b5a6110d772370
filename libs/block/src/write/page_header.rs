//! Page headers, in Thrift's compact protocol. The Parquet library cannot write them with a checksum.

use parquet::basic::Encoding;

use crate::encoding::put_zigzag;

/// What a page holds.
pub(super) enum PageKind {
    /// A v1 data page: entries, encoding of the values.
    Data(u32, Encoding),
    /// A sorted PLAIN dictionary: entries.
    Dictionary(u32),
}

/// Appends the header of a page with the bytes `stored`, including their CRC-32. `uncompressed` is their length before
/// compression. Returns false, and appends nothing, if a length does not fit.
pub(super) fn put_page_header(
    out: &mut Vec<u8>,
    kind: &PageKind,
    stored: &[u8],
    uncompressed: usize,
) -> bool {
    let (Ok(uncompressed), Ok(length)) = (i32::try_from(uncompressed), i32::try_from(stored.len()))
    else {
        return false;
    };
    let entries = match kind {
        PageKind::Data(entries, _) | PageKind::Dictionary(entries) => *entries,
    };
    let Ok(entries) = i32::try_from(entries) else { return false };
    let page_type = match kind {
        PageKind::Data(..) => DATA_PAGE,
        PageKind::Dictionary(_) => DICTIONARY_PAGE,
    };
    put_i32(out, 1, page_type);
    put_i32(out, 1, uncompressed);
    put_i32(out, 1, length);
    put_i32(out, 1, crc32fast::hash(stored) as i32);
    match *kind {
        PageKind::Data(_, encoding) => {
            // Field 5; the dictionary's is 7.
            out.push(1 << 4 | STRUCT);
            put_i32(out, 1, entries);
            put_i32(out, 1, encoding as i32);
            put_i32(out, 1, Encoding::RLE as i32);
            put_i32(out, 1, Encoding::RLE as i32);
        }
        PageKind::Dictionary(_) => {
            out.push(3 << 4 | STRUCT);
            put_i32(out, 1, entries);
            put_i32(out, 1, Encoding::PLAIN as i32);
            out.push(1 << 4 | TRUE);
        }
    }
    out.extend_from_slice(&[STOP, STOP]);
    true
}

const DATA_PAGE: i32 = 0;
const DICTIONARY_PAGE: i32 = 2;

// Types of fields.
const TRUE: u8 = 1;
const I32: u8 = 5;
const STRUCT: u8 = 12;
const STOP: u8 = 0;

/// Appends a field whose number is `step` above that of the previous field.
fn put_i32(out: &mut Vec<u8>, step: u8, value: i32) {
    out.push(step << 4 | I32);
    put_zigzag(out, i64::from(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::page::{Encoding as Stored, PageKind as Read, read_page_header};

    #[test]
    fn headers_read_back() {
        let stored = b"some bytes".as_slice();
        let encodings = [
            (Encoding::PLAIN, Stored::Plain),
            (Encoding::RLE_DICTIONARY, Stored::Dictionary),
            (Encoding::DELTA_BINARY_PACKED, Stored::DeltaBinaryPacked),
            (Encoding::DELTA_LENGTH_BYTE_ARRAY, Stored::DeltaLengthByteArray),
        ];
        for (encoding, expected) in encodings {
            let mut out = Vec::new();
            assert!(put_page_header(&mut out, &PageKind::Data(300, encoding), stored, 1_000));
            let (header, rest) = read_page_header(&out).unwrap();
            assert!(rest.is_empty());
            assert_eq!((header.uncompressed, header.compressed), (1_000, stored.len()));
            assert_eq!(header.crc, crc32fast::hash(stored));
            let Read::Data { entries, encoding, .. } = header.kind else { panic!("{header:?}") };
            assert_eq!((entries, encoding), (300, expected));
        }
        let mut out = Vec::new();
        assert!(put_page_header(&mut out, &PageKind::Dictionary(7), stored, 50));
        let (header, _) = read_page_header(&out).unwrap();
        assert_eq!(header.kind, Read::Dictionary { entries: 7, encoding: Stored::Plain });
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let mut out = Vec::new();
        assert!(!put_page_header(&mut out, &PageKind::Dictionary(1), b"", 1 << 31));
        assert!(!put_page_header(&mut out, &PageKind::Dictionary(1 << 31), b"", 1));
        assert!(out.is_empty());
    }
}
