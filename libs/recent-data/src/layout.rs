//! File names in the ingester's directory.
//!
//! ```text
//! log/                              the write-ahead log, with its lock
//! segments/<first>-<last>/cut.seg        segments of all tenants, spans of log parts first..=last; appears as a whole
//!                       <tenant>.<n>.seg  replaces one of them: what tail sampling left of it
//!                       <tenant>.<n>.deciding being written; deleted at start
//! segments.notes                         what became of segments whose files are still needed for others
//! segments/.writing-<first>-<last>/      being written; deleted at start
//! flushing/<tenant>/<block id>.json      segments that become this block
//! quarantine/                            what could not be read
//! ```
//!
//! A segment is called `<first>-<last>/<tenant>.<n>.seg` wherever its bytes are, or `.pending` before tail sampling has
//! decided which traces stay. Releases before `cut.seg` existed had a file of that name for each segment; those are
//! still read.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use tactus_model::TenantId;
use tactus_wal::PART_NUMBER_LIMIT;

/// The file of a cut.
pub(crate) const CUT_FILE: &str = "cut.seg";
/// Ending of a segment.
const SEGMENT: &str = "seg";
/// Extension of a segment that tail sampling has not decided yet.
const PENDING: &str = "pending";
/// Extension of the file that will replace a pending segment, while it is being written.
const DECIDING: &str = "deciding";
/// Notes and manifests are far smaller.
const MAX_READ_BYTES: u64 = 256 << 20;

/// The range of log parts whose spans a directory of segments holds. If another program put a part among them, that and the
/// later ones are not in the range, although the spans of the later ones are in the directory as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl PartRange {
    pub(crate) fn of(part: u64) -> Self {
        Self { first: part, last: part }
    }

    pub(crate) fn contains(self, part: u64) -> bool {
        (self.first..=self.last).contains(&part)
    }

    /// Ascending numbers as ranges, between which there is a number that `is_other`.
    pub(crate) fn runs(
        numbers: impl Iterator<Item = u64>,
        is_other: impl Fn(u64) -> bool,
    ) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some(run) if !(run.last + 1..number).any(&is_other) => run.last = number,
                _ => runs.push(Self::of(number)),
            }
        }
        runs
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Creates the directories.
    /// Errors: with the directory that cannot be made.
    pub(crate) fn create(root: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let layout = Self { root: root.to_owned() };
        for directory in [layout.segments(), layout.flushing()] {
            fs::create_dir_all(&directory).map_err(|error| (directory, error))?;
        }
        Ok(layout)
    }

    pub(crate) fn log(root: &Path) -> PathBuf {
        root.join("log")
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    pub(crate) fn segment_directory(&self, parts: PartRange) -> PathBuf {
        self.segments().join(format!("{:016}-{:016}", parts.first, parts.last))
    }

    pub(crate) fn writing_directory(&self, parts: PartRange) -> PathBuf {
        self.segments().join(format!(".writing-{:016}-{:016}", parts.first, parts.last))
    }

    pub(crate) fn flushing(&self) -> PathBuf {
        self.root.join("flushing")
    }

    pub(crate) fn notes(root: &Path) -> PathBuf {
        root.join("segments.notes")
    }

    /// Bytes of all files that are neither parts of the log nor complete segments. With `unfinished`, it also counts
    /// segments that are being written to replace others, for which it must read all directories.
    pub(crate) fn other_bytes(&self, unfinished: bool) -> u64 {
        let ends_in = |path: &Path, ending| path.extension().is_some_and(|it| it == ending);
        let all = |_: &Path| true;
        let besides = ["flushing", "quarantine"];
        let besides: u64 =
            besides.iter().map(|name| bytes_below(&self.root.join(name), &all)).sum();
        let log = bytes_below(&Self::log(&self.root), &|path| !ends_in(path, "wal"));
        let writing = if unfinished {
            bytes_below(&self.segments(), &|path| {
                let is_whole = ends_in(path, SEGMENT) || ends_in(path, PENDING);
                !is_whole || path.parent().is_some_and(is_writing)
            })
        } else {
            let entries = fs::read_dir(self.segments()).into_iter().flatten().flatten();
            let writing = entries.map(|entry| entry.path()).filter(|path| is_writing(path));
            writing.map(|path| bytes_below(&path, &all)).sum()
        };
        besides + log + writing
    }

    /// Moves an unreadable file into the quarantine, so that people can examine it.
    pub(crate) fn quarantine(&self, path: &Path) -> io::Result<PathBuf> {
        let target = self.quarantined(path)?;
        fs::rename(path, &target)?;
        Ok(target)
    }

    /// The path in the quarantine for an unreadable file.
    pub(crate) fn quarantined(&self, path: &Path) -> io::Result<PathBuf> {
        let directory = self.root.join("quarantine");
        fs::create_dir_all(&directory)?;
        Ok(directory.join(self.quarantine_name(path)))
    }

    fn quarantine_name(&self, path: &Path) -> String {
        let parts = path.strip_prefix(&self.root).unwrap_or(path).components();
        let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
        parts.join("_")
    }

    /// True if a directory, or something that was in it, is in the quarantine. Errors: it cannot be listed.
    pub(crate) fn has_quarantined(&self, directory: &Path) -> io::Result<bool> {
        let start = self.quarantine_name(directory);
        let entries = match fs::read_dir(self.root.join("quarantine")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            if entry?.file_name().to_string_lossy().starts_with(&start) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// True for a directory whose segments are being written.
fn is_writing(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".writing-"))
}

/// The range of a segment directory's name. `None`: it is none, or no part of the log has such a number.
pub(crate) fn parse_part_range(name: &str) -> Option<PartRange> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| {
        let number = if text.len() == 16 { text.parse::<u64>().ok() } else { None };
        number.filter(|number| *number < PART_NUMBER_LIMIT)
    };
    Some(PartRange { first: number(first)?, last: number(last)? })
}

/// The file name of a tenant's `number`th segment in its directory. `is_pending`: its traces are not decided yet.
pub(crate) fn segment_file_name(tenant: &str, number: u32, is_pending: bool) -> String {
    format!("{tenant}.{number}.{}", if is_pending { PENDING } else { SEGMENT })
}

/// The key of a segment: its path below `segments`, the same before and after tail sampling.
pub(crate) fn segment_key(segments: &Path, segment: &Path) -> String {
    let relative = segment.strip_prefix(segments).unwrap_or(segment);
    relative.with_extension("").to_string_lossy().into_owned()
}

/// True for a segment whose traces are not decided yet.
pub(crate) fn is_pending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == PENDING)
}

/// True for a segment that was not completely written.
pub(crate) fn is_deciding(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == DECIDING)
}

/// The paths of the file that replaces a pending segment: while it is written, and when it is complete.
pub(crate) fn decided_paths(pending: &Path) -> (PathBuf, PathBuf) {
    (pending.with_extension(DECIDING), pending.with_extension(SEGMENT))
}

/// The path of a decided segment before it was decided.
pub(crate) fn pending_path(segment: &Path) -> PathBuf {
    segment.with_extension(PENDING)
}

/// The tenant of a segment's file name, pending or not.
pub(crate) fn parse_segment_file_name(name: &str) -> Option<TenantId> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (tenant, number) = stem.rsplit_once('.')?;
    if ending != SEGMENT && ending != PENDING {
        return None;
    }
    number.parse::<usize>().ok()?;
    TenantId::parse(tenant).ok()
}

/// True if a name has the extension of a segment, of any tenant.
pub(crate) fn has_segment_ending(name: &str) -> bool {
    let numbered = |ending| {
        let stem = name.strip_suffix(ending)?.strip_suffix('.')?;
        stem.rsplit_once('.')?.1.parse::<usize>().ok()
    };
    numbered(SEGMENT).or_else(|| numbered(PENDING)).is_some()
}

/// Opens a file to read it.
///
/// Errors: of kind `InvalidData` if it is something else. To open a pipe would be to wait until somebody writes to it.
pub(crate) fn open_file(path: &Path) -> io::Result<fs::File> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => fs::File::open(path),
        Err(error) if !is_loop(&error) => Err(error),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file")),
    }
}

/// True if a link leads to itself.
pub(crate) fn is_loop(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

/// Reads a file that is never large.
///
/// Errors: as [`open_file`]; also of kind `InvalidData` if it is larger than memory should be taken for, as after damage of
/// the file system.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_file(path)?;
    if file.metadata()?.len() > MAX_READ_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Bytes of the files below a directory for whose path `is_counted` returns true. Unreadable entries count as 0.
fn bytes_below(directory: &Path, is_counted: &dyn Fn(&Path) -> bool) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let bytes = entries.flatten().map(|entry| {
        let path = entry.path();
        // For a link this is the size of the link itself.
        match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_below(&path, is_counted),
            Ok(found) if is_counted(&path) => found.len(),
            _ => 0,
        }
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_file_names_parse_back() {
        let tenant = TenantId::parse("a.b.7").unwrap();
        let name = segment_file_name(tenant.as_str(), 12, false);
        assert_eq!(parse_segment_file_name(&name), Some(tenant.clone()));
        let pending = segment_file_name(tenant.as_str(), 12, true);
        assert_eq!(parse_segment_file_name(&pending), Some(tenant.clone()));
        assert!(is_pending(Path::new(&pending)));
        let (deciding, decided) = decided_paths(Path::new(&pending));
        assert!(is_deciding(&deciding) && !is_pending(&decided));
        assert_eq!(decided.to_str(), Some(name.as_str()));
        let key = |name: &str| segment_key(Path::new("/x"), &Path::new("/x/1-2").join(name));
        assert_eq!((key(&name), key(&pending)), ("1-2/a.b.7.12".into(), "1-2/a.b.7.12".into()));
        assert_eq!(pending_path(&decided).to_str(), Some(pending.as_str()));
        for foreign in ["a.seg", "a.b.seg", "x", "a b.0.seg", "a.0.deciding"] {
            assert_eq!(parse_segment_file_name(foreign), None);
        }
        for (name, expected) in [(".x.0.seg", true), ("...7.pending", true), ("a.seg", false)] {
            assert_eq!(parse_segment_file_name(name), None);
            assert_eq!(has_segment_ending(name), expected, "{name}");
        }
    }

    #[test]
    fn other_bytes_are_all_but_log_and_whole_segments() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let range = PartRange::of(1);
        let files = [
            (Layout::log(folder.path()).join("0000000000000001.wal"), 1),
            (Layout::log(folder.path()).join("0000000000000002.wal.damaged"), 10),
            (layout.segment_directory(range).join("t.0.seg"), 2),
            (layout.segment_directory(range).join("t.1.pending"), 3),
            (layout.segment_directory(range).join("t.1.deciding"), 100),
            (layout.writing_directory(range).join("t.0.seg"), 1_000),
            (layout.flushing().join("t").join("x.partial"), 10_000),
            (folder.path().join("quarantine").join("t.0.seg"), 100_000),
        ];
        for (path, bytes) in files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; bytes]).unwrap();
        }
        assert_eq!(layout.other_bytes(true), 111_110);
        assert_eq!(layout.other_bytes(false), 111_010);
    }

    #[test]
    fn file_that_is_far_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segments.notes");
        let file = fs::File::create(&path).unwrap();
        assert!(read_file(&path).unwrap().is_empty());
        file.set_len(1 << 40).unwrap();
        assert_eq!(read_file(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn segment_directory_names_parse_back() {
        let layout = Layout { root: "/x".into() };
        let range = PartRange { first: 3, last: 17 };
        let name = layout.segment_directory(range);
        let name = name.file_name().unwrap().to_str().unwrap();
        assert_eq!(parse_part_range(name), Some(range));
        for foreign in [".writing-1-2", "a-b", "1-2", "lost+found"] {
            assert_eq!(parse_part_range(foreign), None);
        }
        let range = |last: u64| parse_part_range(&format!("{:016}-{last:016}", 1));
        assert_eq!(range(PART_NUMBER_LIMIT), None);
        assert!(range(PART_NUMBER_LIMIT - 1).is_some());
    }
}
