//! DELTA_BINARY_PACKED integers.

use super::bits::{packed_bytes, unpack};
use super::plain::Number;
use super::{DecodeError, DecodeResult, split, varint, zigzag};

/// Limits the work that one block header can ask for. Far above what writers use (128 and 256).
const MAX_BLOCK_VALUES: u64 = 1 << 16;

/// Appends `count` integers, and returns the bytes after them.
///
/// A section without values may be empty. Errors: the section has a different number of values, or ends too early.
pub(crate) fn decode_delta<'a, T: Number>(
    input: &'a [u8],
    count: usize,
    out: &mut Vec<T>,
) -> DecodeResult<&'a [u8]> {
    decode_first(input, count, count, out)
}

/// As [`decode_delta`], but only the first `wanted` integers. Returns the bytes after the block that has the last of
/// them, and ignores what follows.
pub(crate) fn decode_first<'a, T: Number>(
    input: &'a [u8],
    count: usize,
    wanted: usize,
    out: &mut Vec<T>,
) -> DecodeResult<&'a [u8]> {
    if count == 0 && input.is_empty() {
        return Ok(input);
    }
    let (block_values, rest) = varint(input)?;
    let (miniblocks, rest) = varint(rest)?;
    let (total, rest) = varint(rest)?;
    let (first, mut rest) = zigzag(rest)?;
    if total != count as u64 {
        return Err(DecodeError("delta-coded integers are not as many as the page declares"));
    }
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Ok(rest);
    }
    let shape = "delta-coded integers come in blocks of an impossible shape";
    if miniblocks == 0 || block_values == 0 || block_values > MAX_BLOCK_VALUES {
        return Err(DecodeError(shape));
    }
    let values_each = (block_values / miniblocks) as usize;
    if !block_values.is_multiple_of(miniblocks) || !values_each.is_multiple_of(8) {
        return Err(DecodeError(shape));
    }

    out.reserve(wanted);
    let mut sum = first as u64;
    out.push(T::from_sum(sum));
    let mut pending = wanted - 1;
    let mut scratch = Scratch { deltas: [0; 64], numbers: [T::default(); 64] };
    while pending > 0 {
        let (smallest, after) = zigzag(rest)?;
        let (widths, after) = split(after, miniblocks as usize, "delta bit widths are cut off")?;
        rest = after;
        for &width in widths {
            let now = values_each.min(pending);
            if now == 0 {
                break;
            }
            let width = u32::from(width);
            // Most writers pad the last miniblock, but not all.
            let whole = packed_bytes(values_each, width);
            sum = add_miniblock(rest, width, smallest as u64, sum, now, &mut scratch, out)?;
            rest = &rest[whole.min(rest.len())..];
            pending -= now;
        }
    }
    Ok(rest)
}

/// Deltas of up to 64 integers, and the integers.
struct Scratch<T> {
    deltas: [u64; 64],
    numbers: [T; 64],
}

/// Appends `count` running sums of the deltas at the start of `packed`, and returns the last one.
#[inline]
fn add_miniblock<T: Number>(
    packed: &[u8],
    width: u32,
    smallest: u64,
    mut sum: u64,
    count: usize,
    scratch: &mut Scratch<T>,
    out: &mut Vec<T>,
) -> DecodeResult<u64> {
    if width == 0 {
        let sum_at = |place: u64| sum.wrapping_add(smallest.wrapping_mul(place));
        out.extend((1..=count as u64).map(|place| T::from_sum(sum_at(place))));
        return Ok(sum_at(count as u64));
    }
    for from in (0..count).step_by(64) {
        let packed = packed.get(from / 8 * width as usize..);
        let packed = packed.ok_or(DecodeError("deltas are cut off"))?;
        let length = (count - from).min(64);
        let (deltas, numbers) = (&mut scratch.deltas[..length], &mut scratch.numbers[..length]);
        if let Some(last) = T::add_up_small(packed, width, smallest, sum, numbers) {
            sum = last;
            out.extend_from_slice(numbers);
            continue;
        }
        unpack(packed, width, deltas)?;
        for (number, delta) in numbers.iter_mut().zip(deltas) {
            sum = sum.wrapping_add(smallest.wrapping_add(*delta));
            *number = T::from_sum(sum);
        }
        // Appended in one copy, which is faster than one by one.
        out.extend_from_slice(numbers);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put_varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn put_zigzag(out: &mut Vec<u8>, value: i64) {
        put_varint(out, (value << 1 ^ value >> 63) as u64);
    }

    /// Blocks of 128 in miniblocks of 32, with or without the padding of the last one.
    fn encode(values: &[u64], padded: bool) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, 128);
        put_varint(&mut out, 4);
        put_varint(&mut out, values.len() as u64);
        put_zigzag(&mut out, values.first().map_or(0, |first| *first as i64));
        let deltas: Vec<i64> =
            values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i64).collect();
        for block in deltas.chunks(128) {
            let smallest = *block.iter().min().unwrap();
            put_zigzag(&mut out, smallest);
            let offsets: Vec<u64> =
                block.iter().map(|delta| delta.wrapping_sub(smallest) as u64).collect();
            let widths = offsets
                .chunks(32)
                .map(|mini| mini.iter().map(|offset| 64 - offset.leading_zeros()).max().unwrap());
            let widths: Vec<u32> = widths.collect();
            out.extend((0..4).map(|i| widths.get(i).copied().unwrap_or(0) as u8));
            for (mini, &width) in offsets.chunks(32).zip(&widths) {
                let count = if padded { 32 } else { mini.len() };
                let start = out.len();
                out.resize(start + packed_bytes(count, width), 0);
                for (i, offset) in mini.iter().enumerate() {
                    for bit in 0..width as usize {
                        let at = i * width as usize + bit;
                        out[start + at / 8] |= ((offset >> bit & 1) as u8) << (at % 8);
                    }
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn integers_read_back(
            mut values in proptest::collection::vec(any::<u64>(), 0..300), small in any::<bool>(), padded in any::<bool>(),
        ) {
            if small {
                values.iter_mut().for_each(|value| *value %= 1000);
            }
            let encoded = encode(&values, padded);
            let mut out = vec![9u64];
            let rest = decode_delta(&encoded, values.len(), &mut out).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(&out[1..], &values[..]);

            let narrow: Vec<i32> = values.iter().map(|value| *value as i32).collect();
            let mut out = Vec::<i32>::new();
            decode_delta(&encoded, values.len(), &mut out).unwrap();
            prop_assert_eq!(out, narrow);
            prop_assert!(decode_delta::<u64>(&encoded, values.len() + 1, &mut Vec::new()).is_err());

            let small: Vec<u8> = values.iter().map(|value| u8::try_from(*value).unwrap_or(0)).collect();
            let mut out = Vec::<u8>::new();
            decode_delta(&encoded, values.len(), &mut out).unwrap();
            prop_assert_eq!(out, small);
        }

        #[test]
        fn first_integers_are_those_of_all(
            values in proptest::collection::vec(any::<u64>(), 0..300), wanted in 0usize..310, padded in any::<bool>(),
        ) {
            let mut encoded = encode(&values, padded);
            let mut out = vec![9u64];
            decode_first(&encoded, values.len(), wanted, &mut out).unwrap();
            let wanted = wanted.min(values.len());
            prop_assert_eq!(&out[1..], &values[..wanted]);
            prop_assert!(decode_first::<u64>(&encoded, values.len() + 1, wanted, &mut Vec::new()).is_err());
            // After the block with the last wanted value, the bytes may be anything.
            if wanted > 0 && wanted + 128 < values.len() {
                encoded.truncate(encoded.len() - 1);
                prop_assert!(decode_first::<u64>(&encoded, values.len(), wanted, &mut Vec::new()).is_ok());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), count in 0usize..300,
        ) {
            let _ = decode_delta::<u64>(&bytes, count, &mut Vec::new());
        }
    }

    #[test]
    fn blocks_of_impossible_shape_are_refused() {
        for shape in [[0u8, 4], [0x80, 0], [7, 1], [9, 3]] {
            let bytes = [shape[0], shape[1], 5, 2, 0, 0, 0, 0, 0, 0, 0, 0];
            assert!(decode_delta::<u64>(&bytes, 5, &mut Vec::new()).is_err(), "{shape:?}");
        }
    }
}
