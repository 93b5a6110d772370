//! Notes on segments that are no longer needed but whose file still exists.
//!
//! The segments of all tenants of a cut share one file. One after the other they go into blocks or are dropped. The
//! notes say which are gone, so that a start ignores these. All notes are in one file, to which frames of { crc: u32,
//! bytes: u16, fate: u8, 0: u8, name } are appended. Everything after a damaged frame is ignored. Then some segments
//! that are also in a block come back, which stores their spans twice but loses none.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::PathBuf,
};

use parking_lot::Mutex;

use crate::layout::{read_file, sync_directory};

const HEAD_BYTES: usize = 8;
/// From this size on, notes about deleted files are dropped.
const COMPACT_FROM: u64 = 1 << 20;

/// What happened to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The segment is not needed: its spans are in a block, were dropped, or cannot be read.
    Gone,
    /// Tail sampling kept the segment unchanged.
    Kept,
}

/// The file of notes.
#[derive(Debug)]
pub(crate) struct Notes {
    path: PathBuf,
    /// The directory of the segments. A note counts as long as its cut's directory exists.
    segments: PathBuf,
    sync: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Opened for the first note only, because a start on a full disk must not need to create it.
    file: Option<File>,
    bytes: u64,
    compact_at: u64,
}

impl Notes {
    /// Does not read the notes of an earlier process; see [`Self::read`].
    pub(crate) fn new(path: PathBuf, segments: PathBuf, sync: bool) -> Self {
        let inner = Inner { file: None, bytes: 0, compact_at: COMPACT_FROM };
        Self { path, segments, sync, inner: Mutex::new(inner) }
    }

    /// All notes, by the key of the segment ([`crate::layout::segment_key`]).
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn read(&self) -> io::Result<HashMap<String, Fate>> {
        let bytes = match read_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        Ok(frames(&bytes).map(|(key, fate, _)| (key.to_owned(), fate)).collect())
    }

    /// Records what became of segments. When this returns, a restart will know it.
    ///
    /// Errors: the file could not be written; then nothing is recorded.
    pub(crate) fn add<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
        fate: Fate,
    ) -> io::Result<()> {
        let mut frames = Vec::new();
        keys.into_iter().for_each(|key| put_frame(&mut frames, key, fate));
        if frames.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        self.open(&mut inner)?;
        if inner.bytes >= inner.compact_at {
            // If that fails, the file goes on growing.
            let compacted = self.compact(&mut inner);
            if let Err(error) = compacted {
                tracing::warn!(path = %self.path.display(), %error, "cannot compact notes about segments");
            }
            inner.compact_at = COMPACT_FROM.max(2 * inner.bytes);
        }
        let bytes = inner.bytes;
        let file = self.open(&mut inner)?;
        let written = file.write_all(&frames);
        let written = written.and_then(|()| if self.sync { file.sync_data() } else { Ok(()) });
        if written.is_err() {
            // An incomplete frame would hide the frames after it.
            if file.set_len(bytes).is_err() {
                inner.file = None;
            }
            return written;
        }
        inner.bytes += frames.len() as u64;
        Ok(())
    }

    /// The file. If it is not open, it is opened to append after its last sound frame.
    fn open<'i>(&self, inner: &'i mut Inner) -> io::Result<&'i mut File> {
        let Inner { file, bytes, .. } = inner;
        if file.is_none() {
            *file = Some(self.reopen(bytes)?);
        }
        Ok(file.as_mut().expect("it was opened"))
    }

    fn reopen(&self, end: &mut u64) -> io::Result<File> {
        let mut file = File::options().read(true).append(true).create(true).open(&self.path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let sound: usize = frames(&bytes).map(|(_, _, length)| length).sum();
        file.set_len(sound as u64)?;
        if self.sync {
            self.sync_parent()?;
        }
        *end = sound as u64;
        Ok(file)
    }

    /// Rewrites the file without notes about cuts that are gone. After an error, `inner` still refers to the file that
    /// the next start reads.
    fn compact(&self, inner: &mut Inner) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        let mut cuts: HashMap<&str, bool> = HashMap::new();
        let mut kept = Vec::new();
        for (key, fate, _) in frames(&bytes) {
            let cut = key.split_once('/').map_or(key, |(cut, _)| cut);
            if *cuts.entry(cut).or_insert_with(|| self.segments.join(cut).is_dir()) {
                put_frame(&mut kept, key, fate);
            }
        }
        let partial = self.path.with_extension("partial");
        let _ = fs::remove_file(&partial);
        let mut file = File::options().append(true).create_new(true).open(&partial)?;
        let written = file.write_all(&kept);
        let written = written.and_then(|()| if self.sync { file.sync_data() } else { Ok(()) });
        if let Err(error) = written.and_then(|()| fs::rename(&partial, &self.path)) {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        // Opened before, because from here on nothing may fail before the old file is given up.
        inner.file = Some(file);
        inner.bytes = kept.len() as u64;
        let synced = if self.sync { self.sync_parent() } else { Ok(()) };
        if synced.is_err() {
            // Opening it syncs the directory before the next note.
            inner.file = None;
        }
        synced
    }

    fn sync_parent(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), sync_directory)
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.inner.lock().bytes
    }
}

fn put_frame(frames: &mut Vec<u8>, key: &str, fate: Fate) {
    let start = frames.len();
    let fate = match fate {
        Fate::Gone => 1,
        Fate::Kept => 2,
    };
    frames.extend_from_slice(&[0; 4]);
    frames.extend_from_slice(&(key.len() as u16).to_le_bytes());
    frames.extend_from_slice(&[fate, 0]);
    frames.extend_from_slice(key.as_bytes());
    let crc = crc32c::crc32c(&frames[start + 4..]);
    frames[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The sound frames at the beginning: key, fate, and bytes of the frame.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (&str, Fate, usize)> {
    std::iter::from_fn(move || {
        let (key, fate, length) = frame(bytes)?;
        bytes = &bytes[length..];
        Some((key, fate, length))
    })
}

fn frame(bytes: &[u8]) -> Option<(&str, Fate, usize)> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let length = HEAD_BYTES + usize::from(u16::from_le_bytes([head[4], head[5]]));
    let checked = bytes.get(4..length)?;
    if crc32c::crc32c(checked) != u32::from_le_bytes([head[0], head[1], head[2], head[3]]) {
        return None;
    }
    let fate = match head[6] {
        1 => Fate::Gone,
        2 => Fate::Kept,
        _ => return None,
    };
    Some((std::str::from_utf8(&bytes[HEAD_BYTES..length]).ok()?, fate, length))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn notes(folder: &Path) -> Notes {
        Notes::new(folder.join("segments.notes"), folder.join("segments"), true)
    }

    #[test]
    fn notes_are_read_back_and_a_damaged_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        assert!(notes(folder.path()).read().unwrap().is_empty());
        notes(folder.path()).add(["1-2/a.0", "1-2/b.0"], Fate::Gone).unwrap();
        let path = folder.path().join("segments.notes");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(&[7; 11]);
        fs::write(&path, bytes).unwrap();
        notes(folder.path()).add(["1-2/c.0"], Fate::Kept).unwrap();
        let read = notes(folder.path()).read().unwrap();
        let expected = [("1-2/a.0", Fate::Gone), ("1-2/b.0", Fate::Gone), ("1-2/c.0", Fate::Kept)];
        assert_eq!(read, expected.map(|(key, fate)| (key.to_owned(), fate)).into());
    }

    #[test]
    fn notes_about_cuts_that_are_gone_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("segments/5-5")).unwrap();
        let notes = notes(folder.path());
        notes.add(["5-5/stays.0"], Fate::Kept).unwrap();
        let many: Vec<_> = (0..1_000).map(|number| format!("4-4/{number:0>100}.0")).collect();
        for _ in 0..40 {
            notes.add(many.iter().map(String::as_str), Fate::Gone).unwrap();
        }
        assert!(notes.bytes() < 2 << 20, "{}", notes.bytes());
        assert_eq!(notes.read().unwrap()["5-5/stays.0"], Fate::Kept);
        notes.add(["5-5/last.0"], Fate::Gone).unwrap();
        let read = super::tests::notes(folder.path()).read().unwrap();
        assert_eq!((read["5-5/stays.0"], read["5-5/last.0"]), (Fate::Kept, Fate::Gone));
    }

    #[test]
    fn notes_after_a_compaction_go_to_the_file_that_a_restart_reads() {
        let folder = tempfile::tempdir().unwrap();
        let notes = notes(folder.path());
        notes.add(["4-4/first.0"], Fate::Gone).unwrap();
        // Once renamed, such a link refers to itself and cannot be opened.
        let partial = folder.path().join("segments.partial");
        std::os::unix::fs::symlink("segments.notes", &partial).unwrap();
        notes.inner.lock().compact_at = 0;
        fs::create_dir_all(folder.path().join("segments/4-4")).unwrap();
        notes.add(["4-4/second.0"], Fate::Gone).unwrap();
        let read = super::tests::notes(folder.path()).read().unwrap();
        assert_eq!(read, ["4-4/first.0", "4-4/second.0"].map(|it| (it.into(), Fate::Gone)).into());
        assert!(!partial.exists());
    }
}
