//! Writes one leaf column after another, from slices of values.

use std::ops::Range;

use tactus_model::StringCode;

use super::chunk::{ChunkWriter, FinishedChunk, PageContent};
use super::compress::Compressor;
use super::levels::{Depth, Levels, PageStart};
use super::statistics::{self, Bounds, BytesBounds};
use super::strings::{ColumnDictionary, Strings};
use crate::encoding::{delta, hybrid, plain};
use crate::error::Result;
use crate::schema::{LeafCompression, LeafEncoding, Schema};

/// Memory that one leaf after another uses.
#[derive(Debug, Default)]
pub(super) struct LeafScratch {
    dictionary: ColumnDictionary,
    own: Vec<u8>,
    def: Vec<u8>,
    lengths: Vec<i64>,
    /// The compressed chunk.
    chunk: Vec<u8>,
}

/// Where a leaf column has values.
pub(super) enum Shape<'a> {
    /// In every element.
    Required,
    /// In no element.
    Null,
    /// An optional column, or a list of at most one value: entries that are 1 here have a value.
    Optional(&'a [u8]),
    /// In lists of any length.
    Lists(&'a ListLevels),
}

/// The levels of a list of values in each element, for columns where some elements have several.
#[derive(Debug, Default)]
pub(super) struct ListLevels {
    pub(super) rep: Vec<u8>,
    pub(super) def: Vec<u8>,
    /// First entry of each page, and the end.
    pub(super) entries: Vec<usize>,
    /// First value of each page, and the end.
    pub(super) values: Vec<usize>,
}

impl ListLevels {
    /// Sets the levels of the values in a list of attributes, some of which are arrays.
    ///
    /// `flags` has for each entry: 0 no value, 1 one value, 2 an array. `count` is called for each entry that is not 0,
    /// with its number and whether it is an array, and returns how many values it has.
    pub(super) fn set(
        &mut self,
        attributes: &Levels,
        flags: &[u8],
        mut count: impl FnMut(usize, bool) -> usize,
    ) {
        self.rep.clear();
        self.def.clear();
        self.entries.clear();
        self.values.clear();
        let mut values = 0;
        for page in attributes.entries.windows(2) {
            self.entries.push(self.rep.len());
            self.values.push(values);
            let mut at = page[0];
            while at < page[1] {
                let plain = flags[at..page[1]].iter().position(|&flag| flag == ARRAY);
                let end = plain.map_or(page[1], |plain| at + plain);
                values += self.add_plain(attributes, flags, at..end, &mut count);
                at = end;
                if at < page[1] {
                    let length = count(at, true);
                    values += length;
                    self.add_array(attributes, at, length);
                    at += 1;
                }
            }
        }
        self.entries.push(self.rep.len());
        self.values.push(values);
    }

    fn add_plain(
        &mut self,
        attributes: &Levels,
        flags: &[u8],
        range: Range<usize>,
        count: &mut impl FnMut(usize, bool) -> usize,
    ) -> usize {
        let flags = &flags[range.clone()];
        self.rep.extend_from_slice(&attributes.rep[range.clone()]);
        let def = attributes.def[range.clone()].iter();
        self.def.extend(def.zip(flags).map(|(&def, &flag)| def + flag));
        let with_value = range.zip(flags).filter(|&(_, &flag)| flag != 0);
        with_value.map(|(entry, _)| count(entry, false)).sum()
    }

    fn add_array(&mut self, attributes: &Levels, entry: usize, length: usize) {
        self.rep.push(attributes.rep[entry]);
        self.def.push(attributes.def[entry] + u8::from(length > 0));
        let more = length.saturating_sub(1);
        self.rep.resize(self.rep.len() + more, attributes.max_rep + 1);
        self.def.resize(self.def.len() + more, attributes.max_def + 1);
    }
}

/// Flag of an entry with an array of values.
pub(super) const ARRAY: u8 = 2;

/// Writes the leaf columns of one row group, in order.
pub(super) struct LeafWriter<'a> {
    pub(super) schema: &'a Schema,
    pub(super) compressor: &'a mut Compressor,
    pub(super) scratch: &'a mut LeafScratch,
    /// First row of each page, and the end.
    pub(super) pages: &'a [usize],
    /// The leaves so far.
    pub(super) chunks: Vec<FinishedChunk>,
}

impl LeafWriter<'_> {
    /// Writes integers with the encoding that the schema says; INT32 values are sign-extended.
    pub(super) fn integers(
        &mut self,
        leaf: usize,
        levels: &mut Levels,
        shape: Shape<'_>,
        values: &[i64],
    ) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        let order = chunk.order();
        let wide = matches!(order, statistics::Order::Int64 { .. });
        let integer = if wide { delta::Integer::Bits64 } else { delta::Integer::Bits32 };
        let storage = self.schema.storage(leaf);
        let is_delta = storage.encoding == LeafEncoding::DeltaBinary;
        let packing = match storage.compression {
            LeafCompression::OnlyLevels => delta::Packing::Bits,
            LeafCompression::AsSet | LeafCompression::Blob => delta::Packing::Bytes,
        };
        self.pages(&mut chunk, levels, &shape, |out, range| {
            let values = &values[range];
            match (is_delta, wide) {
                (true, _) => delta::put_integers(out, values, integer, packing),
                (false, true) => plain::put_u64s(out, values.iter().map(|&value| value as u64)),
                (false, false) => plain::put_u32s(out, values.iter().map(|&value| value as u32)),
            }
            (order.of_integers(values), 0)
        })?;
        self.close(leaf, chunk)
    }

    /// Writes doubles.
    pub(super) fn doubles(
        &mut self,
        leaf: usize,
        levels: &mut Levels,
        shape: Shape<'_>,
        values: &[f64],
    ) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        self.pages(&mut chunk, levels, &shape, |out, range| {
            plain::put_u64s(out, values[range.clone()].iter().map(|value| value.to_bits()));
            statistics::of_doubles(&values[range])
        })?;
        self.close(leaf, chunk)
    }

    /// Writes booleans (0 or 1).
    pub(super) fn booleans(
        &mut self,
        leaf: usize,
        levels: &mut Levels,
        shape: Shape<'_>,
        values: &[u8],
    ) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        self.pages(&mut chunk, levels, &shape, |out, range| {
            plain::put_booleans(out, &values[range.clone()]);
            (statistics::of_booleans(&values[range]), 0)
        })?;
        self.close(leaf, chunk)
    }

    /// Writes a boolean column that is false in every element.
    pub(super) fn all_false(&mut self, leaf: usize, levels: &mut Levels) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        self.pages(&mut chunk, levels, &Shape::Required, |out, range| {
            plain::put_all_false(out, range.len());
            ((!range.is_empty()).then(|| (vec![0], vec![0])), 0)
        })?;
        self.close(leaf, chunk)
    }

    /// Writes byte strings without a dictionary.
    pub(super) fn bytes<'v>(
        &mut self,
        leaf: usize,
        levels: &mut Levels,
        shape: Shape<'_>,
        value: impl Fn(usize) -> &'v [u8],
    ) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        let mut lengths = std::mem::take(&mut self.scratch.lengths);
        self.pages(&mut chunk, levels, &shape, |out, range| {
            lengths.clear();
            lengths.extend(range.clone().map(|position| value(position).len() as i64));
            delta::put_lengths(out, &lengths);
            let mut bounds = BytesBounds::default();
            for position in range {
                let string = value(position);
                out.extend_from_slice(string);
                bounds.add(string);
            }
            (bounds.finish(), 0)
        })?;
        self.scratch.lengths = lengths;
        self.close(leaf, chunk)
    }

    /// Writes strings with a dictionary, which all pages use.
    pub(super) fn strings(
        &mut self,
        leaf: usize,
        levels: &mut Levels,
        shape: Shape<'_>,
        values: impl Iterator<Item = StringCode>,
        strings: &Strings<'_>,
    ) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        let mut dictionary = std::mem::take(&mut self.scratch.dictionary);
        dictionary.build(values, strings);
        chunk.dictionary(self.compressor, &dictionary.page, dictionary.entries)?;
        let entries = dictionary.entries;
        let is_packed = self.schema.storage(leaf).compression == LeafCompression::OnlyLevels;
        self.pages(&mut chunk, levels, &shape, |out, range| {
            let indices = &dictionary.indices[range];
            match is_packed {
                true => hybrid::put_packed_indices(out, indices, entries),
                false => hybrid::put_indices(out, indices, hybrid::index_bytes(entries)),
            }
            let low = indices.iter().min();
            let high = indices.iter().max();
            let string = |&index: &u32| strings.get(dictionary.code_of(index)).to_vec();
            (low.map(string).zip(high.map(string)), 0)
        })?;
        self.scratch.dictionary = dictionary;
        self.close(leaf, chunk)
    }

    /// Writes a column that has no value at all.
    pub(super) fn null(&mut self, leaf: usize, levels: &mut Levels) -> Result<()> {
        let mut chunk = self.chunk(leaf);
        if self.schema.storage(leaf).encoding == LeafEncoding::Dictionary {
            chunk.dictionary(self.compressor, &[], 0)?;
        }
        self.pages(&mut chunk, levels, &Shape::Null, |_, _| (None, 0))?;
        self.close(leaf, chunk)
    }

    /// Writes all data pages. `values` appends the encoded values of a range, and returns their bounds and number of
    /// NaNs.
    fn pages(
        &mut self,
        chunk: &mut ChunkWriter,
        levels: &mut Levels,
        shape: &Shape<'_>,
        mut values: impl FnMut(&mut Vec<u8>, Range<usize>) -> (Bounds, u64),
    ) -> Result<()> {
        let kind = match shape {
            Shape::Required => PageStart::BothLevels,
            Shape::Null => chunk.null_page_start(),
            Shape::Optional(_) => PageStart::RepetitionLevels,
            Shape::Lists(_) => PageStart::Nothing,
        };
        let depth = match chunk.max_rep() == levels.max_rep {
            true => Depth::OfGroup,
            false => Depth::Deeper,
        };
        levels.prepare(kind, depth, self.compressor)?;
        let LeafScratch { own, def, .. } = &mut *self.scratch;
        let mut value = 0;
        for page in 0..levels.pages() {
            own.clear();
            let elements = levels.elements[page]..levels.elements[page + 1];
            let mut entries = levels.entries[page + 1] - levels.entries[page];
            let count = match shape {
                Shape::Required => elements.len(),
                Shape::Null => 0,
                Shape::Optional(present) => {
                    let range = levels.entries[page]..levels.entries[page + 1];
                    let present = &present[range.clone()];
                    def.clear();
                    def.extend(levels.def[range].iter().zip(present).map(|(&def, &one)| def + one));
                    hybrid::put_level_section(own, def);
                    present.iter().map(|&one| usize::from(one)).sum()
                }
                Shape::Lists(lists) => {
                    let range = lists.entries[page]..lists.entries[page + 1];
                    entries = range.len();
                    hybrid::put_level_section(own, &lists.rep[range.clone()]);
                    hybrid::put_level_section(own, &lists.def[range]);
                    lists.values[page + 1] - lists.values[page]
                }
            };
            let (bounds, nans) = match shape {
                Shape::Null => (None, 0),
                _ => values(own, value..value + count),
            };
            value += count;
            chunk.page(
                self.compressor,
                PageContent {
                    start: levels.start(kind, depth, page),
                    own,
                    entries,
                    nulls: entries - count,
                    rows: self.pages[page + 1] - self.pages[page],
                    bounds,
                    nans,
                },
            )?;
        }
        Ok(())
    }

    fn chunk(&mut self, leaf: usize) -> ChunkWriter {
        ChunkWriter::new(self.schema, leaf, std::mem::take(&mut self.scratch.chunk))
    }

    fn close(&mut self, leaf: usize, chunk: ChunkWriter) -> Result<()> {
        debug_assert_eq!(leaf, self.chunks.len(), "columns are written in the order of the schema");
        let (chunk, buffer) = chunk.finish(self.compressor)?;
        self.chunks.push(chunk);
        self.scratch.chunk = buffer;
        Ok(())
    }
}
