//! Whole lines of a file that grows.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
};

use bytes::Bytes;

/// Lines are handed over when they come to so many bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// Names a file, whatever its path: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId(u64, u64);

/// A file that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) id: FileId,
    pub(super) bytes: u64,
}

/// Lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) found: Vec<Line>,
    /// Where the next line begins.
    pub(super) end: u64,
    /// There may be more at once.
    pub(super) has_more: bool,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Request(Bytes),
    TooLong,
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId(metadata.dev(), metadata.ino())
}

/// `None` for what is no file, or is gone.
pub(super) fn identify(path: &Path) -> Option<Found> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(Found { id: id_of(&metadata), bytes: metadata.len() })
}

/// Reads some lines from `place` on. What has no end yet stays for later.
///
/// Memory: the lines returned, and one of `max_line_bytes`. Errors: those of the file.
pub(super) fn read_lines(
    path: &Path,
    id: FileId,
    place: u64,
    max_line_bytes: usize,
) -> io::Result<Lines> {
    let mut file = File::open(path)?;
    let mut lines = Lines { found: Vec::new(), end: place, has_more: false };
    if id_of(&file.metadata()?) != id {
        // Another file has the name now; it has its own turn.
        return Ok(lines);
    }
    file.seek(SeekFrom::Start(place))?;
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut bytes = 0;
    while bytes < CHUNK_BYTES {
        let Some((line, length)) = next_line(&mut reader, max_line_bytes)? else {
            return Ok(lines);
        };
        if let Line::Request(line) = &line {
            bytes += line.len();
        }
        // An empty line costs memory, too.
        bytes += size_of::<Line>();
        lines.found.push(line);
        lines.end += length;
    }
    lines.has_more = true;
    Ok(lines)
}

/// The next line, and its length with its end; `None` if it has none yet.
fn next_line(reader: &mut impl BufRead, max_bytes: usize) -> io::Result<Option<(Line, u64)>> {
    let mut line = Vec::new();
    // The end is one byte more.
    let limit = max_bytes as u64 + 1;
    let read = reader.by_ref().take(limit).read_until(b'\n', &mut line)? as u64;
    if line.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some((Line::Request(line.into()), read)));
    }
    if read < limit {
        return Ok(None);
    }
    let mut length = read;
    drop(line);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let (used, is_end) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(used);
        length += used as u64;
        if is_end {
            return Ok(Some((Line::TooLong, length)));
        }
    }
}
