//! The RLE/bit-packed hybrid: repetition and definition levels, dictionary indices.

use super::{bit_width, put_bits};
use tactus_model::wire::put_varint;

/// Appends a level section of a v1 data page: its length in four bytes, then the runs.
pub(crate) fn put_level_section(out: &mut Vec<u8>, levels: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_levels(out, levels);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a level section of a v1 data page whose highest level is `max`, at most 3. Bit-packs the levels if that is
/// shorter than runs.
///
/// Levels of one or two bits do not cross byte boundaries. Reading them takes a fraction of the time that runs of one
/// or two entries take, which lists with few elements consist of.
pub(crate) fn put_narrow_level_section(out: &mut Vec<u8>, levels: &[u8], max: u8) {
    let bits = bit_width(u64::from(max));
    let groups = levels.len().div_ceil(8);
    let changes = levels.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if RUN_BYTES * (changes + 1) <= groups * usize::from(bits) {
        return put_level_section(out, levels);
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_varint(out, (groups as u64) << 1 | 1);
    let end = out.len() + groups * usize::from(bits);
    put_bits(out, levels.iter().map(|&level| u64::from(level)), bits);
    out.resize(end, 0);
    let length = (end - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Bytes of a short run of levels.
const RUN_BYTES: usize = 2;

/// Appends levels as runs, even runs of a single level.
///
/// A short run costs two whole bytes. But pages are compressed, and byte-aligned runs look the same from trace to
/// trace, while bit-packed groups of three bits and more are shifted. The value of a run takes one byte whatever the
/// column's highest level is, so that columns of different depth can share these bytes.
pub(crate) fn put_levels(out: &mut Vec<u8>, levels: &[u8]) {
    let Some(&first) = levels.first() else { return };
    let mut runs = Runs { out, pairs: [[0; 2]; 64], filled: 0 };
    let mut start = 0;
    let mut previous = u64::from(first);
    let (words, rest) = levels.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let changes = word ^ (word << 8 | previous);
        previous = word >> 56;
        // Levels are below 128, so the addition sets the high bit of each byte that differs from the previous one.
        let mut marks = (changes + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080;
        while marks != 0 {
            let at = number * 8 + marks.trailing_zeros() as usize / 8;
            runs.put(at - start, levels[start]);
            start = at;
            marks &= marks - 1;
        }
    }
    for at in levels.len() - rest.len()..levels.len() {
        if levels[at] != levels[start] {
            runs.put(at - start, levels[start]);
            start = at;
        }
    }
    runs.put(levels.len() - start, levels[start]);
    runs.flush();
}

/// Collects short runs, each a header and a value, before they are written to `out`.
struct Runs<'a> {
    out: &'a mut Vec<u8>,
    pairs: [[u8; 2]; 64],
    filled: usize,
}

impl Runs<'_> {
    #[inline(always)]
    fn put(&mut self, length: usize, value: u8) {
        if length >= 64 {
            return self.put_long(length, value);
        }
        self.pairs[self.filled] = [(length as u8) << 1, value];
        self.filled += 1;
        if self.filled == self.pairs.len() {
            self.flush();
        }
    }

    #[cold]
    fn put_long(&mut self, length: usize, value: u8) {
        self.flush();
        put_varint(self.out, (length as u64) << 1);
        self.out.push(value);
    }

    #[inline(never)]
    fn flush(&mut self) {
        self.out.extend_from_slice(self.pairs[..self.filled].as_flattened());
        self.filled = 0;
    }
}

/// Bytes of a dictionary index in a page whose dictionary has `entries` entries.
pub(crate) fn index_bytes(entries: usize) -> usize {
    match entries {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        0x1_0001..=0x100_0000 => 3,
        _ => 4,
    }
}

/// Appends the index section of an RLE_DICTIONARY page: the bit width, then one run.
///
/// Indices take whole bytes, more than the bits they need, so that the compressor finds repeated sequences. `bytes`
/// comes from [`index_bytes`].
pub(crate) fn put_indices(out: &mut Vec<u8>, indices: &[u32], bytes: usize) {
    out.push((bytes * 8) as u8);
    let Some((&first, rest)) = indices.split_first() else { return };
    if rest.iter().all(|&index| index == first) {
        put_varint(out, (indices.len() as u64) << 1);
        out.extend_from_slice(&first.to_le_bytes()[..bytes]);
        return;
    }
    let groups = indices.len().div_ceil(8);
    put_varint(out, (groups as u64) << 1 | 1);
    let start = out.len();
    match bytes {
        1 => out.extend(indices.iter().map(|&index| index as u8)),
        2 => {
            out.resize(start + indices.len() * 2, 0);
            let (pairs, _) = out[start..].as_chunks_mut::<2>();
            for (pair, &index) in pairs.iter_mut().zip(indices) {
                *pair = (index as u16).to_le_bytes();
            }
        }
        _ => {
            for &index in indices {
                out.extend_from_slice(&index.to_le_bytes()[..bytes]);
            }
        }
    }
    out.resize(start + groups * 8 * bytes, 0);
}

/// As [`put_indices`], but in as few bits as a dictionary of `entries` entries needs; for pages that stay uncompressed.
pub(crate) fn put_packed_indices(out: &mut Vec<u8>, indices: &[u32], entries: usize) {
    let bits = bit_width(entries.saturating_sub(1) as u64).max(1);
    out.push(bits);
    if indices.is_empty() {
        return;
    }
    let groups = indices.len().div_ceil(8);
    put_varint(out, (groups as u64) << 1 | 1);
    let end = out.len() + groups * usize::from(bits);
    put_bits(out, indices.iter().map(|&index| u64::from(index)), bits);
    out.resize(end, 0);
}
