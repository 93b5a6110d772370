//! The RLE / bit-packing hybrid: levels, dictionary codes and booleans.

use super::bits::{packed_bytes, unpack, unpack_pairs_of_bits};
use super::{DecodeError, DecodeResult, split, varint};

/// A stretch of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Run<'a> {
    /// One value `count` times.
    Repeated {
        /// The value.
        value: u32,
        /// How often; at least 1.
        count: usize,
    },
    /// `count` bit-packed values.
    Packed {
        /// At least the bytes that `count` values take.
        bytes: &'a [u8],
        /// How many; at least 1.
        count: usize,
    },
}

/// A cursor over the runs of a hybrid section.
#[derive(Debug, Clone)]
pub(crate) struct Runs<'a> {
    input: &'a [u8],
    width: u32,
    remaining: usize,
}

impl<'a> Runs<'a> {
    /// The runs of `count` values of `width` bits, at most 32.
    pub(crate) fn new(input: &'a [u8], width: u32, count: usize) -> DecodeResult<Self> {
        if width > 32 {
            return Err(DecodeError("a dictionary code has more than 32 bits"));
        }
        Ok(Self { input, width, remaining: count })
    }

    /// The next run, cut to the number of values that are left; `None` if there are none.
    pub(crate) fn next_run(&mut self) -> DecodeResult<Option<Run<'a>>> {
        while self.remaining > 0 {
            let (header, rest) = varint(self.input)?;
            let declared = usize::try_from(header >> 1)
                .map_err(|_| DecodeError("a run is longer than memory"))?;
            if header & 1 == 0 {
                let value_bytes = self.width.div_ceil(8) as usize;
                let (bytes, rest) = split(rest, value_bytes, "a repeated value is cut off")?;
                self.input = rest;
                if declared == 0 {
                    continue;
                }
                let mut value = [0; 4];
                value[..value_bytes].copy_from_slice(bytes);
                let count = declared.min(self.remaining);
                self.remaining -= count;
                return Ok(Some(Run::Repeated { value: u32::from_le_bytes(value), count }));
            }
            let count = declared.saturating_mul(8).min(self.remaining);
            let bytes_declared = declared.saturating_mul(self.width as usize);
            // Some writers omit the padding of the last group.
            let (bytes, rest) = rest.split_at(bytes_declared.min(rest.len()));
            self.input = rest;
            if count == 0 {
                continue;
            }
            if bytes.len() < packed_bytes(count, self.width) {
                return Err(DecodeError("a bit-packed run is cut off"));
            }
            self.remaining -= count;
            return Ok(Some(Run::Packed { bytes, count }));
        }
        Ok(None)
    }
}

/// Levels of a page: one for each entry, or one for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Levels<'a> {
    /// All entries have this level.
    Constant(u8),
    /// One level an entry.
    Each(&'a [u8]),
}

impl<'a> Levels<'a> {
    /// The level of an entry.
    #[inline]
    pub(crate) fn at(self, entry: usize) -> u8 {
        match self {
            Self::Constant(level) => level,
            Self::Each(levels) => levels[entry],
        }
    }

    /// The levels of a range of entries.
    pub(crate) fn slice(self, entries: std::ops::Range<usize>) -> Levels<'a> {
        match self {
            Self::Constant(level) => Self::Constant(level),
            Self::Each(levels) => Self::Each(&levels[entries]),
        }
    }

    /// How many of `entries` levels equal `level`.
    pub(crate) fn count_of(self, level: u8, entries: usize) -> usize {
        match self {
            Self::Constant(all) if all == level => entries,
            Self::Constant(_) => 0,
            Self::Each(levels) => count_equal(levels, level),
        }
    }
}

/// How many bytes equal `level`.
pub(crate) fn count_equal(levels: &[u8], level: u8) -> usize {
    // Sums of at most 255 fit into a byte, which lets the compiler count 16 bytes at a time.
    levels
        .chunks(255)
        .map(|chunk| usize::from(chunk.iter().map(|&l| u8::from(l == level)).sum::<u8>()))
        .sum()
}

/// How many bytes are below `level`.
pub(crate) fn count_below(levels: &[u8], level: u8) -> usize {
    let below = |chunk: &[u8]| chunk.iter().map(|&l| u8::from(l < level)).sum::<u8>();
    levels.chunks(255).map(|chunk| usize::from(below(chunk))).sum()
}

/// Bits that a level of at most `max` takes.
pub(crate) fn level_width(max: u8) -> u32 {
    u8::BITS - max.leading_zeros()
}

/// Spare bytes after the levels, so that a short run can be written in full whatever its length.
const RUN_SLACK: usize = 128;

/// Decodes `count` levels, all at most `max`. `buffer` is reused memory.
pub(crate) fn decode_levels<'b>(
    input: &[u8],
    max: u8,
    count: usize,
    buffer: &'b mut Vec<u8>,
) -> DecodeResult<Levels<'b>> {
    if max == 0 {
        return Ok(Levels::Constant(0));
    }
    if buffer.len() < count + RUN_SLACK {
        buffer.resize(count + RUN_SLACK, 0);
    }
    let width = level_width(max);
    let above = DecodeError("a level is above the maximum");
    if let Some((&[header, level], _)) = input.split_first_chunk::<2>()
        && header & 0x81 == 0
        && usize::from(header >> 1) >= count
        && level <= max
    {
        return Ok(Levels::Constant(level));
    }
    let (mut filled, mut top) = (0, 0);
    let mut input = input;
    while filled < count {
        let value;
        (input, filled, value) = short_runs(input, filled, count, buffer);
        top = value.max(top);
        if filled >= count {
            break;
        }
        let mut runs = Runs::new(input, width, count - filled)?;
        match runs.next_run()? {
            Some(Run::Repeated { value, count: repeated }) => {
                let level = u8::try_from(value).map_err(|_| above)?;
                if repeated == count && level <= max {
                    return Ok(Levels::Constant(level));
                }
                top = top.max(level);
                buffer[filled..filled + repeated].fill(level);
                filled += repeated;
            }
            Some(Run::Packed { bytes, count: packed }) => {
                let levels = &mut buffer[filled..filled + packed];
                match width {
                    2 => unpack_pairs_of_bits(bytes, levels)?,
                    _ => unpack(bytes, width, levels)?,
                }
                top = levels.iter().fold(top, |top, &level| top.max(level));
                filled += packed;
            }
            None => break,
        }
        input = runs.input;
    }
    if top > max {
        return Err(above);
    }
    Ok(Levels::Each(&buffer[..count]))
}

/// Expands repeated runs of less than 64 levels from the start of `input`, until another kind of run comes or `count`
/// levels are reached. Our writer makes only such runs. Returns the rest of the input, the number of levels written
/// (the last run may exceed `count`), and the largest level.
#[inline]
fn short_runs<'a>(
    mut input: &'a [u8],
    mut filled: usize,
    count: usize,
    buffer: &mut [u8],
) -> (&'a [u8], usize, u8) {
    let mut top = 0;
    while filled < count {
        let Some((&[header, value], rest)) = input.split_first_chunk::<2>() else { break };
        if header & 0x81 != 0 {
            break;
        }
        let Some(slot) = buffer[filled..].first_chunk_mut::<64>() else { break };
        let length = usize::from(header >> 1);
        if length <= 8 {
            slot[..8].fill(value);
        } else {
            slot.fill(value);
        }
        top = top.max(value);
        filled += length;
        input = rest;
    }
    (input, filled, top)
}

/// Skips `skip` dictionary codes and appends the next `count`, each of which must be below `limit`.
///
/// `body` is the value section of a dictionary-coded page: the bit width, then the runs.
pub(crate) fn decode_codes(
    body: &[u8],
    skip: usize,
    count: usize,
    limit: usize,
    out: &mut Vec<u32>,
) -> DecodeResult<()> {
    if count == 0 {
        return Ok(());
    }
    let (&width, body) = body.split_first().ok_or(DecodeError("a page has no code width"))?;
    let mut runs = Runs::new(body, u32::from(width), skip + count)?;
    let mut to_skip = skip;
    out.reserve(count);
    while let Some(run) = runs.next_run()? {
        match run {
            Run::Repeated { value, count } => {
                if value as usize >= limit {
                    return Err(DecodeError("a code is not in the dictionary"));
                }
                let skipped = to_skip.min(count);
                to_skip -= skipped;
                out.resize(out.len() + count - skipped, value);
            }
            Run::Packed { bytes, count } => {
                let skipped = to_skip.min(count);
                to_skip -= skipped;
                // Whole groups of eight take whole bytes, which are skipped.
                let (groups, odd) = (skipped / 8, skipped % 8);
                let start = out.len();
                out.resize(start + count - groups * 8, 0);
                let fresh = &mut out[start..];
                unpack(&bytes[groups * usize::from(width)..], u32::from(width), fresh)?;
                let top = fresh[odd..].iter().fold(0, |top, &code| top.max(code));
                if fresh.len() > odd && top as usize >= limit {
                    return Err(DecodeError("a code is not in the dictionary"));
                }
                out.drain(start..start + odd);
            }
        }
    }
    Ok(())
}

/// Skips `skip` RLE-coded booleans (after a 4-byte length) and appends the next `count`.
pub(crate) fn decode_booleans(
    body: &[u8],
    skip: usize,
    count: usize,
    out: &mut Vec<u8>,
) -> DecodeResult<()> {
    if count == 0 {
        return Ok(());
    }
    let (length, body) = super::split_u32(body, "the length of booleans is cut off")?;
    let (section, _) = split(body, length as usize, "booleans are cut off")?;
    let start = out.len();
    let mut levels = Vec::new();
    match decode_levels(section, 1, skip + count, &mut levels)? {
        Levels::Constant(value) => out.resize(start + count, value),
        Levels::Each(values) => out.extend_from_slice(&values[skip..]),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
