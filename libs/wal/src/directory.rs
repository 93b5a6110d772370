//! The directory of a log: file names, the lock, and what is found at start.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Error, PartId, Result};

const LOCK_NAME: &str = "LOCK";

/// Begin of the names of files that readers of the log may keep in its directory, to note how far they are.
pub const CURSOR_PREFIX: &str = "cursor-";
const PART_SUFFIX: &str = ".wal";
const DAMAGED_SUFFIX: &str = ".wal.damaged";
const ID_DIGITS: usize = 16;
/// Parts have lower numbers than this. A file with this number or a higher one is taken for foreign, and no new part gets
/// such a number: what is appended to it would not be read back.
pub const PART_NUMBER_LIMIT: u64 = 9_000_000_000_000_000;

/// The directory of a log. It stays locked while this value lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    handle: Arc<File>,
    _lock: File,
}

/// The content of the directory at start.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Parts in order, with their sizes in bytes.
    pub(crate) parts: Vec<(PartId, u64)>,
    /// Parts kept aside, in order.
    pub(crate) damaged: Vec<PartId>,
    /// Entries that are not ours.
    pub(crate) foreign: u64,
    /// First id that nothing uses.
    pub(crate) next_id: u64,
}

impl Directory {
    /// Creates `path` if it is missing, and locks it.
    ///
    /// Errors: `Locked` if someone else holds it, `Io`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), held: Mutex::new(Held::of(path)?) })
    }

    /// Creates the directory again if somebody removed it, and locks it.
    ///
    /// Errors: as [`Self::open`]; also `Locked` if it was not removed.
    pub(crate) fn restore(&self) -> Result<()> {
        *self.held.lock() = Held::of(&self.path)?;
        self.sync_parent();
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn part_path(&self, id: PartId) -> PathBuf {
        self.path.join(format!("{id}{PART_SUFFIX}"))
    }

    pub(crate) fn damaged_path(&self, id: PartId) -> PathBuf {
        self.path.join(format!("{id}{DAMAGED_SUFFIX}"))
    }

    /// Syncs the directory, so that created, renamed and removed files survive a machine crash.
    pub(crate) fn sync(&self) -> Result<()> {
        let handle = Arc::clone(&self.held.lock().handle);
        handle.sync_all().map_err(Error::io("sync", &self.path))
    }

    /// Syncs the parent, so that the directory itself survives a machine crash.
    pub(crate) fn sync_parent(&self) {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
        if let Err(error) = synced {
            tracing::warn!(dir = %self.path.display(), %error, "cannot sync parent of WAL directory");
        }
    }

    /// Lists the directory. Entries that are not ours are left alone with a warning.
    ///
    /// Errors: `Io` if some entries are not known. A part among them would be taken for one that does not exist.
    pub(crate) fn list(&self) -> Result<Listing> {
        let mut listing = Listing { next_id: 1, ..Listing::default() };
        for entry in fs::read_dir(&self.path).map_err(Error::io("list", &self.path))? {
            let entry = entry.map_err(Error::io("list", &self.path))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == LOCK_NAME || name.starts_with(CURSOR_PREFIX) {
                continue;
            }
            let part = parse_id(&name, PART_SUFFIX);
            let damaged = parse_id(&name, DAMAGED_SUFFIX);
            if let Some(id) = part.or(damaged) {
                listing.next_id = listing.next_id.max(id.0 + 1);
            }
            match (part, damaged, size_of(entry.metadata())) {
                (Some(id), _, Some(bytes)) => listing.parts.push((id, bytes)),
                (_, Some(id), Some(_)) => listing.damaged.push(id),
                _ => {
                    listing.foreign += 1;
                    tracing::warn!(path = %entry.path().display(), "foreign entry in WAL directory ignored");
                }
            }
        }
        listing.parts.sort_unstable();
        listing.damaged.sort_unstable();
        Ok(listing)
    }
}

impl Held {
    fn of(path: &Path) -> Result<Self> {
        // The log has what clients sent, in plain.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(Error::io("create", path))?;
        let lock = lock(path)?;
        let handle = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { handle: Arc::new(handle), _lock: lock })
    }
}

/// The size of a file of ours by its metadata, which follows no link: a link is not ours. `None`: it is none, or gone.
///
/// Whether the disk can read a file that it cannot look at is for replay to find out; until then its size counts as 0.
fn size_of(metadata: io::Result<fs::Metadata>) -> Option<u64> {
    match metadata {
        Ok(data) => data.is_file().then_some(data.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(0),
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut noted = String::new();
            // The process id only helps a human to find the process, so it does not matter if it cannot be read.
            let pid = (&mut file)
                .take(32)
                .read_to_string(&mut noted)
                .ok()
                .and_then(|_| noted.trim().parse().ok());
            return Err(Error::Locked { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    let noted = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    if let Err(error) = noted {
        // A full disk must not keep the process from starting, because only a running one frees space.
        tracing::warn!(path = %path.display(), %error, "cannot note the process id in the WAL lock");
    }
    Ok(file)
}

fn parse_id(name: &str, suffix: &str) -> Option<PartId> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != ID_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|id| *id < PART_NUMBER_LIMIT).map(PartId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_parses_only_from_our_names() {
        assert_eq!(parse_id("0000000000000042.wal", PART_SUFFIX), Some(PartId(42)));
        assert_eq!(PartId(42).to_string(), "0000000000000042");
        let last = PartId(PART_NUMBER_LIMIT - 1);
        assert_eq!(parse_id(&format!("{last}.wal"), PART_SUFFIX), Some(last));
        for name in [
            "42.wal",
            "000000000000004x.wal",
            "+000000000000042.wal",
            "0000000000000042.wal.damaged",
            "9000000000000000.wal",
            "9999999999999999.wal",
            "0000000000000042",
            "",
        ] {
            assert_eq!(parse_id(name, PART_SUFFIX), None, "{name}");
        }
    }

    #[test]
    fn listing_sorts_parts_and_counts_foreign_entries() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        for name in ["0000000000000010.wal", "0000000000000009.wal", "notes.txt", "cursor-1"] {
            fs::write(temporary.path().join(name), "x").unwrap();
        }
        fs::write(directory.damaged_path(PartId(11)), "").unwrap();
        fs::create_dir(directory.part_path(PartId(12))).unwrap();
        let listing = directory.list().unwrap();
        assert_eq!(listing.parts, [(PartId(9), 1), (PartId(10), 1)]);
        assert_eq!(listing.damaged, [PartId(11)]);
        assert_eq!(listing.foreign, 2);
        assert_eq!(listing.next_id, 13);
    }

    #[test]
    fn part_that_the_disk_cannot_look_at_counts_as_one_all_the_same() {
        assert_eq!(size_of(Err(io::Error::from_raw_os_error(5))), Some(0));
        assert_eq!(size_of(Err(io::ErrorKind::NotFound.into())), None);
        assert_eq!(size_of(fs::metadata(tempfile::tempdir().unwrap().path())), None);
    }

    #[test]
    fn directory_that_is_created_is_for_its_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let log = temporary.path().join("above/log");
        Directory::open(&log).unwrap();
        for path in [log.parent().unwrap(), &log] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }
}
