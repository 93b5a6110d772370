//! Byte arrays: PLAIN, DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY.

use super::delta::decode_delta;
use super::{DecodeError, DecodeResult, split, split_u32};

/// Front-coded strings may be at most this many times as long as their page. Real pages stay far below; a crafted page
/// could grow quadratically.
const MAX_FRONT_CODED_GROWTH: usize = 256;

/// The byte arrays of one page. Decoding another page replaces the content.
#[derive(Debug, Default)]
pub(crate) struct ByteArrays {
    bytes: Vec<u8>,
    /// Start and length of each array in `bytes`.
    bounds: Vec<(u32, u32)>,
    lengths: Vec<i32>,
}

impl ByteArrays {
    /// The bytes of all arrays, with other bytes between them in PLAIN pages.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of arrays.
    pub(crate) fn len(&self) -> usize {
        self.bounds.len()
    }

    /// The array at a position below [`Self::len`].
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let (start, length) = self.bounds[index];
        &self.bytes[start as usize..start as usize + length as usize]
    }

    /// All arrays in one slice, if each is `WIDTH` bytes long and nothing is between them.
    pub(crate) fn fixed<const WIDTH: usize>(&self) -> Option<&[[u8; WIDTH]]> {
        // In a PLAIN page, lengths are between the arrays.
        let arrays = self.bytes.as_chunks::<WIDTH>().0;
        let all = self.bounds.iter().all(|&(_, length)| length as usize == WIDTH);
        (all && arrays.len() == self.bounds.len() && self.bytes.len() == WIDTH * arrays.len())
            .then_some(arrays)
    }

    /// Bytes of memory held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.bounds.capacity() * 8 + self.lengths.capacity() * 4
    }

    /// Forgets all arrays.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bounds.clear();
    }

    /// Skips `skip` PLAIN arrays (length, bytes) and reads the next `count`.
    pub(crate) fn decode_plain(
        &mut self,
        body: &[u8],
        skip: usize,
        count: usize,
    ) -> DecodeResult<()> {
        self.clear();
        let mut rest = body;
        for _ in 0..skip {
            let (length, after) = split_u32(rest, "the length of a string is cut off")?;
            rest = split(after, length as usize, "a string is cut off")?.1;
        }
        let kept = rest;
        // An array takes at least the four bytes of its length.
        self.bounds.reserve(count.min(kept.len() / 4));
        for _ in 0..count {
            let (length, after) = split_u32(rest, "the length of a string is cut off")?;
            let start = (kept.len() - after.len()) as u32;
            rest = split(after, length as usize, "a string is cut off")?.1;
            self.bounds.push((start, length));
        }
        self.bytes.extend_from_slice(&kept[..kept.len() - rest.len()]);
        Ok(())
    }

    /// Skips `skip` arrays and reads the next `count` (all lengths, then all bytes), of a page with `total` arrays.
    pub(crate) fn decode_delta_length(
        &mut self,
        body: &[u8],
        skip: usize,
        count: usize,
        total: usize,
    ) -> DecodeResult<()> {
        self.clear();
        self.lengths.clear();
        let mut rest = decode_delta(body, total, &mut self.lengths)?;
        self.lengths.truncate(skip + count);
        let mut skipped = 0usize;
        for &length in self.lengths.iter().take(skip) {
            skipped = skipped.saturating_add(checked_length(length)?);
        }
        rest = split(rest, skipped, "strings are cut off")?.1;
        self.bounds.reserve(count);
        let mut end = 0usize;
        for &length in self.lengths.iter().skip(skip) {
            let length = checked_length(length)?;
            self.bounds.push((end as u32, length as u32));
            end += length;
            if end > rest.len() {
                return Err(DecodeError("strings are cut off"));
            }
        }
        self.bytes.extend_from_slice(&rest[..end]);
        Ok(())
    }

    /// Skips `skip` front-coded arrays (prefix lengths, then suffixes) and reads the next `count`, of a page with
    /// `total` arrays.
    pub(crate) fn decode_front_coded(
        &mut self,
        body: &[u8],
        skip: usize,
        count: usize,
        total: usize,
    ) -> DecodeResult<()> {
        self.clear();
        let mut prefixes: Vec<i32> = Vec::new();
        let rest = decode_delta(body, total, &mut prefixes)?;
        self.lengths.clear();
        let mut suffixes = decode_delta(rest, total, &mut self.lengths)?;
        let limit = body.len().saturating_mul(MAX_FRONT_CODED_GROWTH).min(u32::MAX as usize);
        let mut previous = 0..0;
        for (&prefix, &suffix) in prefixes.iter().zip(&self.lengths) {
            let (prefix, suffix) = (checked_length(prefix)?, checked_length(suffix)?);
            if prefix > previous.len() {
                return Err(DecodeError("a string repeats more than the one before holds"));
            }
            let start = self.bytes.len();
            if start + prefix + suffix > limit {
                return Err(DecodeError("front-coded strings are too long"));
            }
            self.bytes.extend_from_within(previous.start..previous.start + prefix);
            let (own, after) = split(suffixes, suffix, "strings are cut off")?;
            self.bytes.extend_from_slice(own);
            suffixes = after;
            self.bounds.push((start as u32, (prefix + suffix) as u32));
            previous = start..start + prefix + suffix;
        }
        self.bounds.truncate(skip + count);
        self.bounds.drain(..skip.min(self.bounds.len()));
        Ok(())
    }
}

fn checked_length(length: i32) -> DecodeResult<usize> {
    usize::try_from(length).map_err(|_| DecodeError("the length of a string is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(strings: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for string in strings {
            body.extend_from_slice(&(string.len() as u32).to_le_bytes());
            body.extend_from_slice(string);
        }
        body
    }

    fn content(arrays: &ByteArrays) -> Vec<Vec<u8>> {
        (0..arrays.len()).map(|i| arrays.get(i).to_vec()).collect()
    }

    #[test]
    fn plain_strings_are_read_from_any_position() {
        let body = plain(&[b"a", b"", b"ccc"]);
        let mut arrays = ByteArrays::default();
        arrays.decode_plain(&body, 1, 2).unwrap();
        assert_eq!(content(&arrays), [b"".to_vec(), b"ccc".to_vec()]);
        assert!(arrays.decode_plain(&body, 1, 3).is_err());
        assert!(arrays.decode_plain(&body[..body.len() - 1], 0, 3).is_err());
    }

    #[test]
    fn delta_length_strings_are_read_from_any_position() {
        // Two values: first length 2, then delta 1 in one miniblock of width 0.
        let mut body = vec![0x80, 0x01, 0x01, 2, 4, 2, 0];
        body.extend_from_slice(b"abcde");
        let mut arrays = ByteArrays::default();
        arrays.decode_delta_length(&body, 0, 2, 2).unwrap();
        assert_eq!(content(&arrays), [b"ab".to_vec(), b"cde".to_vec()]);
        assert_eq!(arrays.fixed::<2>(), None);
        arrays.decode_delta_length(&body, 1, 1, 2).unwrap();
        assert_eq!(content(&arrays), [b"cde".to_vec()]);
        assert_eq!(arrays.fixed::<3>(), Some(&[*b"cde"][..]));
        assert!(arrays.decode_delta_length(&body[..body.len() - 1], 0, 2, 2).is_err());
    }

    #[test]
    fn front_coded_strings_repeat_the_one_before() {
        // Prefix lengths 0 and 2, suffix lengths 3 and 1.
        let mut body = vec![0x80, 0x01, 0x01, 2, 0, 4, 0];
        body.extend_from_slice(&[0x80, 0x01, 0x01, 2, 6, 3, 0]);
        body.extend_from_slice(b"abcX");
        let mut arrays = ByteArrays::default();
        arrays.decode_front_coded(&body, 0, 2, 2).unwrap();
        assert_eq!(content(&arrays), [b"abc".to_vec(), b"abX".to_vec()]);
        arrays.decode_front_coded(&body, 1, 1, 2).unwrap();
        assert_eq!(content(&arrays), [b"abX".to_vec()]);
    }

    #[test]
    fn pages_without_values_may_be_empty() {
        let mut arrays = ByteArrays::default();
        assert!(arrays.decode_plain(&[], 0, 0).is_ok());
        assert!(arrays.decode_delta_length(&[], 0, 0, 0).is_ok());
        assert!(arrays.decode_front_coded(&[], 0, 0, 0).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), skip in 0usize..10, count in 0usize..100,
        ) {
            let mut arrays = ByteArrays::default();
            let _ = arrays.decode_plain(&bytes, skip, count);
            let _ = arrays.decode_delta_length(&bytes, skip, count, skip + count);
            let _ = arrays.decode_front_coded(&bytes, skip, count, skip + count);
            for i in 0..arrays.len() {
                let _ = arrays.get(i);
            }
        }
    }
}
