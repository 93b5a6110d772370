//! Names below the ingester's directory.
//!
//! ```text
//! log/                              the write-ahead log, with its lock
//! segments/<first>-<last>/<tenant>.<n>.seg  spans of log parts first..=last; appears as a whole
//! segments/.writing-<first>-<last>/      being written; deleted at start
//! flushing/<tenant>/<block id>.json      segments that become this block
//! building/<block id>/                   files of a block before its upload; deleted at start
//! quarantine/                            what could not be read at start
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tactus_model::TenantId;

/// The parts of the log whose spans a directory of segments holds.
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
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Creates the directories.
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        let layout = Self { root: root.to_owned() };
        for directory in [layout.segments(), layout.flushing(), layout.building()] {
            fs::create_dir_all(directory)?;
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

    pub(crate) fn building(&self) -> PathBuf {
        self.root.join("building")
    }

    /// Moves a file that cannot be read out of the way, keeping it for a human.
    pub(crate) fn quarantine(&self, path: &Path) -> io::Result<PathBuf> {
        let directory = self.root.join("quarantine");
        fs::create_dir_all(&directory)?;
        let name: Vec<_> = path
            .strip_prefix(&self.root)
            .unwrap_or(path)
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect();
        let target = directory.join(name.join("_"));
        fs::rename(path, &target)?;
        Ok(target)
    }
}

/// The range of a segment directory's name.
pub(crate) fn parse_part_range(name: &str) -> Option<PartRange> {
    let (first, last) = name.split_once('-')?;
    let number = |text: &str| (text.len() == 16).then(|| text.parse().ok()).flatten();
    Some(PartRange { first: number(first)?, last: number(last)? })
}

/// Name of a tenant's `number`th segment in its directory.
pub(crate) fn segment_file_name(tenant: &TenantId, number: usize) -> String {
    format!("{tenant}.{number}.seg")
}

/// The tenant of a segment's file name.
pub(crate) fn parse_segment_file_name(name: &str) -> Option<TenantId> {
    let (tenant, number) = name.strip_suffix(".seg")?.rsplit_once('.')?;
    number.parse::<usize>().ok()?;
    TenantId::parse(tenant).ok()
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_file_names_parse_back() {
        let tenant = TenantId::parse("a.b.7").unwrap();
        assert_eq!(parse_segment_file_name(&segment_file_name(&tenant, 12)), Some(tenant));
        for foreign in ["a.seg", "a.b.seg", "x", "a b.0.seg"] {
            assert_eq!(parse_segment_file_name(foreign), None);
        }
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
    }
}
