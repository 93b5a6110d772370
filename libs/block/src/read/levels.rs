//! The levels of pages, decoded once for all columns that share them.
//!
//! A v1 page has its levels before its values, compressed together. A writer that compresses the levels as separate
//! zstd frames, as ours does, copies these frames into every column with the same levels. Equal bytes are equal levels,
//! so they are decompressed and decoded only for the first such column.

use std::sync::Arc;

use crate::decoding::codec::{Codec, Decompressor};
use crate::decoding::frames::{self, Frame, split_last};
use crate::decoding::hybrid::{Levels, decode_levels, level_width};
use crate::decoding::{DecodeError, DecodeResult, split, split_u32};

use super::columns::Leaf;

const CUT_OFF: &str = "levels are cut off";
const WRONG_SIZE: DecodeError = DecodeError("a page does not decompress to its declared size");

/// Most levels that are kept at a time. A row group has a few pages, and columns at five depths.
const MAX_KNOWN: usize = 64;

/// Most bytes that are kept. Real row groups stay far below; a crafted one could have any number of long pages.
const MAX_KNOWN_BYTES: usize = 32 << 20;

/// Level sections that were met before.
#[derive(Debug, Default)]
pub(crate) struct KnownLevels {
    known: Vec<Known>,
    /// The one that is replaced next, once there are [`MAX_KNOWN`].
    oldest: usize,
    /// Sections that pages share with no other.
    rep: Vec<u8>,
    def: Vec<u8>,
}

/// The levels in some frames at the start of a page.
#[derive(Debug)]
struct Known {
    /// A copy of the frames. A slice would keep everything in memory that was read with them.
    frames: Box<[u8]>,
    max_rep: u8,
    max_def: u8,
    entries: usize,
    /// What the frames decompress to. Empty if `rep` is all of it and belongs to another column.
    content: Vec<u8>,
    /// Bytes that the frames decompress to.
    size: usize,
    /// Bytes of the definition levels at the end of the content; `None` if the frames do not contain them.
    def_bytes: Option<usize>,
    /// Decoded when first asked for.
    rep: Option<Arc<Decoded>>,
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

    /// The levels and values of a v1 page. `stored` is the page as stored, which must decompress to `size` bytes.
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
        {
            if !wanted.rep && self.are_all_defined(leaf, (frames, own, size), wanted.entries) {
                let body = match own.raw {
                    Some(raw) => raw,
                    None if wanted.values => {
                        decompressor.decompress(Codec::Zstd, own.bytes, own.content)?
                    }
                    None => &[],
                };
                let (rep, def) = (Levels::Constant(0), Levels::Constant(leaf.max_def));
                return Ok(Sections { rep, def, values: wanted.entries, body });
            }
            let at = self.find_or_read(leaf, (frames, size), wanted.entries, decompressor)?;
            let Some(at) = at else {
                return self.read_whole(leaf, codec, stored, size, wanted, decompressor);
            };
            let known = &mut self.known[at];
            if known.size.checked_add(own.content) != Some(size) {
                return Err(WRONG_SIZE);
            }
            return known.sections(leaf, own, wanted, &mut self.def, decompressor);
        }
        self.read_whole(leaf, codec, stored, size, wanted, decompressor)
    }

    /// As [`Self::read`], for a page that shares nothing with others.
    fn read_whole<'p>(
        &'p mut self,
        leaf: Leaf,
        codec: Codec,
        stored: &'p [u8],
        size: usize,
        wanted: Wanted,
        decompressor: &'p mut Decompressor,
    ) -> DecodeResult<Sections<'p>> {
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

    /// True if the definition levels have a frame of their own that shows, without being decompressed, that all entries
    /// of the page are defined. `page`: the frames of its levels, its own frame, and the bytes that it must decompress
    /// to.
    fn are_all_defined(
        &mut self,
        leaf: Leaf,
        (frames, own, size): (&[u8], Frame<'_>, usize),
        entries: usize,
    ) -> bool {
        let Some((mut before, def)) = split_last(frames) else { return false };
        let mut content = Some(0usize);
        let mut add = |more| content = content.and_then(|content| content.checked_add(more));
        [own.content, def.content].into_iter().for_each(&mut add);
        while let Some((rest, frame)) = split_last(before) {
            add(frame.content);
            before = rest;
            if before.is_empty() {
                break;
            }
        }
        let Some(Ok((levels, []))) = def.raw.map(|raw| section(raw, leaf.max_def)) else {
            return false;
        };
        let levels = decode_levels(levels, leaf.max_def, entries, &mut self.def);
        content == Some(size) && levels == Ok(Levels::Constant(leaf.max_def))
    }

    /// The position of the levels in these frames, which may decompress to at most `limit` bytes; `None` if the frames
    /// do not end with a level section.
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
        if let Some(known) = self.with_rep_of_another(leaf, (frames, limit), entries) {
            return Ok(Some(self.add(known)));
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
        // Only the page's size was compared with the limit for pages. Frames declare their own size.
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
        let known = Known {
            frames: frames.into(),
            max_rep: leaf.max_rep,
            max_def: leaf.max_def,
            entries,
            content: content.to_vec(),
            size,
            def_bytes,
            rep: None,
            def: None,
        };
        Ok(Some(self.add(known)))
    }

    /// Notes levels; their position.
    fn add(&mut self, known: Known) -> usize {
        if self.known_bytes() > MAX_KNOWN_BYTES {
            self.clear();
        }
        if self.known.len() < MAX_KNOWN {
            self.known.push(known);
            return self.known.len() - 1;
        }
        let at = self.oldest;
        self.oldest = (at + 1) % MAX_KNOWN;
        self.known[at] = known;
        at
    }

    /// The repetition levels of another column that has definition levels after them. In an attribute list, keys are
    /// all defined and values are not, but they share repetition levels.
    fn with_rep_of_another(
        &self,
        leaf: Leaf,
        (frames, limit): (&[u8], usize),
        entries: usize,
    ) -> Option<Known> {
        let (length, size) = frames::first(frames)?;
        // Equal bytes are equal levels only if each level takes the same number of bits. And the levels must not exceed
        // this column's maximum.
        let has_it = |known: &&Known| {
            known.entries == entries
                && known.max_rep > 0
                && known.max_rep <= leaf.max_rep
                && level_width(known.max_rep) == level_width(leaf.max_rep)
                && known.def_bytes.and_then(|def| known.size.checked_sub(def + 4)) == Some(size)
                && known.frames.starts_with(frames)
        };
        if length != frames.len() || size > limit {
            return None;
        }
        let rep = self.known.iter().find(has_it)?.rep.clone()?;
        Some(Known {
            frames: frames.into(),
            max_rep: leaf.max_rep,
            max_def: leaf.max_def,
            entries,
            content: Vec::new(),
            size,
            def_bytes: None,
            rep: Some(rep),
            def: None,
        })
    }
}

impl Known {
    fn bytes(&self) -> usize {
        let decoded = |levels: Option<&Decoded>| match levels {
            Some(Decoded::Each(levels)) => levels.len(),
            _ => 0,
        };
        let def = self.def.as_ref().map(|(levels, _)| levels);
        self.frames.len() + self.content.len() + decoded(self.rep.as_deref()) + decoded(def)
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
            self.rep = Some(Arc::new(Decoded::of(levels)));
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

/// A level section, empty if the highest level is 0, and the bytes after it.
fn section(input: &[u8], max: u8) -> DecodeResult<(&[u8], &[u8])> {
    if max == 0 {
        return Ok((&[], input));
    }
    let (length, rest) = split_u32(input, CUT_OFF)?;
    split(rest, length as usize, CUT_OFF)
}

#[cfg(test)]
mod tests;
