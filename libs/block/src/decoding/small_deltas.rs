//! Running sums of small deltas, eight at a time: each in a byte of a word.
//!
//! Kinds and statuses are such numbers, one of each a span.

use super::bits::packed_bytes;

/// The widest deltas that are summed up here.
const MAX_WIDTH: u32 = 4;

/// What all deltas of a miniblock have in common may be this much. Then eight steps from a number below 128 stay within 256
/// numbers, and a byte below 128 tells which of them it is.
const SMALLEST: std::ops::RangeInclusive<i64> = -15..=1;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// Fills `out` with sums of deltas of `width` bits, each `smallest` more, that begin after `sum`; returns the last one.
///
/// `None` if deltas, or one of the sums, are too large, or bytes are missing; what is in `out` means nothing then.
#[inline]
pub(crate) fn add_up(
    packed: &[u8],
    width: u32,
    smallest: u64,
    sum: u64,
    out: &mut [u8],
) -> Option<u64> {
    let is_small = sum < 128 && SMALLEST.contains(&(smallest as i64));
    if !is_small || width > MAX_WIDTH || packed.len() < packed_bytes(out.len(), width) {
        return None;
    }
    match width {
        1 => add_up_width::<1>(packed, smallest, sum, out),
        2 => add_up_width::<2>(packed, smallest, sum, out),
        3 => add_up_width::<3>(packed, smallest, sum, out),
        4 => add_up_width::<4>(packed, smallest, sum, out),
        _ => None,
    }
}

/// `packed` has at least the bytes of `out.len()` deltas.
fn add_up_width<const WIDTH: usize>(
    packed: &[u8],
    smallest: u64,
    mut sum: u64,
    out: &mut [u8],
) -> Option<u64> {
    // What is common to all adds up to multiples of it.
    let ramp: [u8; 8] = std::array::from_fn(|place| smallest.wrapping_mul(place as u64 + 1) as u8);
    let ramp = u64::from_le_bytes(ramp);
    let mut above = 0;
    let (groups, rest) = out.as_chunks_mut::<8>();
    for (number, group) in groups.iter_mut().enumerate() {
        let steps = steps_of::<WIDTH>(&packed[number * WIDTH..]);
        let sums = add_bytes(add_bytes(sum.wrapping_mul(ONES), ramp), steps);
        *group = sums.to_le_bytes();
        // A sum that is no number below 128 marks its byte. What comes after it may be anything.
        above |= sums;
        // Not by way of the bytes, for which the next group would have to wait.
        sum = sum.wrapping_add(smallest.wrapping_mul(8)).wrapping_add(steps >> 56);
    }
    if let Some(last) = rest.len().checked_sub(1) {
        let steps = steps_of::<WIDTH>(&packed[groups.len() * WIDTH..]);
        let sums = add_bytes(add_bytes(sum.wrapping_mul(ONES), ramp), steps);
        rest.copy_from_slice(&sums.to_le_bytes()[..rest.len()]);
        above |= sums << (8 * (7 - last));
        sum = u64::from(rest[last]);
    }
    (above & HIGH == 0).then_some(sum)
}

/// The running sums of the first eight deltas. Of four bits they are 120 at most, so no byte carries into the next one.
#[inline(always)]
fn steps_of<const WIDTH: usize>(packed: &[u8]) -> u64 {
    let bits = match packed.first_chunk::<4>() {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => packed.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte)),
    };
    spread::<WIDTH>(u64::from(bits)).wrapping_mul(ONES)
}

/// The first eight numbers of `WIDTH` bits, each in a byte.
#[inline(always)]
fn spread<const WIDTH: usize>(bits: u64) -> u64 {
    const fn low(bits: usize) -> u64 {
        (1 << bits) - 1
    }
    let halves = (bits | bits << (32 - 4 * WIDTH)) & (low(4 * WIDTH) * 0x0000_0001_0000_0001);
    let pairs = (halves | halves << (16 - 2 * WIDTH)) & (low(2 * WIDTH) * 0x0001_0001_0001_0001);
    (pairs | pairs << (8 - WIDTH)) & (low(WIDTH) * ONES)
}

/// Adds bytes; what does not fit one is lost.
#[inline(always)]
fn add_bytes(one: u64, other: u64) -> u64 {
    ((one & !HIGH) + (other & !HIGH)) ^ ((one ^ other) & HIGH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(numbers: &[u64], width: usize) -> Vec<u8> {
        let mut bytes = vec![0u8; packed_bytes(numbers.len(), width as u32)];
        for (number, at) in numbers.iter().zip((0..).step_by(width)) {
            for bit in 0..width {
                bytes[(at + bit) / 8] |= ((number >> bit & 1) as u8) << ((at + bit) % 8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn sums_are_those_of_each_delta_or_none(
            deltas in proptest::collection::vec(0u64..16, 0..70), width in 1u32..=4, smallest in -20i64..=3,
            sum in 0u64..140, behind in 0usize..9,
        ) {
            let deltas: Vec<u64> = deltas.iter().map(|delta| delta & ((1 << width) - 1)).collect();
            let mut packed = pack(&deltas, width as usize);
            packed.resize(packed.len() + behind, 0xff);
            let sums = deltas.iter().scan(sum as i64, |sum, &delta| {
                *sum += smallest + delta as i64;
                Some(*sum)
            });
            let sums: Vec<i64> = sums.collect();
            let mut found = vec![0u8; deltas.len()];
            let last = add_up(&packed, width, smallest as u64, sum, &mut found);
            let fits = sum < 128 && SMALLEST.contains(&smallest) && sums.iter().all(|sum| (0..128).contains(sum));
            prop_assert_eq!(last.is_some(), fits);
            if fits {
                prop_assert_eq!(last, Some(sums.last().map_or(sum, |&last| last as u64)));
                prop_assert_eq!(found.iter().map(|&sum| i64::from(sum)).collect::<Vec<_>>(), sums);
            }
        }
    }

    #[test]
    fn wide_deltas_and_missing_bytes_are_left_to_others() {
        let mut out = [0; 9];
        assert_eq!(add_up(&[0; 9], 5, 0, 1, &mut out), None);
        assert_eq!(add_up(&[0; 9], 0, 0, 1, &mut out), None);
        assert_eq!(add_up(&[0; 4], 4, 0, 1, &mut out), None);
        assert_eq!(add_up(&[0; 5], 4, 0, 1, &mut out), Some(1));
        assert_eq!(add_up(&[], 4, 0, 7, &mut []), Some(7));
    }
}
