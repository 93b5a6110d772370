//! Opens a file: reads the footer, and checks what decoding relies on.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::statistics::Statistics;

use crate::decoding::codec::Codec;
use crate::decoding::thrift::{Value, read_struct, struct_list};
use crate::decoding::{DecodeError, DecodeResult};
use crate::{Error, Result};

use super::columns::Leaf;
use super::kept_footer::KeptGroup;
use super::source::ByteSource;

/// `PAR1`, at both ends of a file.
const MAGIC: [u8; 4] = *b"PAR1";

/// Footer length and magic.
const TAIL_BYTES: u64 = 8;

/// Bytes to read first if the meta does not say how long the footer is.
const FOOTER_GUESS_BYTES: u64 = 64 * 1024;

/// Most bytes of a footer: a longer one counts as damage, and none is written. Blocks of hundreds of gigabytes have
/// shorter ones.
pub const MAX_FOOTER_BYTES: u64 = 128 << 20;

/// A longer footer is read only if the file itself declares it. The meta's word is not enough.
const MAX_TRUSTED_BYTES: u64 = 8 << 20;

/// More entries than any chunk that Tactus or Tempo writes, and few enough for 32-bit counts.
const MAX_ENTRIES: u64 = 1 << 27;

/// Most entries for each byte of a row group. Nulls and repeated codes take next to nothing, but every span has ids and
/// times of its own.
const MAX_ENTRIES_PER_BYTE: u64 = 64;

/// This many entries are allowed however few their bytes are, because a span may have any number of equal attributes,
/// events or links, which take next to nothing. Writers limit row groups by their size in memory, so a usual row group
/// has fewer. A reader checks [`super::RowGroup::values`] first.
const FREE_ENTRIES: u64 = 1 << 24;

/// The same for links, which are messages in a column, and larger in memory.
pub(crate) const FREE_LINKS: u64 = 1 << 22;

/// What the footer says about a column chunk, after checks.
#[derive(Debug, Clone)]
pub(crate) struct ChunkFacts {
    pub(crate) codec: Codec,
    pub(crate) entries: usize,
    /// Bytes of all pages before compression.
    pub(crate) uncompressed: usize,
    /// All pages, the dictionary included.
    pub(crate) range: Range<u64>,
}

/// Reads and decodes the footer. Also returns its length in bytes.
///
/// `footer_bytes` is the length according to the block's meta, 0 if unknown. A wrong one costs another read.
pub(crate) fn read_footer(
    source: &dyn ByteSource,
    size: u64,
    footer_bytes: u32,
) -> Result<(ParquetMetaData, usize)> {
    if size < TAIL_BYTES + 4 || source.size() != size {
        let what = format!("the file has {} bytes, the meta says {size}", source.size());
        return Err(Error::Corrupt { what });
    }
    let guess = match footer_bytes {
        0 => FOOTER_GUESS_BYTES,
        known => u64::from(known).min(MAX_TRUSTED_BYTES) + TAIL_BYTES,
    };
    let mut bytes = source.read_footer(size.saturating_sub(guess)..size)?;
    let Some((tail, magic)) = bytes.split_last_chunk::<8>().and_then(|(_, tail)| {
        Some((u32::from_le_bytes(*tail.first_chunk()?), *tail.last_chunk::<4>()?))
    }) else {
        return Err(Error::Corrupt { what: "the footer is cut off".to_owned() });
    };
    if magic != MAGIC {
        return Err(Error::Corrupt { what: "the file does not end as a Parquet file".to_owned() });
    }
    let length = u64::from(tail);
    if length + TAIL_BYTES > size {
        return Err(Error::Corrupt { what: "the footer is longer than the file".to_owned() });
    }
    if length > MAX_FOOTER_BYTES {
        return Err(Error::Corrupt { what: format!("the footer claims {length} bytes") });
    }
    if length + TAIL_BYTES > bytes.len() as u64 {
        bytes = source.read_footer(size - length - TAIL_BYTES..size)?;
    }
    let end = bytes.len() - TAIL_BYTES as usize;
    let footer = bytes.slice(end - length as usize..end);
    Ok((decode_footer(&footer)?, footer.len()))
}

/// Where the first offset index of a file begins, whose last bytes are `end`; `None` if it has none.
pub(crate) fn first_offset_index(end: &[u8]) -> Result<Option<u64>> {
    let footer = end.split_last_chunk::<8>().and_then(|(before, tail)| {
        let length = u32::from_le_bytes(*tail.first_chunk()?) as usize;
        before.get(before.len().checked_sub(length)?..)
    });
    let footer = footer.ok_or(Error::Corrupt { what: "the footer is cut off".to_owned() })?;
    let metadata = decode_footer(&Bytes::copy_from_slice(footer))?;
    let chunks = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    Ok(chunks.filter_map(|chunk| u64::try_from(chunk.offset_index_offset()?).ok()).min())
}

fn decode_footer(footer: &Bytes) -> Result<ParquetMetaData> {
    check_schema(footer).map_err(|DecodeError(what)| Error::Corrupt { what: what.to_owned() })?;
    // The library panics on some malformed footers instead of returning an error.
    let decoded = catch_unwind(AssertUnwindSafe(|| ParquetMetaDataReader::decode_metadata(footer)));
    match decoded {
        Ok(metadata) => Ok(metadata?),
        Err(_) => Err(Error::Corrupt { what: "the footer is malformed".to_owned() }),
    }
}

/// More levels than the schema of any block, but far fewer than would exhaust the stack.
const MAX_SCHEMA_DEPTH: usize = 32;

/// Rejects schemas on which the library would panic or recurse without end: deep trees, wrong numbers of children, and
/// nodes without repetition.
fn check_schema(footer: &[u8]) -> DecodeResult<()> {
    let mut found = false;
    read_struct(footer, 0, |field, value| match (field, value) {
        (2, Value::List(list)) if !found => {
            found = true;
            check_tree(list).map(Some)
        }
        _ => Ok(None),
    })?;
    if found { Ok(()) } else { Err(DecodeError("the footer has no schema")) }
}

fn check_tree(list: &[u8]) -> DecodeResult<&[u8]> {
    let (count, mut rest) = struct_list(list)?;
    // For each open group, the number of children that are still to come.
    let mut open: Vec<u64> = Vec::new();
    for index in 0..count {
        let (mut children, mut repetition) = (0i64, None);
        rest = read_struct(rest, 1, |field, value| {
            match (field, value) {
                (3, Value::Number(number)) => repetition = Some(number),
                (5, Value::Number(number)) => children = number,
                _ => {}
            }
            Ok(None)
        })?;
        let Ok(children) = u64::try_from(children) else {
            return Err(DecodeError("a schema group has a negative number of children"));
        };
        if index > 0 {
            let parent = open.last_mut().ok_or(DecodeError("the schema has more than one root"))?;
            *parent -= 1;
            if !repetition.is_some_and(|repetition| (0..=2).contains(&repetition)) {
                return Err(DecodeError("a schema node has no repetition"));
            }
        }
        if children > 0 {
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(DecodeError("the schema is nested too deeply"));
        }
    }
    match open.is_empty() {
        true => Ok(rest),
        false => Err(DecodeError("the schema is cut off")),
    }
}

/// The most entries that a column of the row group may have. `free`: how many are allowed whatever its bytes.
pub(crate) fn entry_limit(group: &KeptGroup, file_bytes: u64, free: u64) -> u64 {
    let group_bytes: u64 = group
        .columns()
        .iter()
        .map(|chunk| u64::try_from(chunk.compressed_size).unwrap_or(0))
        .fold(0, u64::saturating_add)
        .min(file_bytes);
    group_bytes.saturating_mul(MAX_ENTRIES_PER_BYTE).max(free).min(MAX_ENTRIES)
}

/// The chunk of a leaf, with its numbers checked against the file.
pub(crate) fn chunk_facts(
    group: &KeptGroup,
    leaf: Leaf,
    file_bytes: u64,
) -> DecodeResult<ChunkFacts> {
    let chunk = group.columns().get(leaf.index).ok_or(DecodeError("a column chunk is missing"))?;
    if chunk.is_elsewhere {
        return Err(DecodeError("a column chunk lies in another file"));
    }
    let outside = DecodeError("a column chunk lies outside the file");
    let data = u64::try_from(chunk.data_page_offset).map_err(|_| outside)?;
    let dictionary = dictionary_offset(chunk.dictionary_page_offset(), chunk.data_page_offset);
    let start = dictionary.unwrap_or(data);
    let length = u64::try_from(chunk.compressed_size).map_err(|_| outside)?;
    let end = start.checked_add(length).filter(|end| *end <= file_bytes).ok_or(outside)?;

    let limit = entry_limit(group, file_bytes, FREE_ENTRIES);
    let entries = u64::try_from(chunk.num_values).ok().filter(|entries| *entries <= limit);
    let entries = entries.ok_or(DecodeError("a column chunk declares too many values"))?;
    let codec = match chunk.compression {
        Compression::UNCOMPRESSED => Codec::Uncompressed,
        Compression::SNAPPY => Codec::Snappy,
        Compression::GZIP(_) => Codec::Gzip,
        Compression::ZSTD(_) => Codec::Zstd,
        Compression::LZ4_RAW => Codec::Lz4Raw,
        _ => return Err(DecodeError("a column chunk has an unknown compression")),
    };
    let uncompressed = usize::try_from(chunk.uncompressed_size).unwrap_or(0);
    Ok(ChunkFacts { codec, entries: entries as usize, uncompressed, range: start..end })
}

/// Where the dictionary page of a chunk begins whose data begins at `data`. Some writers store 0 for none.
fn dictionary_offset(dictionary: Option<i64>, data: i64) -> Option<u64> {
    let offset = dictionary.filter(|offset| (1..data).contains(offset))?;
    u64::try_from(offset).ok()
}

/// True if all data pages hold dictionary codes, so that the dictionary has all values.
pub(crate) fn is_dictionary_only(chunk: &ColumnChunkMetaData) -> bool {
    let dictionary = [Encoding::RLE_DICTIONARY, Encoding::PLAIN_DICTIONARY];
    let Some(mask) = chunk.page_encoding_stats_mask() else { return false };
    let mut encodings = mask.encodings().peekable();
    dictionary_offset(chunk.dictionary_page_offset(), chunk.data_page_offset()).is_some()
        && encodings.peek().is_some()
        && encodings.all(|encoding| dictionary.contains(&encoding))
}

/// True if the statistics say that no entry has a value.
pub(crate) fn is_all_null(chunk: &ColumnChunkMetaData) -> bool {
    let nulls = chunk.statistics().and_then(Statistics::null_count_opt);
    nulls.is_some_and(|nulls| u64::try_from(chunk.num_values()) == Ok(nulls))
}

/// True if the statistics say that some entry has a value. Without bounds, the number of nulls may lack those of empty
/// lists around; then the dictionary is a better witness.
pub(crate) fn has_values(chunk: &ColumnChunkMetaData) -> bool {
    let Some(statistics) = chunk.statistics() else { return false };
    let nulls = statistics.null_count_opt().map(|nulls| i64::try_from(nulls).unwrap_or(i64::MAX));
    statistics.max_bytes_opt().is_some()
        || nulls.is_some_and(|nulls| nulls < chunk.num_values()) && !is_dictionary_only(chunk)
}

/// True if the statistics say that no value is true.
pub(crate) fn is_all_false(chunk: &ColumnChunkMetaData) -> bool {
    match chunk.statistics() {
        Some(Statistics::Boolean(bounds)) => {
            bounds.max_opt() == Some(&false) && bounds.min_opt() == Some(&false)
        }
        _ => false,
    }
}

/// True if the statistics say that all strings of a column are empty.
pub(crate) fn is_all_empty(chunk: &ColumnChunkMetaData) -> bool {
    let statistics = chunk.statistics().filter(|bounds| !bounds.is_min_max_deprecated());
    let Some(Statistics::ByteArray(bounds)) = statistics else { return false };
    // A truncated bound is not empty. Only lower bounds could become empty, and the upper bound covers the rest.
    bounds.max_is_exact() && bounds.max_opt().is_some_and(|most| most.data().is_empty())
}
