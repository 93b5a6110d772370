//! The RLE/bit-packed hybrid: repetition and definition levels, dictionary indices.

use super::put_uleb;

/// Equal values in a row from which a run pays over bit-packing.
///
/// The format allows runs of any length, and a short run costs two whole bytes. But pages are compressed, and
/// byte-aligned runs repeat from trace to trace where bit-packed groups shift; the shortest runs win both on
/// size and on time.
const MIN_RUN: usize = 1;

/// Appends a level section of a v1 data page: its length in four bytes, then the runs.
pub(crate) fn put_level_section(out: &mut Vec<u8>, levels: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_levels(out, levels);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends levels as runs. A run's value takes one byte for any level up to 255, so the bytes do not depend on
/// the bit width that a reader derives from the column's maximum level.
pub(crate) fn put_levels(out: &mut Vec<u8>, levels: &[u8]) {
    const { assert!(MIN_RUN == 1) };
    let mut rest = levels;
    while let Some(&value) = rest.first() {
        let run = run_length(rest, value);
        put_uleb(out, (run as u64) << 1);
        out.push(value);
        rest = &rest[run..];
    }
}

/// Length of the run of `value` at the start of `levels`.
#[inline]
fn run_length(levels: &[u8], value: u8) -> usize {
    let mut run = levels.iter().take(8).take_while(|&&level| level == value).count();
    if run < 8 {
        return run;
    }
    let pattern = [value; 8];
    while levels.len() >= run + 8 && levels[run..run + 8] == pattern {
        run += 8;
    }
    run + levels[run..].iter().take(8).take_while(|&&level| level == value).count()
}

/// Bytes of one dictionary index in a page whose dictionary has `entries` entries.
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
/// Indices take whole bytes, more bits than they need: the compressor then sees sequences that repeat. `bytes`
/// comes from [`index_bytes`].
pub(crate) fn put_indices(out: &mut Vec<u8>, indices: &[u32], bytes: usize) {
    out.push((bytes * 8) as u8);
    let Some((&first, rest)) = indices.split_first() else { return };
    if rest.iter().all(|&index| index == first) {
        put_uleb(out, (indices.len() as u64) << 1);
        out.extend_from_slice(&first.to_le_bytes()[..bytes]);
        return;
    }
    let groups = indices.len().div_ceil(8);
    put_uleb(out, (groups as u64) << 1 | 1);
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
