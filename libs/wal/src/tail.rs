//! Reads a log while it is being written.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::frame::{HEADER_BYTES, Unread, read_payload};
use crate::shared::Shared;
use crate::{Error, Frame, PartId, Position, Result};

/// Reads the frames of a log in the order in which they were appended, including those that are appended meanwhile.
/// Skips parts that were released. A log can have any number of tails.
///
/// Holds one open file and, while it is handed out, one frame. Keeps the directory locked.
#[derive(Debug)]
pub struct Tail {
    shared: Arc<Shared>,
    next: Position,
    file: Option<File>,
}

impl Tail {
    pub(crate) fn new(shared: Arc<Shared>, from: Position) -> Self {
        Self { shared, next: from, file: None }
    }

    /// Where the next frame begins, if it is in the same part.
    pub fn position(&self) -> Position {
        self.next
    }

    /// The next frame that begins before `end`; `None` if there is none yet. A bad frame ends its part: it is logged
    /// and counted in `damaged`, and reading continues with the next part.
    ///
    /// Errors: `Io` if a part cannot be opened or read; another call tries again.
    pub fn next_frame(&mut self, end: Position, damaged: &mut u64) -> Result<Option<Frame>> {
        loop {
            let Some(extent) = self.shared.part_from(self.next.part) else { return Ok(None) };
            if extent.id != self.next.part {
                self.enter(extent.id);
            }
            if self.next >= end {
                return Ok(None);
            }
            if self.next.offset >= extent.bytes {
                if extent.appending {
                    return Ok(None);
                }
                self.enter(PartId(extent.id.0 + 1));
                continue;
            }
            match self.read(extent.bytes) {
                Ok(Ok(payload)) => {
                    let position = self.next;
                    self.next.offset += (HEADER_BYTES + payload.len()) as u64;
                    return Ok(Some(Frame { position, payload }));
                }
                Ok(Err(reason)) => {
                    let Position { part, offset } = self.next;
                    tracing::warn!(%part, offset, reason, "WAL part damaged, rest of it skipped");
                    *damaged += 1;
                    self.enter(PartId(part.0 + 1));
                }
                // The part was released after it was listed, before its file was opened.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.enter(PartId(self.next.part.0 + 1));
                }
                Err(error) => {
                    let path = self.shared.directory.part_path(self.next.part);
                    return Err(Error::io("read", path)(error));
                }
            }
        }
    }

    /// Continues at the start of `part`, or of the first one after it.
    pub fn enter(&mut self, part: PartId) {
        self.next = Position { part, offset: 0 };
        self.file = None;
    }

    /// The payload at the current position, or why the frame is bad.
    fn read(&mut self, end: u64) -> io::Result<Result<Bytes, String>> {
        if self.file.is_none() {
            self.file = Some(File::open(self.shared.directory.part_path(self.next.part))?);
        }
        let Some(file) = &self.file else { return Err(ErrorKind::NotFound.into()) };
        let begins = self.next.offset;
        let read = |bytes: &mut [u8], at| file.read_exact_at(bytes, begins + at);
        match read_payload(end - begins, read) {
            Ok(payload) => Ok(Ok(payload)),
            Err(Unread::Bad(reason)) => Ok(Err(reason)),
            // If the file has become shorter, that is damage, not a temporary error.
            Err(Unread::Failed(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Ok(Err("file is shorter than it was".to_owned()))
            }
            Err(Unread::Failed(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Settings, Wal};

    fn settings() -> Settings {
        Settings { fsync_interval: None, ..Settings::default() }
    }

    const EVERYTHING: Position = Position { part: PartId(u64::MAX), offset: 0 };

    fn read_all(tail: &mut Tail) -> (Vec<Vec<u8>>, u64) {
        let mut damaged = 0;
        let mut frames = Vec::new();
        while let Some(frame) = tail.next_frame(EVERYTHING, &mut damaged).unwrap() {
            frames.push(frame.payload.to_vec());
        }
        (frames, damaged)
    }

    #[test]
    fn tail_follows_appends_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, replay) = Wal::open(dir.path(), settings()).unwrap();
        replay.adopt().unwrap();
        let mut tail = wal.tail(Position::default());
        assert_eq!(read_all(&mut tail).0, Vec::<Vec<u8>>::new());
        wal.append(&[b"a"]).unwrap();
        assert_eq!(read_all(&mut tail).0, [b"a"]);
        wal.rotate();
        wal.append(&[b"b"]).unwrap();
        wal.append(&[b"c"]).unwrap();
        assert_eq!(read_all(&mut tail).0, [b"b", b"c"]);
        assert_eq!(read_all(&mut wal.tail(Position::default())).0, [b"a", b"b", b"c"]);
    }

    #[test]
    fn tail_leaves_frames_from_its_end_on() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, replay) = Wal::open(dir.path(), settings()).unwrap();
        replay.adopt().unwrap();
        wal.append(&[b"a"]).unwrap();
        wal.rotate();
        let second = wal.append(&[b"b"]).unwrap();
        let mut tail = wal.tail(Position::default());
        assert_eq!(&tail.next_frame(second, &mut 0).unwrap().unwrap().payload[..], b"a");
        assert_eq!(tail.next_frame(second, &mut 0).unwrap(), None);
        assert_eq!(read_all(&mut tail).0, [b"b"]);
    }

    #[test]
    fn tail_passes_over_a_part_released_under_it() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, replay) = Wal::open(dir.path(), settings()).unwrap();
        replay.adopt().unwrap();
        let first = wal.append(&[b"a"]).unwrap();
        wal.append(&[b"b"]).unwrap();
        let mut tail = wal.tail(Position::default());
        assert_eq!(&tail.next_frame(EVERYTHING, &mut 0).unwrap().unwrap().payload[..], b"a");
        wal.rotate();
        wal.append(&[b"c"]).unwrap();
        wal.release(first.part).unwrap();
        assert_eq!(read_all(&mut tail).0, [b"c"]);
    }

    #[test]
    fn adopted_parts_are_read_from_a_position_and_released_without_replay() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(dir.path(), settings()).unwrap();
        wal.append(&[b"a"]).unwrap();
        let second = wal.append(&[b"b"]).unwrap();
        drop(wal);
        let (wal, replay) = Wal::open(dir.path(), settings()).unwrap();
        replay.adopt().unwrap();
        wal.append(&[b"c"]).unwrap();
        assert_eq!(read_all(&mut wal.tail(second)).0, [b"b", b"c"]);
        wal.release(second.part).unwrap();
        assert_eq!(read_all(&mut wal.tail(Position::default())).0, [b"c"]);
    }

    #[test]
    fn torn_tail_ends_its_part_only() {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(dir.path(), settings()).unwrap();
        wal.append(&[b"first"]).unwrap();
        let second = wal.append(&[b"second"]).unwrap();
        let path = wal.shared().directory.part_path(second.part);
        drop(wal);
        let whole = std::fs::read(&path).unwrap();
        for cut in second.offset as usize..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (wal, replay) = Wal::open(dir.path(), settings()).unwrap();
            replay.adopt().unwrap();
            let next = wal.append(&[b"third"]).unwrap();
            let (frames, damaged) = read_all(&mut wal.tail(Position::default()));
            assert_eq!(frames, [&b"first"[..], b"third"]);
            assert_eq!(damaged, u64::from(cut != second.offset as usize));
            wal.rotate();
            wal.release(next.part).unwrap();
        }
    }
}
