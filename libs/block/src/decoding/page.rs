//! Page headers: the few fields of the Thrift struct that decoding needs.

use super::thrift::{Value, read_struct};
use super::{DecodeError, DecodeResult};

/// Encodings of values, by their numbers in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// PLAIN.
    Plain,
    /// PLAIN_DICTIONARY or RLE_DICTIONARY.
    Dictionary,
    /// RLE, for booleans.
    Rle,
    /// DELTA_BINARY_PACKED.
    DeltaBinaryPacked,
    /// DELTA_LENGTH_BYTE_ARRAY.
    DeltaLengthByteArray,
    /// DELTA_BYTE_ARRAY.
    DeltaByteArray,
    /// One that is not read here.
    Other,
}

impl Encoding {
    fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Plain,
            2 | 8 => Self::Dictionary,
            3 => Self::Rle,
            5 => Self::DeltaBinaryPacked,
            6 => Self::DeltaLengthByteArray,
            7 => Self::DeltaByteArray,
            _ => Self::Other,
        }
    }
}

/// What kind of page follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    /// A v1 page: levels with lengths before them, all compressed together with the values.
    Data {
        /// Entries, nulls included.
        entries: usize,
        /// Of the values.
        encoding: Encoding,
        /// Both level sections are RLE.
        rle_levels: bool,
    },
    /// Uncompressed levels, then values.
    DataV2 {
        /// Entries, nulls included.
        entries: usize,
        /// Entries without a value.
        nulls: usize,
        /// Of the values.
        encoding: Encoding,
        /// Bytes of the definition levels.
        def_bytes: usize,
        /// Bytes of the repetition levels, which come first.
        rep_bytes: usize,
        /// The values are compressed with the chunk's codec.
        compressed: bool,
    },
    /// The dictionary of the chunk.
    Dictionary {
        /// Entries.
        entries: usize,
        /// Of the entries.
        encoding: Encoding,
    },
    /// To be skipped.
    Other,
}

/// A page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageHeader {
    /// Kind and the counts that go with it.
    pub(crate) kind: PageKind,
    /// Bytes of the body after decompression, including levels.
    pub(crate) uncompressed: usize,
    /// Bytes of the body as stored.
    pub(crate) compressed: usize,
    /// CRC-32 of the stored body; zero stands for none.
    pub(crate) crc: u32,
}

/// Reads the header at the start of `input`. Returns it, and the bytes after it.
pub(crate) fn read_page_header(input: &[u8]) -> DecodeResult<(PageHeader, &[u8])> {
    let (mut page_type, mut uncompressed, mut compressed, mut crc) = (-1, -1, -1, 0);
    let mut parts = [Part::default(); 3];
    let rest = read_struct(input, 0, |field, value| {
        match (field, value) {
            (1, Value::Number(number)) => page_type = number,
            (2, Value::Number(number)) => uncompressed = number,
            (3, Value::Number(number)) => compressed = number,
            (4, Value::Number(number)) => crc = number as u32,
            (5, Value::Struct(input)) => return Ok(Some(parts[0].read(input)?)),
            (7, Value::Struct(input)) => return Ok(Some(parts[1].read(input)?)),
            (8, Value::Struct(input)) => return Ok(Some(parts[2].read(input)?)),
            _ => {}
        }
        Ok(None)
    })?;
    let kind = match page_type {
        0 => parts[0].data()?,
        2 => parts[1].dictionary()?,
        3 => parts[2].data_v2()?,
        _ => PageKind::Other,
    };
    let header =
        PageHeader { kind, uncompressed: size(uncompressed)?, compressed: size(compressed)?, crc };
    Ok((header, rest))
}

/// The fields 1 to 7 of one of the headers inside the page header. Absent: `None`.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    numbers: [Option<i64>; 7],
}

impl Part {
    fn read<'a>(&mut self, input: &'a [u8]) -> DecodeResult<&'a [u8]> {
        read_struct(input, 1, |field, value| {
            let slot = usize::try_from(field - 1).ok().and_then(|i| self.numbers.get_mut(i));
            match (slot, value) {
                (Some(slot), Value::Number(number)) => *slot = Some(number),
                (Some(slot), Value::Bool(flag)) => *slot = Some(i64::from(flag)),
                _ => {}
            }
            Ok(None)
        })
    }

    fn number(&self, field: usize) -> DecodeResult<i64> {
        self.numbers[field - 1].ok_or(DecodeError("a page header lacks a field"))
    }

    fn count(&self, field: usize) -> DecodeResult<usize> {
        size(self.number(field)?)
    }

    fn data(&self) -> DecodeResult<PageKind> {
        Ok(PageKind::Data {
            entries: self.count(1)?,
            encoding: Encoding::from_number(self.number(2)?),
            rle_levels: self.number(3)? == 3 && self.number(4)? == 3,
        })
    }

    fn dictionary(&self) -> DecodeResult<PageKind> {
        let encoding = match self.number(2)? {
            // Old writers declare the PLAIN entries of a dictionary as PLAIN_DICTIONARY.
            0 | 2 => Encoding::Plain,
            _ => Encoding::Other,
        };
        Ok(PageKind::Dictionary { entries: self.count(1)?, encoding })
    }

    fn data_v2(&self) -> DecodeResult<PageKind> {
        Ok(PageKind::DataV2 {
            entries: self.count(1)?,
            nulls: self.count(2)?,
            encoding: Encoding::from_number(self.number(4)?),
            def_bytes: self.count(5)?,
            rep_bytes: self.count(6)?,
            compressed: self.numbers[6] != Some(0),
        })
    }
}

fn size(number: i64) -> DecodeResult<usize> {
    let number = i32::try_from(number).ok().and_then(|number| usize::try_from(number).ok());
    number.ok_or(DecodeError("a page header holds an impossible size"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn version_1_header_is_read() {
        let bytes =
            [0x15, 0, 0x15, 20, 0x15, 16, 0x2c, 0x15, 8, 0x15, 16, 0x15, 6, 0x15, 6, 0, 0, 9];
        let (header, rest) = read_page_header(&bytes).unwrap();
        assert_eq!(rest, [9]);
        assert_eq!((header.uncompressed, header.compressed, header.crc), (10, 8, 0));
        let kind = PageKind::Data { entries: 4, encoding: Encoding::Dictionary, rle_levels: true };
        assert_eq!(header.kind, kind);
    }

    #[test]
    fn version_2_header_is_read_and_statistics_are_skipped() {
        let mut bytes = vec![0x15, 6, 0x15, 40, 0x15, 30, 0x15, 2, 0x4c];
        bytes
            .extend_from_slice(&[0x15, 200, 1, 0x15, 2, 0x15, 4, 0x15, 10, 0x15, 6, 0x15, 8, 0x12]);
        bytes.extend_from_slice(&[0x1c, 0x18, 2, 7, 7, 0, 0, 0]);
        let (header, rest) = read_page_header(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!(header.crc, 1);
        let kind = PageKind::DataV2 {
            entries: 100,
            nulls: 1,
            encoding: Encoding::DeltaBinaryPacked,
            def_bytes: 3,
            rep_bytes: 4,
            compressed: false,
        };
        assert_eq!(header.kind, kind);
    }

    #[test]
    fn negative_sizes_are_refused() {
        assert!(read_page_header(&[0x15, 2, 0x15, 1, 0x15, 16, 0]).is_err());
        assert!(read_page_header(&[0x15, 2, 0]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = read_page_header(&bytes);
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(read_page_header(&vec![0x1c; 100_000]).is_err());
        assert!(read_page_header(&[vec![0x19], vec![0x19; 100_000]].concat()).is_err());
    }
}
