//! Unpacking of bit-packed numbers, least significant bit first.

use super::{DecodeError, DecodeResult};

/// Integers that bit-packed numbers unpack to.
pub(crate) trait Unpacked: Copy + Default {
    /// Keeps the low bits.
    fn from_word(word: u64) -> Self;
}

impl Unpacked for u8 {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word as u8
    }
}

impl Unpacked for u32 {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word as u32
    }
}

impl Unpacked for u64 {
    #[inline(always)]
    fn from_word(word: u64) -> Self {
        word
    }
}

/// Bytes that `count` numbers of `width` bits take.
#[inline]
pub(crate) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Fills `out` with numbers of `width` bits from the start of `input`. Faster if `input` continues after them.
///
/// Errors: `width` is above 64, or the input is shorter than the numbers.
pub(crate) fn unpack<T: Unpacked>(input: &[u8], width: u32, out: &mut [T]) -> DecodeResult<()> {
    if width > 64 {
        return Err(DecodeError("a bit width is above 64"));
    }
    if input.len() < packed_bytes(out.len(), width) {
        return Err(DecodeError("bit-packed numbers are cut off"));
    }
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_width::<T, $width>(input, out),)*
                _ => {}
            }
        };
    }
    by_width!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61
        62 63 64);
    Ok(())
}

/// As [`unpack`] for numbers of two bits, each into one byte, eight at a time.
pub(crate) fn unpack_pairs_of_bits(input: &[u8], out: &mut [u8]) -> DecodeResult<()> {
    if input.len() < packed_bytes(out.len(), 2) {
        return Err(DecodeError("bit-packed numbers are cut off"));
    }
    let (words, rest) = out.as_chunks_mut::<8>();
    let (groups, after) = input.as_chunks::<2>();
    for (group, word) in groups.iter().zip(words.iter_mut()) {
        *word = spread_pairs_of_bits(*group);
    }
    // The last group has fewer than eight numbers, and perhaps only one byte.
    let last = match groups.get(words.len()) {
        Some(group) => *group,
        None => [after.first().copied().unwrap_or(0), 0],
    };
    rest.copy_from_slice(&spread_pairs_of_bits(last)[..rest.len()]);
    Ok(())
}

/// Each pair of bits in a byte of its own.
#[inline(always)]
fn spread_pairs_of_bits(group: [u8; 2]) -> [u8; 8] {
    let bits = u64::from(u16::from_le_bytes(group));
    let bytes = (bits | bits << 24) & 0x0000_00ff_0000_00ff;
    let nibbles = (bytes | bytes << 12) & 0x000f_000f_000f_000f;
    ((nibbles | nibbles << 6) & 0x0303_0303_0303_0303).to_le_bytes()
}

/// `input` must hold at least the bytes of `out.len()` numbers.
fn unpack_width<T: Unpacked, const WIDTH: usize>(input: &[u8], out: &mut [T]) {
    if WIDTH == 0 {
        out.fill(T::default());
        return;
    }
    // A group of eight numbers takes WIDTH bytes, but its last word is read eight bytes wide, and one byte wider if a
    // number spans nine bytes. So the last groups are read from a padded copy.
    let window_bytes = WIDTH + 8;
    let whole = input.len().saturating_sub(8) / WIDTH;
    let groups = whole.min(out.len() / 8);
    let (fast, slow) = out.split_at_mut(groups * 8);
    for (group, numbers) in fast.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let window = &input[group * WIDTH..group * WIDTH + window_bytes];
        unpack_group::<T, WIDTH>(window, numbers);
    }
    let mut rest = &input[groups * WIDTH..];
    for numbers in slow.chunks_mut(8) {
        let mut window = [0u8; 64 + 8];
        let (taken, after) = rest.split_at(rest.len().min(WIDTH));
        window[..taken.len()].copy_from_slice(taken);
        let mut group = [T::default(); 8];
        unpack_group::<T, WIDTH>(&window[..window_bytes], &mut group);
        numbers.copy_from_slice(&group[..numbers.len()]);
        rest = after;
    }
}

#[inline(always)]
fn unpack_group<T: Unpacked, const WIDTH: usize>(window: &[u8], out: &mut [T; 8]) {
    let mask = u64::MAX >> (64 - WIDTH);
    for (i, number) in out.iter_mut().enumerate() {
        let (byte, shift) = (i * WIDTH / 8, i * WIDTH % 8);
        let bytes: [u8; 8] = window[byte..byte + 8].try_into().expect("the slice has 8 bytes");
        let mut word = u64::from_le_bytes(bytes) >> shift;
        if shift + WIDTH > 64 {
            word |= u64::from(window[byte + 8]) << (64 - shift);
        }
        *number = T::from_word(word & mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(numbers: &[u64], width: u32) -> Vec<u8> {
        let mut bytes = vec![0u8; packed_bytes(numbers.len(), width)];
        for (i, number) in numbers.iter().enumerate() {
            for bit in 0..width as usize {
                let at = i * width as usize + bit;
                bytes[at / 8] |= ((number >> bit & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn unpack_returns_what_was_packed(
            width in 0u32..=64, numbers in proptest::collection::vec(any::<u64>(), 0..70),
        ) {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let numbers: Vec<u64> = numbers.iter().map(|number| number & mask).collect();
            let packed = pack(&numbers, width);
            let mut out = vec![0u64; numbers.len()];
            unpack(&packed, width, &mut out).unwrap();
            prop_assert_eq!(&out, &numbers);
            if !packed.is_empty() {
                prop_assert!(unpack(&packed[1..], width, &mut out).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn pairs_of_bits_unpack_as_numbers_of_any_width_do(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), count in 0usize..170,
        ) {
            let (mut fast, mut general) = (vec![9u8; count], vec![9u8; count]);
            prop_assert_eq!(unpack_pairs_of_bits(&bytes, &mut fast), unpack(&bytes, 2, &mut general));
            prop_assert_eq!(fast, general);
        }
    }

    #[test]
    fn widths_above_64_are_refused() {
        assert!(unpack(&[0; 100], 65, &mut [0u64]).is_err());
    }
}
