//! Parquet encodings, from slices to bytes: a whole page at a time, without state between pages.

pub(crate) mod delta;
pub(crate) mod hybrid;
pub(crate) mod plain;

use tactus_model::wire::put_varint;

/// Appends a zigzag LEB128 number.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bits needed for values up to `max`.
pub(crate) const fn bit_width(max: u64) -> u8 {
    (u64::BITS - max.leading_zeros()) as u8
}

/// Appends numbers below `2^bits`, least significant bit first; the last byte is padded with zeros.
pub(crate) fn put_bits(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, bits: u8) {
    let (mut pending, mut filled) = (0u128, 0);
    for number in numbers {
        pending |= u128::from(number) << filled;
        filled += u32::from(bits);
        if filled >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&(pending as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

#[cfg(test)]
mod tests;
