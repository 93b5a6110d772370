//! Repetition and definition levels.
//!
//! All columns of one list share their repetition levels, and all required columns share their definition levels, too.
//! Levels are computed, encoded and compressed once for each list and page (twice if some of the columns repeat more
//! deeply), and then copied into each column.

use super::compress::{Compressor, SharedBytes};
use crate::encoding::{
    delta::put_lengths,
    hybrid::{put_indices, put_level_section, put_narrow_level_section},
};
use crate::error::Result;

/// Levels up to this one may be bit-packed, so that several of them fit into a byte.
const MAX_PACKED_LEVEL: u8 = 3;

/// The levels of the entries of one repeated group, for all rows of a row group.
///
/// An entry is an element of the group, or stands for a parent without elements. In the latter case its definition
/// level is below `max_def`.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) max_rep: u8,
    pub(super) max_def: u8,
    /// For each entry; empty for the rows themselves, whose levels are all 0.
    pub(super) rep: Vec<u8>,
    /// Of each entry; empty for the rows themselves.
    pub(super) def: Vec<u8>,
    /// First entry of each page, and the end.
    pub(super) entries: Vec<usize>,
    /// First element of each page, and the end.
    pub(super) elements: Vec<usize>,
    /// Finished starts of pages, by [`Depth`] and [`PageStart`], one for each page. Created on first use.
    starts: [[Vec<SharedBytes>; 5]; 2],
}

/// How deep a column repeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// As deep as its group.
    OfGroup,
    /// The column repeats more deeply: its levels take more bits, though none is above those of the group.
    Deeper,
}

/// The first bytes of a page that several columns share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PageStart {
    /// Both levels, of a column that is defined in every element; or in none, if values take no bytes then.
    BothLevels,
    /// Repetition levels, for a column with definition levels of its own.
    RepetitionLevels,
    /// A whole page of a dictionary column without any defined element.
    NullDictionary,
    /// A whole page of a DELTA_LENGTH_BYTE_ARRAY column without any defined element.
    NullDelta,
    /// Nothing.
    Nothing,
}

impl Levels {
    /// Sets the levels of the rows themselves. Page `p` has rows `pages[p]..pages[p + 1]`.
    pub(super) fn set_rows(&mut self, pages: &[usize]) {
        self.reset(0, 0);
        self.entries.extend_from_slice(pages);
        self.elements.extend_from_slice(pages);
    }

    fn reset(&mut self, max_rep: u8, max_def: u8) {
        (self.max_rep, self.max_def) = (max_rep, max_def);
        self.rep.clear();
        self.def.clear();
        self.entries.clear();
        self.elements.clear();
        self.starts.iter_mut().flatten().for_each(Vec::clear);
    }

    /// Sets the levels of a list within each element of `parent`. `counts` returns the length of each element's list,
    /// in order.
    pub(super) fn set_children(
        &mut self,
        parent: &Levels,
        mut counts: impl Iterator<Item = usize>,
    ) {
        self.reset(parent.max_rep + 1, parent.max_def + 1);
        let mut elements = 0;
        for page in parent.entries.windows(2) {
            self.entries.push(self.rep.len());
            self.elements.push(elements);
            for entry in page[0]..page[1] {
                let rep = parent.rep.get(entry).copied().unwrap_or(0);
                let def = parent.def.get(entry).copied().unwrap_or(0);
                let count = if def == parent.max_def { counts.next().unwrap_or(0) } else { 0 };
                self.rep.push(rep);
                if count == 0 {
                    self.def.push(def);
                    continue;
                }
                self.rep.resize(self.rep.len() + count - 1, self.max_rep);
                self.def.resize(self.def.len() + count, self.max_def);
                elements += count;
            }
        }
        self.entries.push(self.rep.len());
        self.elements.push(elements);
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> usize {
        self.entries.len() - 1
    }

    /// Number of entries of all pages.
    pub(super) fn entry_count(&self) -> usize {
        self.entries.last().copied().unwrap_or(0)
    }

    /// Number of elements of all pages.
    pub(super) fn element_count(&self) -> usize {
        self.elements.last().copied().unwrap_or(0)
    }

    /// True if every entry is an element.
    pub(super) fn is_complete(&self) -> bool {
        self.entry_count() == self.element_count()
    }

    /// Creates the first bytes of all pages of this kind, unless they exist.
    pub(super) fn prepare(
        &mut self,
        kind: PageStart,
        depth: Depth,
        compressor: &mut Compressor,
    ) -> Result<()> {
        if !self.starts[depth as usize][kind as usize].is_empty() {
            return Ok(());
        }
        let before = match kind {
            PageStart::Nothing | PageStart::RepetitionLevels => None,
            PageStart::BothLevels => Some(PageStart::RepetitionLevels),
            PageStart::NullDictionary | PageStart::NullDelta => Some(PageStart::BothLevels),
        };
        if let Some(before) = before {
            self.prepare(before, depth, compressor)?;
        }
        let mut starts = Vec::with_capacity(self.pages());
        for page in 0..self.pages() {
            let entries = self.entries[page]..self.entries[page + 1];
            let mut bytes = Vec::new();
            match kind {
                PageStart::RepetitionLevels if self.max_rep > 0 => {
                    let rep = &self.rep[entries];
                    match depth {
                        Depth::OfGroup if self.max_rep <= MAX_PACKED_LEVEL => {
                            put_narrow_level_section(&mut bytes, rep, self.max_rep);
                        }
                        _ => put_level_section(&mut bytes, rep),
                    }
                }
                PageStart::BothLevels if self.max_def > 0 => {
                    put_level_section(&mut bytes, &self.def[entries]);
                }
                PageStart::NullDictionary => put_indices(&mut bytes, &[], 1),
                PageStart::NullDelta => put_lengths(&mut bytes, &[]),
                _ => {}
            }
            let before = before.map(|before| &self.starts[depth as usize][before as usize][page]);
            starts.push(compressor.share(before, bytes)?);
        }
        self.starts[depth as usize][kind as usize] = starts;
        Ok(())
    }

    /// The first bytes of a page, which [`Self::prepare`] created.
    pub(super) fn start(&self, kind: PageStart, depth: Depth, page: usize) -> &SharedBytes {
        &self.starts[depth as usize][kind as usize][page]
    }

    /// Expands one value for each element to one for each entry. Entries without an element get `filler`.
    pub(super) fn align<T: Copy>(&self, values: &mut Vec<T>, filler: T) {
        if self.is_complete() {
            return;
        }
        let mut elements = std::mem::take(values).into_iter();
        values.extend(self.def.iter().map(|&def| {
            let element = if def == self.max_def { elements.next() } else { None };
            element.unwrap_or(filler)
        }));
    }
}
