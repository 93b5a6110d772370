//! The bytes of a segment: its columns, each with a checksum.

use std::io::{self, Write};

/// Columns are at multiples of 8 bytes; those without values are left out.
const MAGIC: &[u8; 8] = b"TACTSEG2";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 24;
const ALIGNMENT: usize = 8;
/// More columns than a segment has. A larger count means that the file is foreign.
const MAX_COLUMNS: usize = 256;
/// Header and table are no longer than this.
pub(super) const MAX_TABLE_BYTES: usize = HEADER_BYTES + MAX_COLUMNS * ENTRY_BYTES;

/// Where the bytes of a column are in the image, and their CRC32C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) number: u32,
    pub(super) crc: u32,
    pub(super) offset: u64,
    pub(super) bytes: usize,
}

/// The table of an image.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
}

/// An image that is about to be written.
pub(super) struct Image<'a> {
    head: Vec<u8>,
    columns: Vec<&'a [u8]>,
    bytes: usize,
}

impl<'a> Image<'a> {
    pub(super) fn new(columns: &[(u32, &'a [u8])]) -> Self {
        let columns: Vec<_> = columns.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let mut end = HEADER_BYTES + columns.len() * ENTRY_BYTES;
        let mut table = Vec::with_capacity(columns.len() * ENTRY_BYTES);
        for (number, bytes) in &columns {
            let offset = end.next_multiple_of(ALIGNMENT);
            table.extend_from_slice(&number.to_le_bytes());
            table.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
            table.extend_from_slice(&(offset as u64).to_le_bytes());
            table.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            end = offset + bytes.len();
        }
        let mut head = Vec::with_capacity(HEADER_BYTES + table.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&(columns.len() as u32).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&table).to_le_bytes());
        head.extend_from_slice(&table);
        Self { head, columns: columns.iter().map(|(_, bytes)| *bytes).collect(), bytes: end }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        let mut end = self.head.len();
        for bytes in &self.columns {
            let offset = end.next_multiple_of(ALIGNMENT);
            out.write_all(&[0; ALIGNMENT][..offset - end])?;
            out.write_all(bytes)?;
            end = offset + bytes.len();
        }
        Ok(())
    }
}

/// Corrects the checksums of an image, as far as there is a table. For fuzz targets.
pub(crate) fn with_checksums(image: &mut [u8]) {
    let Some(header) = image.get(..HEADER_BYTES) else { return };
    let columns = (read_u32(header, 8) as usize).min(MAX_COLUMNS);
    for entry in (0..columns).map(|number| HEADER_BYTES + number * ENTRY_BYTES) {
        let Some(fields) = image.get(entry..entry + ENTRY_BYTES) else { return };
        let (offset, bytes) = (read_u64(fields, 8) as usize, read_u64(fields, 16) as usize);
        let end = offset.saturating_add(bytes);
        if let Some(column) = image.get(offset..end) {
            let crc = crc32c::crc32c(column);
            image[entry + 4..entry + 8].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c(&image[HEADER_BYTES..HEADER_BYTES + columns * ENTRY_BYTES]);
    image[12..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

impl Table {
    /// The table at the beginning of an image of this many bytes, or what is wrong with it. `head`: the first
    /// [`MAX_TABLE_BYTES`] of the image, or all of it if it is shorter.
    pub(super) fn parse(head: &[u8], image_bytes: u64) -> Result<Self, &'static str> {
        let header = head.get(..HEADER_BYTES).ok_or("header is cut off")?;
        if &header[..8] != MAGIC {
            return Err("not a segment");
        }
        let count = read_u32(header, 8) as usize;
        if count > MAX_COLUMNS {
            return Err("too many columns");
        }
        let table = head.get(HEADER_BYTES..HEADER_BYTES + count * ENTRY_BYTES);
        let table = table.ok_or("table is cut off")?;
        if crc32c::crc32c(table) != read_u32(header, 12) {
            return Err("checksum of the table");
        }
        let mut columns = Vec::with_capacity(count);
        for entry in table.chunks_exact(ENTRY_BYTES) {
            let (offset, bytes) = (read_u64(entry, 8), read_u64(entry, 16));
            let end = offset.checked_add(bytes).ok_or("column is out of range")?;
            if end > image_bytes {
                return Err("column is cut off");
            }
            let bytes = usize::try_from(bytes).map_err(|_| "column is out of range")?;
            let (number, crc) = (read_u32(entry, 0), read_u32(entry, 4));
            columns.push(Column { number, crc, offset, bytes });
        }
        Ok(Self { columns })
    }

    /// A column, if it is listed.
    pub(super) fn find(&self, number: u32) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }
}

/// The number at this position, which must be in range.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// As [`read_u32`].
pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
