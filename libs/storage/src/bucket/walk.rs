//! Lists the directories of a local store.
//!
//! The client's own listing ends with the first entry that it cannot look at, or whose name cannot be part of a key. Such
//! an entry must not hide the others.

use std::fs::{self, DirEntry, Metadata, ReadDir};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use rustix::io::Errno;
use tactus_telemetry::log_limited;

use super::{ObjectInfo, failure, local};
use crate::error::{Error, Result};

/// What a listing finds.
#[derive(Debug)]
pub(crate) enum Found {
    Object(ObjectInfo),
    /// A directory or a file of a local store that cannot be looked at.
    Unread {
        key: String,
        path: String,
        error: Error,
    },
}

/// Goes through all files below a directory and its directories, with links followed.
pub(super) struct Walk {
    /// Each is in the one before.
    open: Vec<Directory>,
}

struct Directory {
    entries: ReadDir,
    path: PathBuf,
    /// Empty for the root.
    key: String,
    /// Device and inode.
    id: (u64, u64),
}

impl Directory {
    fn open(path: PathBuf, key: String, found: &Metadata) -> io::Result<Self> {
        Ok(Self { entries: fs::read_dir(&path)?, path, key, id: id_of(found) })
    }
}

fn id_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

impl Walk {
    /// Errors: the directory is there, and cannot be read.
    pub(super) fn start(path: PathBuf, key: &str) -> Result<Self> {
        let open = fs::metadata(&path).and_then(|found| match found.is_dir() {
            true => Directory::open(path, key.to_owned(), &found).map(Some),
            false => Ok(None),
        });
        match open {
            Ok(open) => Ok(Self { open: open.into_iter().collect() }),
            Err(error) if is_gone(&error) => Ok(Self { open: Vec::new() }),
            Err(error) => Err(failure::from_io(key, error)),
        }
    }

    /// The object with a key; `None` if there is none. A directory is opened, to be gone through next.
    fn look(&mut self, entry: &DirEntry, key: &str) -> Result<Option<Found>> {
        let path = entry.path();
        let found = match fs::metadata(&path) {
            // It was deleted meanwhile, or it is a link to nothing.
            Err(error) if is_gone(&error) => return Ok(None),
            found => found.map_err(|error| failure::from_io(key, error))?,
        };
        if found.is_file() && !local::is_staged(key) {
            return local::object_info(&found, key.to_owned())
                .map(|info| Some(Found::Object(info)));
        }
        if !found.is_dir() {
            return Ok(None);
        }
        // Only a link leads back. Not all file systems give each directory a number of its own.
        let is_within_itself = entry.file_type().is_ok_and(|found| found.is_symlink())
            && self.open.iter().any(|directory| directory.id == id_of(&found));
        let opened = match is_within_itself {
            true => Err(io::Error::from_raw_os_error(Errno::LOOP.raw_os_error())),
            false => Directory::open(path, key.to_owned(), &found),
        };
        match opened {
            Ok(directory) => self.open.push(directory),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failure::from_io(key, error)),
        }
        Ok(None)
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let directory = self.open.last_mut()?;
            let (path, key, looked) = match directory.entries.next() {
                None => {
                    self.open.pop();
                    continue;
                }
                Some(Ok(entry)) => {
                    let Some(key) = key_of(&directory.key, &entry) else { continue };
                    let looked = self.look(&entry, &key);
                    (entry.path(), key, looked)
                }
                // The rest of it is lost.
                Some(Err(error)) => {
                    let Directory { path, key, .. } = self.open.pop()?;
                    let error = failure::from_io(&key, error);
                    (path, key, Err(error))
                }
            };
            match looked {
                Ok(None) => {}
                Ok(found) => return found,
                Err(error) => {
                    return Some(Found::Unread { key, path: path.display().to_string(), error });
                }
            }
        }
    }
}

/// The names of the directories right in a directory, with links followed. What cannot be looked at is taken for one: who
/// lists it learns why.
pub(super) fn directories(path: &Path, key: &str) -> Result<Vec<String>> {
    let is_directory = |entry: &DirEntry| {
        let found = match entry.file_type() {
            Ok(found) if found.is_symlink() => {
                fs::metadata(entry.path()).map(|found| found.is_dir())
            }
            found => found.map(|found| found.is_dir()),
        };
        found.unwrap_or_else(|error| !is_gone(&error))
    };
    let entries = entries(path, key)?.into_iter().filter(|(entry, _)| is_directory(entry));
    let name = |(entry, _): (DirEntry, String)| entry.file_name().into_string().ok();
    Ok(entries.filter_map(name).collect())
}

/// The files right in a directory whose names begin with `start`, with links followed. Errors: one of them cannot be looked
/// at.
pub(super) fn files(path: &Path, key: &str, start: &str) -> Result<Vec<ObjectInfo>> {
    let mut files = Vec::new();
    for (entry, key) in entries(path, key)? {
        // What has another name is not looked at, and so it cannot hide these.
        if !entry.file_name().as_bytes().starts_with(start.as_bytes()) {
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(found) if found.is_file() && !local::is_staged(&key) => {
                files.push(local::object_info(&found, key)?);
            }
            Err(error) if !is_gone(&error) => return Err(failure::from_io(&key, error)),
            _ => {}
        }
    }
    Ok(files)
}

/// The entries of a directory that can have a key, with it; none if there is no such directory.
fn entries(path: &Path, key: &str) -> Result<Vec<(DirEntry, String)>> {
    let read = || fs::read_dir(path)?.collect::<io::Result<Vec<_>>>();
    let entries = match read() {
        Err(error) if is_gone(&error) => Vec::new(),
        read => read.map_err(|error| failure::from_io(key, error))?,
    };
    let with_key = |entry: DirEntry| key_of(key, &entry).map(|key| (entry, key));
    Ok(entries.into_iter().filter_map(with_key).collect())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The key of an entry of the directory with this key; `None` for a name that cannot be part of one. Our files have none such.
fn key_of(directory: &str, entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let name = name.to_str().filter(|name| ObjectPath::parse(name).is_ok());
    if name.is_none() {
        let path = format!("{:?}", entry.path());
        log_limited!(warn, path, "ignored a file whose name cannot be part of a key");
    }
    let name = name?;
    Some(if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    use super::*;

    fn found(root: &Path) -> (Vec<String>, Vec<String>) {
        let (mut objects, mut unread) = (Vec::new(), Vec::new());
        for found in Walk::start(root.to_owned(), "").unwrap() {
            match found {
                Found::Object(object) => objects.push(object.key),
                Found::Unread { key, .. } => unread.push(key),
            }
        }
        objects.sort_unstable();
        unread.sort_unstable();
        (objects, unread)
    }

    #[test]
    fn links_are_followed_and_those_to_nothing_or_to_themselves_hide_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for file in ["a/b/1", "a/2", "a/2#77", "a/2#x"] {
            fs::write(root.join(file), file).unwrap();
        }
        symlink("a", root.join("link")).unwrap();
        symlink("missing", root.join("a/nothing")).unwrap();
        let (objects, unread) = found(root);
        assert_eq!(objects, ["a/2", "a/2#x", "a/b/1", "link/2", "link/2#x", "link/b/1"]);
        assert!(unread.is_empty(), "{unread:?}");
        symlink("itself", root.join("a/itself")).unwrap();
        symlink("../..", root.join("a/b/above")).unwrap();
        fs::remove_file(root.join("link")).unwrap();
        let (objects, unread) = found(root);
        assert_eq!(objects, ["a/2", "a/2#x", "a/b/1"]);
        assert_eq!(unread, ["a/b/above", "a/itself"]);
        assert_eq!(directories(root, "").unwrap(), ["a"]);
        let mut names = directories(&root.join("a"), "a").unwrap();
        names.sort_unstable();
        assert_eq!(names, ["b", "itself"]);
        let files_of = |name: &str, start: &str| files(&root.join(name), name, start);
        for start in ["", "it"] {
            assert!(files_of("a", start).is_err());
        }
        assert_eq!(files_of("a", "2").unwrap().len(), 2, "what has another name hides nothing");
        fs::remove_file(root.join("a/itself")).unwrap();
        assert_eq!(files_of("a", "").unwrap().len(), 2);
        assert!(files_of("none", "").unwrap().is_empty());
    }

    #[test]
    fn names_that_no_key_has_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("file"), "").unwrap();
        for odd in [&b"a\x1b[1m"[..], b"caf\xe9"] {
            let odd = root.join(OsStr::from_bytes(odd));
            fs::create_dir(&odd).unwrap();
            fs::write(odd.join("file"), "").unwrap();
        }
        assert_eq!(found(root), (vec!["file".to_owned()], Vec::new()));
        assert!(directories(root, "").unwrap().is_empty());
        assert_eq!(files(root, "", "").unwrap().len(), 1);
    }
}
