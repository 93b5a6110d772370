//! DELTA_BINARY_PACKED and DELTA_LENGTH_BYTE_ARRAY.

use super::{bit_width, put_zigzag};
use tactus_model::wire::put_varint;

const BLOCK: usize = 128;
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// The physical integer type, which determines where deltas wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Integer {
    /// INT32: values are sign-extended.
    Bits32,
    /// INT64.
    Bits64,
}

/// How many bits a delta takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    /// Whole bytes, in which patterns repeat; for pages that are compressed.
    Bytes,
    /// As few bits as possible; for pages that stay uncompressed.
    Bits,
}

/// Appends integers as DELTA_BINARY_PACKED.
pub(crate) fn put_integers(out: &mut Vec<u8>, values: &[i64], integer: Integer, packing: Packing) {
    put_varint(out, BLOCK as u64);
    put_varint(out, MINIBLOCKS as u64);
    put_varint(out, values.len() as u64);
    let Some((&first, rest)) = values.split_first() else {
        out.push(0);
        return;
    };
    put_zigzag(out, first);
    let mut previous = first;
    let mut deltas = [0i64; BLOCK];
    for block in rest.chunks(BLOCK) {
        for (delta, &value) in deltas.iter_mut().zip(block) {
            *delta = match integer {
                Integer::Bits32 => i64::from((value as i32).wrapping_sub(previous as i32)),
                Integer::Bits64 => value.wrapping_sub(previous),
            };
            previous = value;
        }
        put_block(out, &mut deltas[..block.len()], packing);
    }
}

fn put_block(out: &mut Vec<u8>, deltas: &mut [i64], packing: Packing) {
    let (mut low, mut high) = (deltas[0], deltas[0]);
    for &delta in &*deltas {
        low = low.min(delta);
        high = high.max(delta);
    }
    let exact = packing == Packing::Bits || low == high;
    let base = if exact { low } else { base(low, high) };
    put_zigzag(out, base);
    let widths_at = out.len();
    out.extend_from_slice(&[0; MINIBLOCKS]);
    for (number, miniblock) in deltas.chunks_mut(MINIBLOCK).enumerate() {
        let mut all_bits = 0;
        for delta in miniblock.iter_mut() {
            *delta = delta.wrapping_sub(base);
            all_bits |= *delta as u64;
        }
        let bits = bit_width(all_bits);
        match packing {
            Packing::Bytes => {
                let bytes = usize::from(bits).div_ceil(8);
                out[widths_at + number] = (bytes * 8) as u8;
                put_packed(out, miniblock, bytes);
            }
            Packing::Bits => {
                out[widths_at + number] = bits;
                put_bits(out, miniblock, bits);
            }
        }
    }
}

/// The number that is subtracted from each delta of a block: the smallest delta, or a rounder number below it if that
/// costs nothing.
///
/// Small deltas get the same base in every block, so that equal deltas become equal bytes, which compress well.
fn base(low: i64, high: i64) -> i64 {
    for bits in [8, 16] {
        let half = 1i64 << (bits - 1);
        if low >= -half && high < half {
            return -half;
        }
    }
    let round = match low.checked_neg() {
        Some(distance) if distance > 0 && bit_width(distance as u64 - 1) < 63 => {
            -(1i64 << bit_width(distance as u64 - 1))
        }
        _ => return low,
    };
    let bytes = |base: i64| bit_width(high.wrapping_sub(base) as u64).div_ceil(8);
    if bytes(round) == bytes(low) { round } else { low }
}

/// Appends one miniblock with `bytes` bytes for each value, padded to its full length.
fn put_packed(out: &mut Vec<u8>, values: &[i64], bytes: usize) {
    let start = out.len();
    match bytes {
        0 => return,
        1 => out.extend(values.iter().map(|&value| value as u8)),
        _ => {
            // Writes eight bytes for each value. The next value overwrites those that are too many.
            out.resize(start + MINIBLOCK * bytes + 8, 0);
            for (position, value) in values.iter().enumerate() {
                let at = start + position * bytes;
                out[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            out.truncate(start + values.len() * bytes);
        }
    }
    out.resize(start + MINIBLOCK * bytes, 0);
}

/// Appends one miniblock with `bits` bits for each value, padded to its full length.
fn put_bits(out: &mut Vec<u8>, values: &[i64], bits: u8) {
    let end = out.len() + MINIBLOCK * usize::from(bits) / 8;
    super::put_bits(out, values.iter().map(|&value| value as u64), bits);
    out.resize(end, 0);
}

/// Appends `lengths` (INT32) as DELTA_BINARY_PACKED, the first half of DELTA_LENGTH_BYTE_ARRAY. The caller then appends
/// the bytes of the strings.
pub(crate) fn put_lengths(out: &mut Vec<u8>, lengths: &[i64]) {
    put_integers(out, lengths, Integer::Bits32, Packing::Bytes);
}
