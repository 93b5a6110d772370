//! The position of a remote in the queue, in a small file beside the log.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tactus_wal::{CURSOR_PREFIX, PartId, Position, create_anew};

/// The largest file that is read, in bytes. A cursor is far smaller.
const MAX_BYTES: u64 = 4096;

/// A place between two entries of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) part: PartId,
    /// Where a frame begins, in bytes.
    pub(crate) offset: u64,
    /// Entries of that frame that lie before the place, definitions included.
    pub(crate) entries: u64,
}

impl Place {
    pub(crate) fn at(position: Position) -> Self {
        Self { part: position.part, offset: position.offset, entries: 0 }
    }

    pub(crate) fn position(self) -> Position {
        Position { part: self.part, offset: self.offset }
    }
}

/// What is being sent: how the entries up to a place are divided into requests.
///
/// A process that dies does not know which of these requests arrived. The next one divides in the same way, so that
/// each request was received either as a whole or not at all. A request of which the receiver has a part would be
/// refused because of that part, and the rest would be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) end: Place,
    pub(crate) shards: u64,
    /// Most entries of a request.
    pub(crate) batch: u64,
}

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Everything before it is done with.
    pub(crate) done: Place,
    pub(crate) in_flight: Option<InFlight>,
}

/// Names the cursor of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteKey {
    pub(crate) key: String,
    /// The key that the remote has while another one of the same name and URL comes before it.
    pub(crate) content: String,
}

/// The cursor of a remote when the queue is opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) cursor: Cursor,
    /// Where the remote goes on. `None`: it is new.
    pub(crate) mark: Option<Mark>,
    /// The file does not say so yet.
    pub(crate) moved: bool,
}

/// The file of one remote.
#[derive(Debug)]
pub(crate) struct Cursor {
    path: PathBuf,
}

impl Cursor {
    /// The cursors of the remotes, and what those say whose remotes are gone. If one is gone and one is new, these are
    /// the same remote with another name or URL. Writes nothing, because another process may still hold the log.
    pub(crate) fn open_all(dir: &Path, keys: &[RemoteKey]) -> (Vec<Opened>, Vec<Mark>) {
        let mut others = Self::others(dir, keys);
        let mut gone: Vec<Mark> = Vec::new();
        let open = |RemoteKey { key, content }: &RemoteKey| {
            let (cursor, mark) = Self::open(dir, key);
            let Some(own) = others.iter().position(|other| other == content) else {
                return Opened { cursor, mark, moved: false };
            };
            // Its key was that of the remote before it, which comes no longer before it.
            gone.extend(mark);
            let (_, mark) = Self::open(dir, &others.swap_remove(own));
            Opened { cursor, mark, moved: true }
        };
        let mut all: Vec<Opened> = keys.iter().map(open).collect();
        gone.extend(others.iter().filter_map(|key| Self::open(dir, key).1));
        let mut new = all.iter_mut().filter(|opened| opened.mark.is_none());
        if gone.len() == 1
            && let (Some(opened), None) = (new.next(), new.next())
        {
            tracing::info!(dir = %dir.display(), "a new remote goes on where the one that is gone had come to in the remote-write queue");
            opened.mark = gone.pop();
            opened.moved = true;
        }
        (all, gone)
    }

    /// The keys of cursors of other remotes than these.
    fn others(dir: &Path, keys: &[RemoteKey]) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let key = |entry: std::fs::DirEntry| {
            Some(entry.file_name().to_str()?.strip_prefix(CURSOR_PREFIX)?.to_owned())
        };
        // What has a suffix was not written to its end.
        let is_other =
            |key: &String| !key.contains('.') && keys.iter().all(|known| known.key != *key);
        entries.flatten().filter_map(key).filter(is_other).collect()
    }

    /// The cursor of the remote called `key`, and what it says. `None`: the remote is new. A file that cannot be read gives
    /// the oldest place: sending twice is better than losing.
    pub(crate) fn open(dir: &Path, key: &str) -> (Self, Option<Mark>) {
        let path = dir.join(format!("{CURSOR_PREFIX}{key}"));
        let mark = match read(&path) {
            Ok(text) => Some(parse(&text).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "cursor of the remote-write queue damaged: what is queued is sent from its start");
                Mark::default()
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(path = %path.display(), error, "cannot read the cursor of the remote-write queue");
                Some(Mark::default())
            }
        };
        (Self { path }, mark)
    }

    /// Replaces the file. Killed at any moment, either the old or the new one is there.
    pub(crate) fn write(&self, mark: Mark) -> io::Result<()> {
        let Mark { done, in_flight } = mark;
        let InFlight { end, shards, batch } = in_flight.unwrap_or_default();
        let [done, end] = [done, end]
            .map(|place| format!("{} {} {}", place.part.number(), place.offset, place.entries));
        let content = format!("1 {done} {end} {shards} {batch}");
        let text = format!("{content} {:08x}\n", crc32c::crc32c(content.as_bytes()));
        let temporary = self.path.with_extension("new");
        create_anew(&temporary)?.write_all(text.as_bytes())?;
        std::fs::rename(&temporary, &self.path)
    }

    /// Deletes the cursors of remotes other than these.
    pub(crate) fn forget_others(dir: &Path, keys: &[RemoteKey]) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(key) = name.to_str().and_then(|name| name.strip_prefix(CURSOR_PREFIX)) else {
                continue;
            };
            if !keys.iter().any(|known| known.key == key) {
                // Left behind it does no harm.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let found = std::fs::metadata(path)?;
    // To open a pipe would wait for somebody who writes to it.
    if !found.is_file() || found.len() > MAX_BYTES {
        let text = format!("not a file of at most {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    std::fs::read_to_string(path)
}

fn parse(text: &str) -> Option<Mark> {
    let (content, checksum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(content.as_bytes()) {
        return None;
    }
    let mut fields = content.split(' ');
    if fields.next()? != "1" {
        return None;
    }
    let mut number = || fields.next()?.parse::<u64>().ok();
    let mut place = || {
        let (part, offset, entries) = (number()?, number()?, number()?);
        Some(Place { part: PartId::from_number(part), offset, entries })
    };
    let (done, end) = (place()?, place()?);
    let in_flight = InFlight { end, shards: number()?, batch: number()? };
    let in_flight = (in_flight != InFlight::default()).then_some(in_flight);
    Some(Mark { done, in_flight })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn place(part: u64, offset: u64, entries: u64) -> Place {
        Place { part: PartId::from_number(part), offset, entries }
    }

    #[test]
    fn cursor_comes_back_and_damage_gives_the_oldest_place() {
        let dir = tempfile::tempdir().unwrap();
        let (cursor, mark) = Cursor::open(dir.path(), "a");
        assert_eq!(mark, None);
        let idle = Mark { done: place(12, 345, 6), in_flight: None };
        cursor.write(idle).unwrap();
        assert_eq!(Cursor::open(dir.path(), "a").1, Some(idle));
        let in_flight = InFlight { end: place(13, 0, 7), shards: 3, batch: 2_000 };
        let sending = Mark { in_flight: Some(in_flight), ..idle };
        cursor.write(sending).unwrap();
        assert_eq!(Cursor::open(dir.path(), "a").1, Some(sending));
        let whole = std::fs::read(&cursor.path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&cursor.path, &whole[..cut]).unwrap();
            assert_eq!(Cursor::open(dir.path(), "a").1, Some(Mark::default()), "{cut}");
        }
        let other = RemoteKey { key: "b".to_owned(), content: "b2".to_owned() };
        Cursor::forget_others(dir.path(), &[other]);
        assert_eq!(Cursor::open(dir.path(), "a").1, None);
    }

    #[test]
    fn what_is_no_file_or_far_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor-a");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (cursor, mark) = Cursor::open(dir.path(), "a");
        assert_eq!(mark, Some(Mark::default()));
        let done = Mark { done: place(1, 2, 3), in_flight: None };
        cursor.write(done).unwrap();
        assert_eq!(Cursor::open(dir.path(), "a").1, Some(done));
    }

    #[test]
    fn what_lies_in_place_of_an_unfinished_cursor_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join("cursor-a.new")).unwrap();
        Cursor::open(dir.path(), "a").0.write(Mark::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
    }
}
