//! The local store's files: published by rename, durable before they are visible.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{ObjectInfo, failure};
use crate::error::{Error, Result};

/// Small writes are gathered before they go to a file.
const STAGED_BUFFER_BYTES: usize = 128 << 10;

/// An open file of a local store, readable from any thread at any place.
///
/// Blocking: meant for threads that may wait for a disk.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    key: String,
    size: u64,
}

impl LocalFile {
    pub(super) fn open(path: &Path, key: &str) -> Result<Self> {
        let open = || {
            // Without this flag, opening a pipe would wait for a writer. It has no effect on regular files.
            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        };
        let (file, metadata) = open().map_err(|error| unread(path, key, error))?;
        if !metadata.is_file() {
            return Err(Error::Corrupt { what: "type of file", key: key.into(), offset: 0 });
        }
        Ok(Self { file, key: key.into(), size: metadata.len() })
    }

    /// Length in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads exactly `range`; `Error::Corrupt` when the file ends before it does.
    pub fn read_range(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.size {
            let (what, key) = ("object length", self.key.clone());
            return Err(Error::Corrupt { what, key, offset: self.size });
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::invalid("range", "longer than the address space"))?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, range.start)
            .map_err(|error| failure::from_io(&self.key, error))?;
        Ok(bytes.into())
    }
}

/// Why a file is not read. A link to nothing is something that was there.
fn unread(path: &Path, key: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            Error::Corrupt { what: "link", key: key.into(), offset: 0 }
        }
        _ => failure::from_io(key, error),
    }
}

/// Length and modification time of a file, without opening it. A directory is no object.
pub(super) fn info(path: &Path, key: String) -> Result<ObjectInfo> {
    let found = fs::metadata(path).map_err(|error| unread(path, &key, error))?;
    if found.is_dir() {
        return Err(Error::NotFound { key });
    }
    object_info(&found, key)
}

/// The same, of what is known of a file. Errors: it is none, or has an impossible time.
pub(super) fn object_info(found: &Metadata, key: String) -> Result<ObjectInfo> {
    let modified = found.modified().map_err(|error| failure::from_io(&key, error))?;
    match Timestamp::try_from(modified) {
        Ok(last_modified) if found.is_file() => {
            Ok(ObjectInfo { key, size: found.len(), last_modified })
        }
        Ok(_) => Err(Error::Corrupt { what: "type of file", key, offset: 0 }),
        Err(_) => Err(Error::Corrupt { what: "modification time", key, offset: 0 }),
    }
}

/// The root directory of a local store.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    volume: Mutex<Volume>,
}

/// Where the root directory was seen last. A volume that is mounted again often has another device number.
#[derive(Debug)]
struct Volume {
    device: u64,
    /// Devices of directories above, if they are others: an empty mount point is on one of these.
    above: Vec<u64>,
}

impl Volume {
    fn of(directory: &Path, device: u64) -> Self {
        let above = directory.ancestors().skip(1).filter_map(|above| device_of(above).ok());
        Self { device, above: above.filter(|above| *above != device).collect() }
    }
}

/// The device of a directory. With the dot, automatic mounts are made: asking for the directory alone shows its mount point.
fn device_of(directory: &Path) -> io::Result<u64> {
    Ok(fs::metadata(directory.join("."))?.dev())
}

impl Root {
    /// Creates the directory for its owner only, if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, "no path given"));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let path = path.canonicalize()?;
        let volume = Mutex::new(Volume::of(&path, device_of(&path)?));
        Ok(Self { path, volume })
    }

    /// The canonical path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `Error::Unavailable` if the directory is gone, or an empty mount point, which is no empty store.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        match device_of(&self.path) {
            Ok(device) if self.is_mounted(device) => Ok(()),
            Ok(_) => Err(self.unavailable(key, "is not mounted")),
            Err(error) => Err(match failure::from_io(key, error) {
                Error::NotFound { .. } => self.unavailable(key, "is gone"),
                error => error,
            }),
        }
    }

    /// The same before a change, which may make the directory anew, but not in a mount point: what is written there is
    /// hidden once the volume is back.
    pub(super) fn check_for_change(&self, key: &str) -> Result<()> {
        let mut existing = self.path.ancestors().filter_map(|path| device_of(path).ok());
        match existing.next() {
            Some(device) if self.is_mounted(device) => Ok(()),
            _ => self.check(key),
        }
    }

    /// False if the volume with the directory was here and is not any more, now that it would be on this device.
    fn is_mounted(&self, device: u64) -> bool {
        let mut volume = self.volume.lock();
        if volume.device != device && !volume.above.contains(&device) {
            // Another one was mounted, or the same one again.
            *volume = Volume::of(&self.path, device);
        }
        volume.device == device
    }

    /// Takes a device for that of a directory above.
    #[cfg(test)]
    pub(super) fn note_above(&self, device: u64) {
        self.volume.lock().above.push(device);
    }

    fn unavailable(&self, key: &str, problem: &str) -> Error {
        let path = self.path.display();
        let source = format!(
            "{path} {problem}: mount its volume again, or restart this process if that is on purpose"
        );
        Error::Unavailable { key: key.into(), source: source.into() }
    }
}

/// Writes a whole file: nobody sees a part of it, and it survives a power cut once this returns.
pub(super) fn put_bytes(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut staged = Staged::create(target)?;
    staged.write_all(bytes)?;
    staged.publish()
}

/// A file that is being written; removed again when it is dropped unpublished.
#[derive(Debug)]
pub(super) struct Staged {
    file: BufWriter<File>,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Staged {
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        let path = staged_path(target);
        let open = || {
            create_parents(target)?;
            OpenOptions::new().write(true).create_new(true).open(&path)
        };
        // Somebody may have removed a directory that was empty until now.
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => open()?,
            opened => opened?,
        };
        let file = BufWriter::with_capacity(STAGED_BUFFER_BYTES, file);
        Ok(Self { file, path, target: target.to_owned(), published: false })
    }

    /// Puts the file in the place of its target, durable once this returns.
    pub(super) fn publish(mut self) -> io::Result<()> {
        self.sync()?;
        fs::rename(&self.path, &self.target)?;
        self.published = true;
        sync_parent(&self.target)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            // A leftover is never listed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames within one directory and makes the new file's modification time now.
pub(super) fn rename_as_new(from: &Path, to: &Path) -> io::Result<()> {
    match set_modified_now(from) {
        Ok(()) => {
            fs::rename(from, to)?;
            sync_parent(to)
        }
        // Only a file's owner may set its time, and not everybody who may delete a file may write to it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => write_anew(from, to),
        Err(error) => Err(error),
    }
}

fn set_modified_now(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_modified(SystemTime::now())?;
    file.sync_all()
}

/// Writes a file again under another name of its directory, and then removes it.
fn write_anew(from: &Path, to: &Path) -> io::Result<()> {
    let mut staged = Staged::create(to)?;
    io::copy(&mut File::open(from)?, &mut staged)?;
    staged.publish()?;
    fs::remove_file(from)?;
    sync_parent(from)
}

/// Removes a directory and all in it; fine when there is none.
pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file; fine when there is none.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `name#<digits>`: the listing leaves such names out, so that a leftover is no object.
fn staged_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!("#{}", Uuid::new_v4().as_u128()));
    name.into()
}

/// True for the key of a [`staged_path`].
pub(super) fn is_staged(key: &str) -> bool {
    let end = key.rsplit_once('#').map_or("", |(_, end)| end);
    !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit())
}

fn create_parents(target: &Path) -> io::Result<()> {
    let Some(parent) = target.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = parent.ancestors().take_while(|path| !path.is_dir()).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    missing.into_iter().try_for_each(sync_parent)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_that_may_not_be_written_to_is_renamed_as_new() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        // The superuser may write to it all the same.
        for rename in [rename_as_new, write_anew] {
            fs::write(&from, "content").unwrap();
            File::open(&from).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            fs::set_permissions(&from, fs::Permissions::from_mode(0o444)).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"content");
            assert!(fs::metadata(&to).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }
}
