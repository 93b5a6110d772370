//! The container: sections with checksums, mapped for reading.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use memmap2::Mmap;

use super::SegmentError;

const MAGIC: &[u8; 8] = b"TACTSEG1";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
const ALIGNMENT: usize = 64;
/// More sections than a segment has; a larger count is a foreign file.
const MAX_SECTIONS: usize = 256;

/// A section's number and where its bytes lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) number: u32,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

/// Writes all sections; returns the size of the file.
pub(super) fn write(file: &File, sections: &[(u32, &[u8])]) -> io::Result<u64> {
    let mut offset = aligned(HEADER_BYTES + sections.len() * ENTRY_BYTES);
    let mut table = Vec::with_capacity(sections.len() * ENTRY_BYTES);
    for (number, bytes) in sections {
        table.extend_from_slice(&number.to_le_bytes());
        table.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        table.extend_from_slice(&(offset as u64).to_le_bytes());
        table.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        offset = aligned(offset + bytes.len());
    }
    let mut out = BufWriter::with_capacity(256 << 10, file);
    out.write_all(MAGIC)?;
    out.write_all(&(sections.len() as u32).to_le_bytes())?;
    out.write_all(&crc32c::crc32c(&table).to_le_bytes())?;
    out.write_all(&table)?;
    let mut position = HEADER_BYTES + table.len();
    for (_, bytes) in sections {
        out.write_all(&[0; ALIGNMENT][..aligned(position) - position])?;
        out.write_all(bytes)?;
        position = aligned(position) + bytes.len();
    }
    out.flush()?;
    Ok(position as u64)
}

fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(ALIGNMENT)
}

/// Maps a file for reading.
#[allow(unsafe_code, reason = "memory map, see SAFETY")]
pub(super) fn map(path: &Path) -> Result<Mmap, SegmentError> {
    let io = |action| move |source| SegmentError::Io { action, path: path.to_owned(), source };
    let file = File::open(path).map_err(io("open"))?;
    // SAFETY: the file lies in a directory that this process holds locked, and a segment is never written again
    // once it has its name. Reading in place saves copying 20 MB a query and segment.
    unsafe { Mmap::map(&file) }.map_err(io("map"))
}

/// The sections of a mapped file, or what is wrong with it.
pub(super) fn sections(map: &[u8], verify: bool) -> Result<Vec<Section>, &'static str> {
    let header = map.get(..HEADER_BYTES).ok_or("header is cut off")?;
    if &header[..8] != MAGIC {
        return Err("not a segment");
    }
    let count = read_u32(header, 8) as usize;
    if count > MAX_SECTIONS {
        return Err("too many sections");
    }
    let table = map.get(HEADER_BYTES..HEADER_BYTES + count * ENTRY_BYTES);
    let table = table.ok_or("table is cut off")?;
    if crc32c::crc32c(table) != read_u32(header, 12) {
        return Err("checksum of the table");
    }
    let mut sections = Vec::with_capacity(count);
    for entry in table.chunks_exact(ENTRY_BYTES) {
        let (offset, bytes) = (read_u64(entry, 8) as usize, read_u64(entry, 16) as usize);
        let end = offset.checked_add(bytes).ok_or("section is out of range")?;
        let content = map.get(offset..end).ok_or("section is cut off")?;
        if verify && crc32c::crc32c(content) != read_u32(entry, 4) {
            return Err("checksum of a section");
        }
        sections.push(Section { number: read_u32(entry, 0), offset, bytes });
    }
    Ok(sections)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
