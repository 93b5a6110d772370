//! One file with the segments of all tenants of a cut.
//!
//! ```text
//! "TACTCUT1"
//! sections    { head, segment }, each at a multiple of 64 bytes
//! directory   the heads of all sections once more
//! footer      { directory offset: u64, bytes: u64, sections: u32, crc: u32, "TACTDIR1" }
//! head        { "TACTSECT", crc of what follows: u32, name bytes: u16, flags: u16, number: u32, name padding: u32,
//!               offset of the segment: u64, bytes: u64, tenant's name }
//! ```
//!
//! One file needs one fsync, however many tenants there are. Every head is there twice, so that a damaged byte costs at
//! most one segment. If the directory is damaged, the sections are walked; after a damaged head, the next one is
//! searched for. All numbers are little-endian.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::{fs::SeekFrom, io::Errno};
use tactus_model::TenantId;

use super::{
    NewSegment, SegmentError,
    image::{read_u32, read_u64},
};
use crate::layout::open_file;

const MAGIC: &[u8; 8] = b"TACTCUT1";
const HEAD_MAGIC: &[u8; 8] = b"TACTSECT";
const FOOTER_MAGIC: &[u8; 8] = b"TACTDIR1";
const HEAD_BYTES: usize = 40;
const FOOTER_BYTES: usize = 32;
const ALIGNMENT: u64 = 64;
const PENDING: u16 = 1;
/// Longest name in a head. No tenant has a longer one.
const MAX_NAME_BYTES: usize = 1024;
/// Largest directory, for a million tenants. If it seems larger, it is damaged, and the sections are walked.
const MAX_DIRECTORY_BYTES: u64 = 256 << 20;
/// Disks become unreadable in units of this size.
const SECTOR: u64 = 4096;
/// How many bytes are searched at a time for the next head. Few at first, because bytes that look like a head but are
/// none may be anywhere.
const SEARCHED_FIRST: usize = SECTOR as usize;
const SEARCHED_AT_A_TIME: usize = 1 << 20;

/// Where a tenant's segment is in the file of a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// As it was written. Older releases allowed other names, which the reader must check.
    pub(crate) tenant: String,
    /// Counts the segments of a tenant.
    pub(crate) number: u32,
    /// True if tail sampling had not decided when it was written.
    pub(crate) is_pending: bool,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// The sections that were found in a file, and whether some may be missing.
#[derive(Debug)]
pub(crate) struct Sections {
    pub(crate) sections: Vec<Section>,
    /// What is wrong with the file as a whole. The listed sections were found all the same.
    pub(crate) damage: Option<SegmentError>,
}

/// Writes the file of a cut.
pub(crate) struct CutWriter {
    path: PathBuf,
    out: BufWriter<File>,
    position: u64,
    directory: Vec<u8>,
    sections: u32,
}

impl CutWriter {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> Result<Self, SegmentError> {
        let file = File::create(path).map_err(|source| SegmentError::io("create", path, source))?;
        let mut writer = Self {
            path: path.to_owned(),
            out: BufWriter::with_capacity(256 << 10, file),
            position: 0,
            directory: Vec::new(),
            sections: 0,
        };
        writer.put(|out| out.write_all(MAGIC).map(|()| MAGIC.len() as u64))?;
        Ok(writer)
    }

    /// Appends a tenant's segment. `number` counts the segments of this tenant.
    pub(crate) fn add(
        &mut self,
        tenant: &TenantId,
        number: u32,
        is_pending: bool,
        segment: &NewSegment<'_>,
    ) -> Result<(), SegmentError> {
        self.align()?;
        let name = tenant.as_str().as_bytes();
        let after_head = self.position + (HEAD_BYTES + name.len()) as u64;
        let offset = after_head.next_multiple_of(8);
        segment.with_image(|image| {
            let section = Section {
                tenant: tenant.as_str().to_owned(),
                number,
                is_pending,
                offset,
                bytes: image.bytes(),
            };
            let head = section.head();
            self.directory.extend_from_slice(&head);
            self.sections += 1;
            self.put(|out| {
                out.write_all(&head)?;
                out.write_all(&[0; 8][..(offset - after_head) as usize])?;
                image.write(out)?;
                Ok(offset - after_head + head.len() as u64 + image.bytes())
            })
        })
    }

    /// Writes the directory and the footer, and syncs the file if asked to.
    pub(crate) fn finish(mut self, sync: bool) -> Result<(), SegmentError> {
        self.align()?;
        let directory = std::mem::take(&mut self.directory);
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.extend_from_slice(&self.position.to_le_bytes());
        footer.extend_from_slice(&(directory.len() as u64).to_le_bytes());
        footer.extend_from_slice(&self.sections.to_le_bytes());
        footer.extend_from_slice(&crc32c::crc32c(&directory).to_le_bytes());
        footer.extend_from_slice(FOOTER_MAGIC);
        let written = self.out.write_all(&directory).and_then(|()| self.out.write_all(&footer));
        let flushed = written.and_then(|()| self.out.flush());
        flushed.map_err(|source| SegmentError::io("write", &self.path, source))?;
        if sync {
            let synced = self.out.get_ref().sync_data();
            synced.map_err(|source| SegmentError::io("sync", &self.path, source))?;
        }
        Ok(())
    }

    fn align(&mut self) -> Result<(), SegmentError> {
        let padding = self.position.next_multiple_of(ALIGNMENT) - self.position;
        self.put(|out| {
            out.write_all(&[0; ALIGNMENT as usize][..padding as usize]).map(|()| padding)
        })
    }

    fn put(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<u64>,
    ) -> Result<(), SegmentError> {
        let written = write(&mut self.out);
        self.position += written.map_err(|source| SegmentError::io("write", &self.path, source))?;
        Ok(())
    }
}

impl Section {
    fn head(&self) -> Vec<u8> {
        let name = self.tenant.as_bytes();
        let flags = if self.is_pending { PENDING } else { 0 };
        let mut rest = Vec::with_capacity(HEAD_BYTES + name.len());
        rest.extend_from_slice(&(name.len() as u16).to_le_bytes());
        rest.extend_from_slice(&flags.to_le_bytes());
        rest.extend_from_slice(&self.number.to_le_bytes());
        rest.extend_from_slice(&[0; 4]);
        rest.extend_from_slice(&self.offset.to_le_bytes());
        rest.extend_from_slice(&self.bytes.to_le_bytes());
        rest.extend_from_slice(name);
        let mut head = Vec::with_capacity(HEAD_BYTES + name.len());
        head.extend_from_slice(HEAD_MAGIC);
        head.extend_from_slice(&crc32c::crc32c(&rest).to_le_bytes());
        head.extend_from_slice(&rest);
        head
    }

    /// The section whose head is at the beginning of `bytes`, if it is sound, and the length of the head.
    fn parse(bytes: &[u8], file_bytes: u64) -> Option<(Self, usize)> {
        let fixed = bytes.get(..HEAD_BYTES)?;
        if &fixed[..8] != HEAD_MAGIC {
            return None;
        }
        let name_bytes = usize::from(u16::from_le_bytes([fixed[12], fixed[13]]));
        if name_bytes > MAX_NAME_BYTES {
            return None;
        }
        let length = HEAD_BYTES + name_bytes;
        let head = bytes.get(..length)?;
        if crc32c::crc32c(&head[12..]) != read_u32(head, 8) {
            return None;
        }
        let (offset, bytes) = (read_u64(head, 24), read_u64(head, 32));
        if offset.checked_add(bytes)? > file_bytes {
            return None;
        }
        let flags = u16::from_le_bytes([head[14], head[15]]);
        let section = Self {
            tenant: std::str::from_utf8(&head[HEAD_BYTES..]).ok()?.to_owned(),
            number: read_u32(head, 16),
            is_pending: flags & PENDING != 0,
            offset,
            bytes,
        };
        Some((section, length))
    }
}

/// The sections of a file, in order of their position.
///
/// Errors: nothing of the file can be read, or it is not the file of a cut.
pub(crate) fn read_sections(path: &Path) -> Result<Sections, SegmentError> {
    let read = |source| SegmentError::read(path, source);
    let file = open_file(path).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    match read_directory(path, &file, bytes) {
        Ok(sections) => Ok(Sections { sections, damage: None }),
        Err(damage) => match walk(path, &file, bytes) {
            // What could not be read may have been the segments.
            Err(_) if damage.is_of_disk() => Err(damage),
            found => Ok(Sections { sections: found?, damage: Some(damage) }),
        },
    }
}

fn read_directory(path: &Path, file: &File, bytes: u64) -> Result<Vec<Section>, SegmentError> {
    let corrupt = |what| SegmentError::Corrupt { path: path.to_owned(), what };
    let read = |source| SegmentError::read(path, source);
    let at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or(corrupt("footer is cut off"))?;
    let mut footer = [0; FOOTER_BYTES];
    file.read_exact_at(&mut footer, at).map_err(read)?;
    if &footer[24..] != FOOTER_MAGIC {
        return Err(corrupt("no footer"));
    }
    let (offset, length) = (read_u64(&footer, 0), read_u64(&footer, 8));
    if length > MAX_DIRECTORY_BYTES || offset.checked_add(length) != Some(at) {
        return Err(corrupt("the directory's place"));
    }
    let mut directory = vec![0; length as usize];
    file.read_exact_at(&mut directory, offset).map_err(read)?;
    if crc32c::crc32c(&directory) != read_u32(&footer, 20) {
        return Err(corrupt("checksum of the directory"));
    }
    let mut sections = Vec::new();
    let mut rest = directory.as_slice();
    while !rest.is_empty() {
        let (section, length) = Section::parse(rest, bytes).ok_or(corrupt("the directory"))?;
        sections.push(section);
        rest = &rest[length..];
    }
    match sections.len() == read_u32(&footer, 16) as usize {
        true => Ok(sections),
        false => Err(corrupt("the directory")),
    }
}

/// Searches for sections by their own heads. Skips what cannot be read.
fn walk(path: &Path, file: &File, bytes: u64) -> Result<Vec<Section>, SegmentError> {
    let mut sections = Vec::new();
    let mut at = ALIGNMENT;
    let mut buffer = vec![0; HEAD_BYTES + MAX_NAME_BYTES];
    let mut searched = Vec::new();
    while at < bytes {
        let wanted = buffer.len().min((bytes - at) as usize);
        let read = file.read_exact_at(&mut buffer[..wanted], at);
        let section = read.ok().and_then(|()| Section::parse(&buffer[..wanted], bytes));
        // Heads in the directory refer to sections elsewhere, so they are not taken for sections here.
        let section = section.map(|(section, _)| section).filter(|section| section.offset > at);
        at = match section {
            Some(section) => {
                let end = section.offset + section.bytes;
                sections.push(section);
                end.next_multiple_of(ALIGNMENT)
            }
            None => next_head(file, at + ALIGNMENT, bytes, &mut searched),
        };
    }
    if sections.is_empty() {
        let what = "neither a directory nor a segment is found";
        return Err(SegmentError::Corrupt { path: path.to_owned(), what });
    }
    Ok(sections)
}

/// Where the next bytes are that look like a head, or the end of the file.
fn next_head(file: &File, mut at: u64, bytes: u64, buffer: &mut Vec<u8>) -> u64 {
    let mut step = SEARCHED_FIRST;
    while at < bytes {
        // Where the size of the file is damaged, it may have a hole that nobody can read in a lifetime.
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = at.max(data / ALIGNMENT * ALIGNMENT),
            Err(Errno::NXIO) => break,
            // Not every file system tells.
            Err(_) => {}
        }
        if at >= bytes {
            break;
        }
        let mut looked = (step as u64).min(bytes - at);
        buffer.resize(buffer.len().max(looked as usize), 0);
        step = (2 * step).min(SEARCHED_AT_A_TIME);
        let mut read = file.read_exact_at(&mut buffer[..looked as usize], at);
        if read.is_err() {
            // A piece of it cannot be read; continue after it.
            looked = looked.min((at + 1).next_multiple_of(SECTOR) - at);
            read = file.read_exact_at(&mut buffer[..looked as usize], at);
        }
        let found = match read {
            Ok(()) => &buffer[..looked as usize],
            Err(_) => &[],
        };
        let mut places = found.chunks(ALIGNMENT as usize);
        if let Some(place) = places.position(|chunk| chunk.starts_with(HEAD_MAGIC)) {
            return at + place as u64 * ALIGNMENT;
        }
        at += looked;
    }
    bytes
}

#[cfg(test)]
mod tests;
