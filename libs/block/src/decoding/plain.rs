//! PLAIN values of fixed width.

use super::bits::{packed_bytes, unpack};
use super::{DecodeError, DecodeResult, small_deltas};

/// Numbers of a fixed width, which can be computed as wrapping sums of deltas.
pub(crate) trait Number: Copy + Default {
    /// The low bits of a 64-bit sum, as many as the type has.
    fn from_sum(sum: u64) -> Self;

    /// Fills `out` with sums of deltas as [`small_deltas::add_up`] does; `None` also if the type is too wide for that.
    #[inline(always)]
    fn add_up_small(
        _: &[u8],
        _width: u32,
        _smallest: u64,
        _sum: u64,
        _out: &mut [Self],
    ) -> Option<u64> {
        None
    }

    /// Appends `count` numbers after skipping `skip`.
    fn decode(body: &[u8], skip: usize, count: usize, out: &mut Vec<Self>) -> DecodeResult<()>;
}

macro_rules! numbers {
    ($($number:ty: $cut_off:literal;)*) => { $(
        impl Number for $number {
            #[inline(always)]
            fn from_sum(sum: u64) -> Self {
                sum as Self
            }

            fn decode(body: &[u8], skip: usize, count: usize, out: &mut Vec<Self>) -> DecodeResult<()> {
                let numbers = body.as_chunks().0.get(skip..skip + count);
                let numbers = numbers.ok_or(DecodeError($cut_off))?;
                out.extend(numbers.iter().map(|bytes| Self::from_le_bytes(*bytes)));
                Ok(())
            }
        }
    )* };
}

numbers! {
    u64: "8-byte values are cut off";
    i32: "4-byte values are cut off";
}

/// An INT64 column of small numbers. Those that do not fit become 0.
impl Number for u8 {
    #[inline(always)]
    fn from_sum(sum: u64) -> Self {
        if sum > u64::from(Self::MAX) { 0 } else { sum as Self }
    }

    #[inline(always)]
    fn add_up_small(
        packed: &[u8],
        width: u32,
        smallest: u64,
        sum: u64,
        out: &mut [Self],
    ) -> Option<u64> {
        small_deltas::add_up(packed, width, smallest, sum, out)
    }

    fn decode(body: &[u8], skip: usize, count: usize, out: &mut Vec<Self>) -> DecodeResult<()> {
        let numbers = body.as_chunks().0.get(skip..skip + count);
        let numbers = numbers.ok_or(DecodeError("8-byte values are cut off"))?;
        out.extend(numbers.iter().map(|bytes| Self::from_sum(u64::from_le_bytes(*bytes))));
        Ok(())
    }
}

/// Skips `skip` booleans, stored as bits, and appends the next `count` as 0 or 1.
pub(crate) fn decode_booleans(
    body: &[u8],
    skip: usize,
    count: usize,
    out: &mut Vec<u8>,
) -> DecodeResult<()> {
    let (bytes, odd) = (skip / 8, skip % 8);
    let body = body.get(bytes..).filter(|rest| rest.len() >= packed_bytes(odd + count, 1));
    let body = body.ok_or(DecodeError("booleans are cut off"))?;
    let start = out.len();
    out.resize(start + odd + count, 0);
    unpack(body, 1, &mut out[start..])?;
    out.drain(start..start + odd);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_from_any_position() {
        let body: Vec<u8> = (0u8..24).collect();
        let mut words = Vec::new();
        u64::decode(&body, 1, 2, &mut words).unwrap();
        assert_eq!(words, [0x0f0e_0d0c_0b0a_0908, 0x1716_1514_1312_1110]);
        assert!(u64::decode(&body, 1, 3, &mut words).is_err());

        let mut ints = Vec::new();
        i32::decode(&body, 5, 1, &mut ints).unwrap();
        assert_eq!(ints, [0x1716_1514]);
        assert!(i32::decode(&body, 6, 1, &mut ints).is_err());

        let mut flags = Vec::new();
        decode_booleans(&[0b0000_0010, 0b0000_0101], 8, 3, &mut flags).unwrap();
        decode_booleans(&[0b0000_0010, 0b0000_0101], 1, 2, &mut flags).unwrap();
        assert_eq!(flags, [1, 0, 1, 1, 0]);
        assert!(decode_booleans(&[0], 4, 5, &mut flags).is_err());
    }
}
