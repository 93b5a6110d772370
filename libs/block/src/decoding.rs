//! Decoders of Parquet pages: headers, compression, levels and values.
//!
//! They work on whole pages and slices, and check every declared length before using it. Nothing here knows columns,
//! files or batches: the caller says how many values a page may hold, and no decoder allocates for more.

pub(crate) mod bits;
pub(crate) mod byte_arrays;
pub(crate) mod codec;
pub(crate) mod delta;
pub(crate) mod frames;
pub(crate) mod hybrid;
pub(crate) mod page;
pub(crate) mod plain;
pub(crate) mod small_deltas;
pub(crate) mod thrift;

/// What is wrong with a page. The caller adds where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecodeError(pub(crate) &'static str);

/// Result of a decoder.
pub(crate) type DecodeResult<T> = Result<T, DecodeError>;

/// The first `length` bytes of `input`, and the rest.
#[inline]
pub(crate) fn split<'a>(
    input: &'a [u8],
    length: usize,
    what: &'static str,
) -> DecodeResult<(&'a [u8], &'a [u8])> {
    input.split_at_checked(length).ok_or(DecodeError(what))
}

/// A little-endian u32 at the start of `input`, and the rest.
#[inline]
pub(crate) fn split_u32<'a>(input: &'a [u8], what: &'static str) -> DecodeResult<(u32, &'a [u8])> {
    let (bytes, rest) = input.split_first_chunk::<4>().ok_or(DecodeError(what))?;
    Ok((u32::from_le_bytes(*bytes), rest))
}

/// An unsigned LEB128 number at the start of `input`, and the rest.
#[inline]
pub(crate) fn varint(input: &[u8]) -> DecodeResult<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, &input[i + 1..]));
        }
    }
    Err(DecodeError("a varint is cut off or too long"))
}

/// A zigzag-coded number at the start of `input`, and the rest.
#[inline]
pub(crate) fn zigzag(input: &[u8]) -> DecodeResult<(i64, &[u8])> {
    let (value, rest) = varint(input)?;
    Ok(((value >> 1) as i64 ^ -((value & 1) as i64), rest))
}
