//! The levels of pages, each decoded once for all columns that share them.
//!
//! A v1 page has its levels before its values, compressed together. A writer that compresses the levels as
//! zstd frames of their own, as ours does, copies these frames into every column with the same levels: equal
//! bytes are equal levels, so they are decompressed and decoded for the first column that comes with them.

use crate::decoding::codec::{Codec, Decompressor};
use crate::decoding::frames::{Frame, split_last};
use crate::decoding::hybrid::{Levels, decode_levels};
use crate::decoding::{DecodeError, DecodeResult, split, split_u32};

use super::columns::Leaf;

const CUT_OFF: &str = "levels are cut off";
const WRONG_SIZE: DecodeError = DecodeError("a page does not decompress to its declared size");

/// More are not kept at a time: a row group has a few pages, and columns at five depths.
const MAX_KNOWN: usize = 64;

/// Nor more bytes: real row groups stay far below, a crafted one could ask for any number of long pages.
const MAX_KNOWN_BYTES: usize = 32 << 20;

/// Level sections that were met before.
#[derive(Debug, Default)]
pub(crate) struct KnownLevels {
    known: Vec<Known>,
    /// The one to be replaced next once there are [`MAX_KNOWN`].
    oldest: usize,
    /// Sections that pages share with no other.
    rep: Vec<u8>,
    def: Vec<u8>,
}

/// The levels in some frames at the start of a page.
#[derive(Debug)]
struct Known {
    /// The frames. Not a part of what was read, all of which would stay in memory.
    frames: Box<[u8]>,
    max_rep: u8,
    max_def: u8,
    entries: usize,
    /// Bytes that the frames decompress to.
    content: Vec<u8>,
    /// Bytes of the definition levels at the end of the content; `None` if those are not in the frames.
    def_bytes: Option<usize>,
    /// Decoded when first asked for.
    rep: Option<Decoded>,
    def: Option<(Decoded, usize)>,
}

/// Decoded levels.
#[derive(Debug)]
enum Decoded {
    Constant(u8),
    Each(Vec<u8>),
}

impl Decoded {
    fn of(levels: Levels<'_>) -> Self {
        match levels {
            Levels::Constant(level) => Self::Constant(level),
            Levels::Each(levels) => Self::Each(levels.to_vec()),
        }
    }

    fn get(&self) -> Levels<'_> {
        match self {
            Self::Constant(level) => Levels::Constant(*level),
            Self::Each(levels) => Levels::Each(levels),
        }
    }
}

/// The levels of a page and what follows them.
pub(crate) struct Sections<'p> {
    /// Constant 0 if not asked for.
    pub(crate) rep: Levels<'p>,
    pub(crate) def: Levels<'p>,
    /// Entries with the highest definition level.
    pub(crate) values: usize,
    /// The values' bytes; empty if not asked for.
    pub(crate) body: &'p [u8],
}

/// What is asked of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) entries: usize,
    pub(crate) rep: bool,
    pub(crate) values: bool,
}

impl KnownLevels {
    /// Forgets everything; buffers stay.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.oldest = 0;
    }

    /// Bytes of what was met.
    pub(crate) fn known_bytes(&self) -> usize {
        self.known.iter().map(Known::bytes).sum()
    }

    /// Bytes of the buffers.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.rep.capacity() + self.def.capacity()
    }

    /// The levels and values of a v1 page. `stored` is the page as stored; it must
    /// decompress to `size` bytes.
    pub(crate) fn read<'p>(
        &'p mut self,
        leaf: Leaf,
        codec: Codec,
        stored: &'p [u8],
        size: usize,
        wanted: Wanted,
        decompressor: &'p mut Decompressor,
    ) -> DecodeResult<Sections<'p>> {
        if codec == Codec::Zstd
            && leaf.max_def > 0
            && let Some((frames, own)) = split_last(stored)
            && !frames.is_empty()
            && let Some(at) =
                self.find_or_read(leaf, (frames, size), wanted.entries, decompressor)?
        {
            let known = &mut self.known[at];
            if known.content.len().checked_add(own.content) != Some(size) {
                return Err(WRONG_SIZE);
            }
            return known.sections(leaf, own, wanted, &mut self.def, decompressor);
        }
        let rest = match (codec, split_last(stored)) {
            (Codec::Uncompressed, _) => stored,
            (Codec::Zstd, Some(([], Frame { raw: Some(raw), .. }))) if raw.len() == size => raw,
            _ => decompressor.decompress(codec, stored, size)?,
        };
        let (rep_section, rest) = section(rest, leaf.max_rep)?;
        let (def_section, body) = section(rest, leaf.max_def)?;
        let rep = match wanted.rep {
            true => decode_levels(rep_section, leaf.max_rep, wanted.entries, &mut self.rep)?,
            false => Levels::Constant(0),
        };
        let def = decode_levels(def_section, leaf.max_def, wanted.entries, &mut self.def)?;
        Ok(Sections { rep, def, values: def.count_of(leaf.max_def, wanted.entries), body })
    }

    /// The position of the levels in these frames; `None` if the frames do not end with a level section. They decompress to
    /// `limit` bytes at most.
    fn find_or_read(
        &mut self,
        leaf: Leaf,
        (frames, limit): (&[u8], usize),
        entries: usize,
        decompressor: &mut Decompressor,
    ) -> DecodeResult<Option<usize>> {
        let is_it = |known: &Known| {
            (known.max_rep, known.max_def, known.entries) == (leaf.max_rep, leaf.max_def, entries)
                && *known.frames == *frames
        };
        if let Some(found) = self.known.iter().position(is_it) {
            return Ok(Some(found));
        }
        let mut size = 0usize;
        let mut rest = frames;
        while let Some((before, last)) = split_last(rest) {
            size = last.content.saturating_add(size);
            rest = before;
            if rest.is_empty() {
                break;
            }
        }
        // The page's size is what was compared with the limit for pages; frames say themselves how large they are.
        if size > limit {
            return Err(WRONG_SIZE);
        }
        let content = decompressor.decompress(Codec::Zstd, frames, size)?;
        let Ok((_, rest)) = section(content, leaf.max_rep) else { return Ok(None) };
        let def_bytes = match rest {
            [] => None,
            _ => match section(rest, leaf.max_def) {
                Ok((levels, [])) => Some(levels.len()),
                _ => return Ok(None),
            },
        };
        if self.known_bytes() > MAX_KNOWN_BYTES {
            self.clear();
        }
        let known = Known {
            frames: frames.into(),
            max_rep: leaf.max_rep,
            max_def: leaf.max_def,
            entries,
            content: content.to_vec(),
            def_bytes,
            rep: None,
            def: None,
        };
        if self.known.len() < MAX_KNOWN {
            self.known.push(known);
            return Ok(Some(self.known.len() - 1));
        }
        let at = self.oldest;
        self.oldest = (at + 1) % MAX_KNOWN;
        self.known[at] = known;
        Ok(Some(at))
    }
}

impl Known {
    fn bytes(&self) -> usize {
        let decoded = |levels: Option<&Decoded>| match levels {
            Some(Decoded::Each(levels)) => levels.len(),
            _ => 0,
        };
        let def = self.def.as_ref().map(|(levels, _)| levels);
        self.frames.len() + self.content.len() + decoded(self.rep.as_ref()) + decoded(def)
    }

    fn sections<'p>(
        &'p mut self,
        leaf: Leaf,
        own: Frame<'p>,
        wanted: Wanted,
        def_buffer: &'p mut Vec<u8>,
        decompressor: &'p mut Decompressor,
    ) -> DecodeResult<Sections<'p>> {
        if wanted.rep && self.rep.is_none() {
            let (levels, _) = section(&self.content, self.max_rep)?;
            let levels = decode_levels(levels, self.max_rep, self.entries, def_buffer)?;
            self.rep = Some(Decoded::of(levels));
        }
        if let Some(bytes) = self.def_bytes
            && self.def.is_none()
        {
            let levels = &self.content[self.content.len() - bytes..];
            let levels = decode_levels(levels, self.max_def, self.entries, def_buffer)?;
            let values = levels.count_of(self.max_def, self.entries);
            self.def = Some((Decoded::of(levels), values));
        }
        let rep = match &self.rep {
            Some(levels) if wanted.rep => levels.get(),
            _ => Levels::Constant(0),
        };
        let needs_own = wanted.values || self.def.is_none();
        let body = match own.raw {
            Some(raw) => raw,
            None if needs_own => decompressor.decompress(Codec::Zstd, own.bytes, own.content)?,
            None => &[],
        };
        match &self.def {
            Some((def, values)) => Ok(Sections { rep, def: def.get(), values: *values, body }),
            None => {
                let (levels, body) = section(body, leaf.max_def)?;
                let def = decode_levels(levels, leaf.max_def, self.entries, def_buffer)?;
                let values = def.count_of(leaf.max_def, self.entries);
                Ok(Sections { rep, def, values, body })
            }
        }
    }
}

/// A level section (nothing if the highest level is 0), and the bytes after it.
fn section(input: &[u8], max: u8) -> DecodeResult<(&[u8], &[u8])> {
    if max == 0 {
        return Ok((&[], input));
    }
    let (length, rest) = split_u32(input, CUT_OFF)?;
    split(rest, length as usize, CUT_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: Leaf = Leaf { index: 0, max_rep: 3, max_def: 3 };

    fn frame(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 1).unwrap()
    }

    /// Four bytes of length, then runs.
    fn levels(runs: &[u8]) -> Vec<u8> {
        [&(runs.len() as u32).to_le_bytes(), runs].concat()
    }

    /// Two rows of two spans; all defined.
    fn shared() -> (Vec<u8>, usize) {
        let (rep, def) = (levels(&[2, 0, 2, 3, 2, 0, 2, 3]), levels(&[8, 3]));
        ([frame(&rep), frame(&def)].concat(), rep.len() + def.len())
    }

    fn read(
        known: &mut KnownLevels,
        leaf: Leaf,
        page: Vec<u8>,
        size: usize,
    ) -> DecodeResult<(Vec<u8>, usize, Vec<u8>)> {
        let mut decompressor = Decompressor::default();
        let wanted = Wanted { entries: 4, rep: true, values: true };
        let found = known.read(leaf, Codec::Zstd, &page, size, wanted, &mut decompressor)?;
        let rep = (0..4).map(|entry| found.rep.at(entry)).collect();
        Ok((rep, found.values, found.body.to_vec()))
    }

    #[test]
    fn levels_in_frames_of_their_own_are_decoded_once() {
        let mut known = KnownLevels::default();
        let (frames, size) = shared();
        for own in [b"12345678".as_slice(), b"another column", &[7; 1000]] {
            let page = [frames.as_slice(), &frame(own)].concat();
            let found = read(&mut known, LEAF, page, size + own.len()).unwrap();
            assert_eq!(found, (vec![0, 3, 0, 3], 4, own.to_vec()));
        }
        assert_eq!(known.known.len(), 1);

        // An optional column: repetition levels are shared, definition levels are its own.
        let rep = levels(&[2, 0, 2, 3, 2, 0, 2, 3]);
        let own = [levels(&[4, 4, 4, 3]), b"ab".to_vec()].concat();
        let page = [frame(&rep), frame(&own)].concat();
        let leaf = Leaf { max_def: 4, ..LEAF };
        let found = read(&mut known, leaf, page, rep.len() + own.len()).unwrap();
        assert_eq!(found, (vec![0, 3, 0, 3], 2, b"ab".to_vec()));
    }

    #[test]
    fn levels_that_reach_into_the_last_frame_are_read() {
        let (frames, size) = shared();
        let all = zstd::stream::decode_all(&frames[..]).unwrap();
        for cut in [1, 5, size - 3] {
            let page = [frame(&all[..cut]), frame(&[&all[cut..], b"xy"].concat())].concat();
            let found = read(&mut KnownLevels::default(), LEAF, page, size + 2).unwrap();
            assert_eq!(found, (vec![0, 3, 0, 3], 4, b"xy".to_vec()));
        }
    }

    #[test]
    fn frames_larger_than_their_page_are_not_decompressed() {
        let bomb = frame(&vec![0; 64 << 20]);
        assert!(bomb.len() < 10_000, "{}", bomb.len());
        let page = [bomb.as_slice(), &frame(b"1234")].concat();
        let mut decompressor = Decompressor::default();
        let wanted = Wanted { entries: 4, rep: true, values: true };
        let read = KnownLevels::default()
            .read(LEAF, Codec::Zstd, &page, 1000, wanted, &mut decompressor)
            .map(drop);
        assert_eq!(read, Err(WRONG_SIZE));
        assert!(decompressor.buffer_bytes() < 1 << 20);
    }

    #[test]
    fn pages_of_another_size_than_declared_are_refused() {
        let (frames, size) = shared();
        let page = [frames.as_slice(), &frame(b"1234")].concat();
        for wrong in [size + 3, size + 5, 0, usize::MAX] {
            let mut known = KnownLevels::default();
            assert!(read(&mut known, LEAF, page.clone(), wrong).is_err());
        }
    }
}
