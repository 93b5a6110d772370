//! The pages of a column chunk: bounds, checksums, decompression and levels.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::decoding::byte_arrays::ByteArrays;
use crate::decoding::codec::{Codec, Decompressor};
use crate::decoding::hybrid::{Levels, decode_levels};
use crate::decoding::page::{Encoding, PageHeader, PageKind, read_page_header};
use crate::decoding::{DecodeError, DecodeResult, split};

use super::columns::Leaf;
use super::levels::{KnownLevels, Wanted};
use chosen::Sieve;
pub(crate) use chosen::retain_from;
use rows::WindowPages;

mod chosen;
mod rows;

/// The largest growth of real pages when they are decompressed, for writers that do not declare it.
const PLAIN_GROWTH: usize = 1024;

/// Pages up to this size are read whatever the footer says.
const MIN_PAGE_LIMIT: usize = 1 << 20;

/// The bytes of a column chunk in memory: the whole chunk, or the pages of some rows.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) leaf: Leaf,
    pub(crate) codec: Codec,
    /// Compare pages with their checksums.
    pub(crate) verify: bool,
    /// Entries of the whole chunk, including nulls. Checked against the limit for its size.
    pub(crate) entries: usize,
    /// Bytes of all its pages before compression.
    pub(crate) uncompressed: usize,
    /// Pages with their headers, the dictionary first.
    pub(crate) pieces: Vec<Bytes>,
    /// The decoded dictionary of a chunk of strings, if it is known. Its page is not read then.
    pub(crate) dictionary: Option<Arc<ByteArrays>>,
    /// Only these rows are wanted.
    pub(crate) window: Option<Window>,
    /// For a column of spans, or of their items: which spans of the rows are wanted, as a byte each, 1 if wanted.
    pub(crate) chosen: Option<Arc<[u8]>>,
}

impl Chunk {
    /// The most bytes that a page with this many stored bytes may decompress to. If pages compress to next to nothing,
    /// the footer must say so, so that a reader of the footer knows what reading the row group takes.
    fn page_limit(&self, stored: usize) -> usize {
        page_limit(self.uncompressed, stored)
    }
}

/// The same, for a page of a chunk with this many uncompressed bytes.
pub(crate) fn page_limit(chunk: usize, stored: usize) -> usize {
    chunk.max(stored.saturating_mul(PLAIN_GROWTH)).max(MIN_PAGE_LIMIT)
}

/// Some rows of a row group.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) rows: Range<u64>,
    /// The row in which the first of these data pages starts.
    pub(crate) first_row: u64,
    /// For each data page, the row after its last one, as far as it is known.
    pub(crate) end_rows: Vec<u64>,
}

thread_local! {
    /// Buffers that are kept for the next read, because they are large.
    static SPARE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Larger buffers are not kept for the next read.
const MAX_SPARE_BYTES: usize = 4 << 20;

/// More levels of a row group are not kept either.
const MAX_SPARE_LEVELS: usize = 1 << 20;

/// Buffers that are reused from page to page.
#[derive(Default)]
pub(crate) struct Scratch {
    body: Decompressor,
    levels: KnownLevels,
    rep: Vec<u8>,
    def: Vec<u8>,
}

impl Scratch {
    /// The buffers of this thread's last read, or new ones.
    pub(crate) fn reuse() -> Box<Self> {
        SPARE.take().unwrap_or_default()
    }

    /// Keeps the buffers for this thread's next read, which may be of the same pages.
    pub(crate) fn spare(mut self: Box<Self>) {
        if self.levels.known_bytes() > MAX_SPARE_LEVELS {
            self.levels.clear();
        }
        let bytes = self.body.buffer_bytes() + self.rep.capacity() + self.def.capacity();
        if bytes + self.levels.buffer_bytes() <= MAX_SPARE_BYTES {
            SPARE.set(Some(self));
        }
    }

    /// For pages that are decompressed outside of a chunk.
    pub(crate) fn decompressor(&mut self) -> &mut Decompressor {
        &mut self.body
    }
}

/// The levels that a reader needs. The others cost nothing if the page declares its number of nulls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) rep: bool,
    pub(crate) def: bool,
}

/// The entries of a page that are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLevels<'p> {
    /// Entries, nulls included.
    pub(crate) entries: usize,
    /// Constant 0 if not asked for.
    pub(crate) rep: Levels<'p>,
    /// Constant 0 if not asked for.
    pub(crate) def: Levels<'p>,
}

impl PageLevels<'_> {
    fn slice(&self, entries: Range<usize>) -> Self {
        Self {
            entries: entries.len(),
            rep: self.rep.slice(entries.clone()),
            def: self.def.slice(entries),
        }
    }
}

/// The value section of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageValues<'p> {
    pub(crate) encoding: Encoding,
    pub(crate) body: &'p [u8],
    /// Values before the wanted ones.
    pub(crate) skip: usize,
    /// Wanted values.
    pub(crate) count: usize,
    /// Values of the page.
    pub(crate) total: usize,
}

/// Decodes the values of a chunk, page by page.
pub(crate) trait PageDecoder {
    /// False if only levels matter. Then values are not even decompressed.
    const VALUES: bool = true;

    /// Takes the chunk's dictionary: `entries` PLAIN values.
    fn dictionary(&mut self, body: &[u8], entries: usize) -> DecodeResult<()>;

    /// Takes the dictionary of a chunk of strings that was decoded before.
    fn share_dictionary(&mut self, _: Arc<ByteArrays>) {}

    /// Takes a data page. Its values replace those of the previous page.
    fn page(&mut self, values: PageValues<'_>) -> DecodeResult<()>;

    /// Removes those values of the page whose byte in `kept` is not 1.
    fn retain(&mut self, kept: &[u8]);
}

/// Decodes every page of the chunk, and calls `on_page` with the wanted entries of each.
///
/// Errors: malformed pages; and, if all rows are read, a number of entries that is not the chunk's.
pub(crate) fn read_pages<D: PageDecoder>(
    chunk: &Chunk,
    needs: Needs,
    scratch: &mut Scratch,
    decoder: &mut D,
    mut on_page: impl FnMut(PageLevels<'_>, &mut D) -> DecodeResult<()>,
) -> DecodeResult<()> {
    let windowed = chunk.window.is_some();
    let mut sieve = chunk.chosen.as_deref().map(Sieve::new);
    let is_cut = windowed || sieve.is_some();
    let needs = Needs { rep: needs.rep || is_cut, def: needs.def || is_cut };
    let max_def = chunk.leaf.max_def;
    let window = chunk.window.as_ref().map(WindowPages::new);
    let mut pages = Pages { chunk, needs, window, seen: 0 };
    if let Some(dictionary) = &chunk.dictionary {
        decoder.share_dictionary(Arc::clone(dictionary));
    }
    for piece in &chunk.pieces {
        let mut input = &piece[..];
        while !input.is_empty() && pages.seen < chunk.entries {
            let (header, stored) = next_page(chunk, &mut input)?;
            if let PageKind::Dictionary { entries, encoding } = header.kind {
                if D::VALUES && chunk.dictionary.is_none() {
                    let body = dictionary_body(chunk.codec, &header, stored, encoding, scratch)?;
                    decoder.dictionary(body, entries)?;
                }
                continue;
            }
            let page = pages.wanted_of(header, stored, D::VALUES, scratch)?;
            let Some((page, wanted)) = page else { continue };
            let kept = page.levels.slice(wanted.clone());
            if D::VALUES {
                decoder.page(match windowed {
                    false => page.all_values(),
                    true => page.values_of(wanted.start, &kept, max_def),
                })?;
            }
            let Some(sieve) = &mut sieve else {
                on_page(kept, decoder)?;
                continue;
            };
            let (kept, values) = sieve.page(kept, max_def)?;
            if D::VALUES {
                decoder.retain(values);
            }
            if kept.entries > 0 {
                on_page(kept, decoder)?;
            }
        }
    }
    if !windowed && pages.seen != chunk.entries {
        return Err(DecodeError("the pages hold fewer entries than the chunk declares"));
    }
    if let Some(sieve) = sieve {
        sieve.finish()?;
    }
    Ok(())
}

/// The next page of a piece: its header, and its bytes as stored. Moves `input` after them.
fn next_page<'p>(chunk: &Chunk, input: &mut &'p [u8]) -> DecodeResult<(PageHeader, &'p [u8])> {
    let (header, rest) = read_page_header(input)?;
    let (stored, rest) = split(rest, header.compressed, "a page is cut off")?;
    *input = rest;
    if chunk.verify && header.crc != 0 && crc32fast::hash(stored) != header.crc {
        return Err(DecodeError("a page does not match its checksum"));
    }
    if header.uncompressed > chunk.page_limit(header.compressed) {
        return Err(DecodeError("a page is larger than its chunk declares"));
    }
    Ok((header, stored))
}

/// How far the pages of a chunk are read.
struct Pages<'c> {
    chunk: &'c Chunk,
    needs: Needs,
    window: Option<WindowPages<'c>>,
    /// Entries of the data pages so far; those of the whole chunk as soon as no later page is wanted.
    seen: usize,
}

impl Pages<'_> {
    /// The next data page and its wanted entries. `None` if it is not a data page, or no entry of it is wanted.
    #[inline]
    fn wanted_of<'p>(
        &mut self,
        header: PageHeader,
        stored: &'p [u8],
        wants_values: bool,
        scratch: &'p mut Scratch,
    ) -> DecodeResult<Option<(DataPage<'p>, Range<usize>)>> {
        let (chunk, needs) = (self.chunk, self.needs);
        let left = chunk.entries - self.seen;
        let page = read_levels(chunk, needs, header, stored, wants_values, scratch, left)?;
        let Some(page) = page else { return Ok(None) };
        self.seen += page.levels.entries;
        let wanted = match &mut self.window {
            None => 0..page.levels.entries,
            Some(window) => {
                let wanted = window.wanted_entries(&page.levels)?;
                if window.is_past_end() {
                    self.seen = chunk.entries;
                }
                wanted
            }
        };
        Ok((!wanted.is_empty()).then_some((page, wanted)))
    }
}

/// A data page with its levels decoded.
struct DataPage<'p> {
    levels: PageLevels<'p>,
    values: usize,
    encoding: Encoding,
    body: &'p [u8],
}

impl<'p> DataPage<'p> {
    fn all_values(&self) -> PageValues<'p> {
        let (encoding, body, total) = (self.encoding, self.body, self.values);
        PageValues { encoding, body, skip: 0, count: total, total }
    }

    /// The values of the entries `kept`, the first of which is `start`.
    fn values_of(&self, start: usize, kept: &PageLevels<'_>, max_def: u8) -> PageValues<'p> {
        PageValues {
            skip: self.levels.def.slice(0..start).count_of(max_def, start),
            count: kept.def.count_of(max_def, kept.entries),
            ..self.all_values()
        }
    }
}

/// The PLAIN values of a dictionary page.
fn dictionary_body<'p>(
    codec: Codec,
    header: &PageHeader,
    stored: &'p [u8],
    encoding: Encoding,
    scratch: &'p mut Scratch,
) -> DecodeResult<&'p [u8]> {
    if encoding != Encoding::Plain {
        return Err(DecodeError("a dictionary page is not PLAIN"));
    }
    match codec {
        Codec::Uncompressed => Ok(stored),
        codec => scratch.body.decompress(codec, stored, header.uncompressed),
    }
}

/// Decodes the levels that are needed, or from which the number of values is counted. `None` for a page to skip.
fn read_levels<'p>(
    chunk: &Chunk,
    needs: Needs,
    header: PageHeader,
    stored: &'p [u8],
    wants_values: bool,
    scratch: &'p mut Scratch,
    entries_left: usize,
) -> DecodeResult<Option<DataPage<'p>>> {
    let Leaf { max_rep, max_def, .. } = chunk.leaf;
    let check = |entries: usize| match entries <= entries_left {
        true => Ok(()),
        false => Err(DecodeError("a page holds more entries than its chunk")),
    };
    match header.kind {
        PageKind::Data { entries, encoding, rle_levels } => {
            check(entries)?;
            if max_def > 0 && !rle_levels {
                return Err(DecodeError("levels are not RLE"));
            }
            let wanted = Wanted { entries, rep: needs.rep, values: wants_values };
            let Scratch { body, levels, .. } = scratch;
            let found =
                levels.read(chunk.leaf, chunk.codec, stored, header.uncompressed, wanted, body)?;
            let levels = PageLevels { entries, rep: found.rep, def: found.def };
            Ok(Some(DataPage { levels, values: found.values, encoding, body: found.body }))
        }
        PageKind::DataV2 { entries, nulls, encoding, def_bytes, rep_bytes, compressed } => {
            check(entries)?;
            let (rep_section, rest) = split(stored, rep_bytes, "levels are cut off")?;
            let (def_section, rest) = split(rest, def_bytes, "levels are cut off")?;
            let rep = match needs.rep {
                true => decode_levels(rep_section, max_rep, entries, &mut scratch.rep)?,
                false => Levels::Constant(0),
            };
            let (def, values) = match needs.def {
                true => {
                    let def = decode_levels(def_section, max_def, entries, &mut scratch.def)?;
                    (def, def.count_of(max_def, entries))
                }
                false => {
                    let values = entries.checked_sub(nulls);
                    let values = values.ok_or(DecodeError("a page has more nulls than entries"))?;
                    (Levels::Constant(0), values)
                }
            };
            let size = header.uncompressed.checked_sub(rep_bytes + def_bytes);
            let size = size.ok_or(DecodeError("levels are longer than their page"))?;
            let body = match chunk.codec {
                Codec::Uncompressed => rest,
                _ if !compressed => rest,
                // A page of nulls only. Its value section may be anything that decompresses to nothing.
                _ if size == 0 || !wants_values => &[],
                codec => scratch.body.decompress(codec, rest, size)?,
            };
            let levels = PageLevels { entries, rep, def };
            Ok(Some(DataPage { levels, values, encoding, body }))
        }
        PageKind::Dictionary { .. } | PageKind::Other => Ok(None),
    }
}

#[cfg(test)]
mod tests;
