//! Reads back what earlier processes left.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::frame::{Frame, HEADER_BYTES, Unread, read_payload};
use crate::shared::Shared;
use crate::{PartId, Position, Result};

/// How often a frame is read again that the disk cannot read, and the pauses: a path to it may fail over.
const MORE_READS: usize = 10;
const PAUSE_OF_READS: Duration = Duration::from_millis(100);

/// The findings of a replay so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Parts read, to their end or to their first bad frame.
    pub parts: u64,
    /// Frames returned.
    pub frames: u64,
    /// Bytes of these frames, with their headers.
    pub bytes: u64,
    /// Bytes of damaged parts from the first bad frame on.
    pub dropped_bytes: u64,
    /// The damaged parts, in order. They include parts whose last frame is cut off, as a process leaves them that is
    /// killed during an append that was not acknowledged yet.
    pub damaged_parts: Vec<DamagedPart>,
    /// Entries of the directory that are not files of the log. They are left alone.
    pub foreign_entries: u64,
}

/// A part that was not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedPart {
    /// Which part.
    pub part: PartId,
    /// Offset of the bad frame in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the file.
    pub dropped_bytes: u64,
    /// What is wrong with the frame.
    pub reason: String,
    /// True if nothing of the part could be read, perhaps only for now: it stays in use, and the next start reads it.
    pub is_kept: bool,
}

/// An iterator over the frames of all parts that earlier processes left, in the order in which they were appended.
///
/// Holds one frame at a time. A bad frame ends its part and is recorded in the report; it is never an error. If this is
/// dropped early, the remaining parts wait for the next start, and so does a part of which the disk can read nothing.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    waiting: VecDeque<PartId>,
    current: Option<Reader<BufReader<File>>>,
    report: ReplayReport,
}

#[derive(Debug)]
struct Reader<R> {
    part: PartId,
    file: R,
    file_bytes: u64,
    offset: u64,
    frames: u64,
}

impl Replay {
    pub(crate) fn new(shared: Arc<Shared>, parts: VecDeque<PartId>, foreign_entries: u64) -> Self {
        let report = ReplayReport { foreign_entries, ..ReplayReport::default() };
        Self { shared, waiting: parts, current: None, report }
    }

    /// The findings so far; complete once the iterator has ended.
    pub fn report(&self) -> &ReplayReport {
        &self.report
    }

    /// Leaves all parts to a [`Tail`](crate::Tail). From now on they can be released without having been read here.
    ///
    /// Errors: `Io` if the disk cannot tell the size of one, up to which a tail would read it.
    pub fn adopt(mut self) -> Result<()> {
        let current = self.current.take().map(|reader| reader.part);
        current.into_iter().chain(self.waiting.drain(..)).try_for_each(|it| self.shared.adopted(it))
    }

    fn open(&mut self, part: PartId) -> Option<Reader<BufReader<File>>> {
        let path = self.shared.directory.part_path(part);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((file_bytes, file)) => {
                // The previous process may have died before its sync. From here on, what is replayed counts as stored
                // until the part is released, so it is synced first.
                if self.shared.settings.fsync_interval.is_some()
                    && let Err(error) = file.sync_data()
                {
                    tracing::error!(%part, %error, "cannot sync WAL part before replay");
                }
                let file = BufReader::with_capacity(256 << 10, file);
                Some(Reader { part, file, file_bytes, offset: 0, frames: 0 })
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot open WAL part");
                let dropped_bytes = self.shared.part_bytes(part);
                self.note_damage(DamagedPart {
                    part,
                    offset: 0,
                    dropped_bytes,
                    reason: format!("cannot open: {error}"),
                    is_kept: error.kind() != ErrorKind::NotFound,
                });
                None
            }
        }
    }

    fn give_up<R>(&mut self, reader: &Reader<R>, unread: Unread) {
        let Reader { part, offset, frames, file_bytes, .. } = *reader;
        // The frames that were returned are stored elsewhere under the part's number, so nobody would look for its rest.
        let is_kept = unread.is_of_disk() && frames == 0;
        if !is_kept {
            self.shared.replayed(part, frames, true);
        }
        let reason = match unread {
            Unread::Bad(reason) => reason,
            Unread::Failed(error) => format!("unreadable: {error}"),
        };
        let dropped_bytes = file_bytes.saturating_sub(offset);
        self.note_damage(DamagedPart { part, offset, dropped_bytes, reason, is_kept });
    }

    fn note_damage(&mut self, damaged: DamagedPart) {
        let DamagedPart { part, offset, dropped_bytes, reason, is_kept } = &damaged;
        if *is_kept {
            tracing::error!(%part, dropped_bytes, reason, "cannot read WAL part, kept for the next start");
        } else {
            tracing::warn!(%part, offset, dropped_bytes, reason, "WAL part damaged, rest of it dropped");
        }
        self.report.dropped_bytes += dropped_bytes;
        self.report.damaged_parts.push(damaged);
    }
}

impl Iterator for Replay {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        loop {
            let Some(mut reader) = self.current.take() else {
                let part = self.waiting.pop_front()?;
                self.report.parts += 1;
                self.current = self.open(part);
                continue;
            };
            let start = reader.offset;
            match reader.read_patiently() {
                Ok(Some(payload)) => {
                    self.report.frames += 1;
                    self.report.bytes += reader.offset - start;
                    let position = Position { part: reader.part, offset: start };
                    self.current = Some(reader);
                    return Some(Frame { position, payload });
                }
                Ok(None) => self.shared.replayed(reader.part, reader.frames, false),
                Err(unread) => self.give_up(&reader, unread),
            }
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    /// As [`Self::read_frame`], several times if the disk cannot read the frame.
    fn read_patiently(&mut self) -> Result<Option<Bytes>, Unread> {
        let mut read = self.read_frame();
        for _ in 0..MORE_READS {
            if !read.as_ref().is_err_and(Unread::is_of_disk) {
                break;
            }
            thread::sleep(PAUSE_OF_READS);
            read = match self.file.seek(SeekFrom::Start(self.offset)) {
                Ok(_) => self.read_frame(),
                Err(error) => Err(error.into()),
            };
        }
        read
    }
}

impl<R: Read> Reader<R> {
    /// The next payload. `None` at a clean end of the part.
    fn read_frame(&mut self) -> Result<Option<Bytes>, Unread> {
        let left = self.file_bytes.saturating_sub(self.offset);
        if left == 0 {
            return Ok(None);
        }
        let payload = read_payload(left, |bytes, _| self.file.read_exact(bytes))?;
        self.offset += (HEADER_BYTES + payload.len()) as u64;
        self.frames += 1;
        Ok(Some(payload))
    }
}

/// Entry points for fuzz targets; not a public interface.
#[doc(hidden)]
pub mod fuzzing {
    use super::*;
    use crate::frame::Header;

    /// The payloads of the content of a part, up to its end or its first bad frame.
    pub fn payloads(part: &[u8]) -> Vec<Bytes> {
        let file_bytes = part.len() as u64;
        let mut reader =
            Reader { part: PartId::default(), file: part, file_bytes, offset: 0, frames: 0 };
        std::iter::from_fn(|| reader.read_frame().ok().flatten()).collect()
    }

    /// A frame with this payload. Errors: one that is empty or too long.
    pub fn frame(payload: &[u8]) -> crate::Result<Vec<u8>> {
        let header = Header::of(&[payload])?;
        Ok([&header.encode()[..], payload].concat())
    }
}

#[cfg(test)]
mod tests;
