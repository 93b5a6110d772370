//! The sources of a block's bytes.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::{Error, Result};

/// Ranges that are at most this far apart are read at once.
const COALESCE_GAP_BYTES: u64 = 64 * 1024;

/// The bytes of one `data.parquet`.
///
/// Called on threads that may block: a remote implementation waits here for I/O that runs elsewhere. The content must
/// not change while a reader uses it.
pub trait ByteSource: Send + Sync {
    /// Length of the file in bytes.
    fn size(&self) -> u64;

    /// The bytes of a range, exactly as many as its length.
    ///
    /// Errors: `Error::Corrupt` for a range beyond the end, `Error::Io` if reading fails.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;

    /// The bytes of several ranges, in the order of the arguments.
    ///
    /// Reads neighbouring ranges together. Override it if ranges can be fetched at the same time.
    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let groups = coalesce(ranges);
        let mut out = vec![Bytes::new(); ranges.len()];
        for (covered, members) in groups {
            let bytes = self.read(covered.clone())?;
            for member in members {
                let range = &ranges[member];
                let start = range.start.saturating_sub(covered.start) as usize;
                let end = range.end.saturating_sub(covered.start) as usize;
                out[member] =
                    bytes.get(start..end).map(|part| bytes.slice_ref(part)).ok_or_else(|| {
                        Error::Corrupt { what: "a source returned too few bytes".to_owned() }
                    })?;
            }
        }
        Ok(out)
    }

    /// As [`Self::read`], for the footer at the end of the file.
    fn read_footer(&self, range: Range<u64>) -> Result<Bytes> {
        self.read(range)
    }

    /// Like [`Self::read_many`], of offset indexes.
    fn read_offset_indexes(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.read_many(ranges)
    }

    /// True if a read waits for a network, so that one long read takes less time than several short ones.
    fn is_remote(&self) -> bool {
        false
    }

    /// Bytes of the file that are held in memory.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// Joins ranges that overlap or are close together. Each result covers the ranges at its positions.
pub fn coalesce(ranges: &[Range<u64>]) -> Vec<(Range<u64>, Vec<usize>)> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&i| ranges[i].start);
    let mut groups: Vec<(Range<u64>, Vec<usize>)> = Vec::new();
    for i in order {
        let range = &ranges[i];
        match groups.last_mut() {
            Some((covered, members))
                if range.start <= covered.end.saturating_add(COALESCE_GAP_BYTES) =>
            {
                covered.end = covered.end.max(range.end);
                members.push(i);
            }
            _ => groups.push((range.clone(), vec![i])),
        }
    }
    groups
}

/// A source in memory.
#[derive(Debug, Clone)]
pub struct BytesSource {
    bytes: Bytes,
}

impl BytesSource {
    /// The file's whole content.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

impl ByteSource for BytesSource {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let part = self.bytes.get(range.start as usize..range.end as usize);
        part.map(|part| self.bytes.slice_ref(part)).ok_or_else(|| beyond_end(&range))
    }

    fn read_many(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        ranges.iter().map(|range| self.read(range.clone())).collect()
    }
}

/// A local file, read by position. The file may be truncated while it is read.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// Opens a file. Errors: `Error::Io`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl ByteSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        use std::os::unix::fs::FileExt;
        if range.start > range.end || range.end > self.size {
            return Err(beyond_end(&range));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }
}

fn beyond_end(range: &Range<u64>) -> Error {
    Error::Corrupt { what: format!("bytes {}..{} lie beyond the file", range.start, range.end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(BytesSource, std::sync::atomic::AtomicUsize);

    impl ByteSource for Counting {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn read(&self, range: Range<u64>) -> Result<Bytes> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.read(range)
        }
    }

    fn content() -> Bytes {
        (0..300_000u32).map(|i| i as u8).collect::<Vec<_>>().into()
    }

    #[test]
    fn read_many_joins_neighbours_and_keeps_the_order() {
        let source = Counting(BytesSource::new(content()), Default::default());
        let ranges = [200_000..200_010, 5..10, 0..5, 7..20, 0..0];
        let parts = source.read_many(&ranges).unwrap();
        for (range, part) in ranges.iter().zip(&parts) {
            assert_eq!(&part[..], &content()[range.start as usize..range.end as usize]);
        }
        assert_eq!(source.1.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    #[test]
    fn ranges_beyond_the_end_are_corrupt() {
        let source = BytesSource::new(content());
        #[expect(clippy::reversed_empty_ranges, reason = "a corrupt footer can ask for one")]
        let ranges = [299_999..300_001, 10..5, u64::MAX - 1..u64::MAX];
        for range in ranges {
            assert!(matches!(source.read(range), Err(Error::Corrupt { .. })));
        }
    }

    #[test]
    fn memory_and_a_file_read_the_same() {
        let path = std::env::temp_dir().join(format!("tactus-source-{}", std::process::id()));
        std::fs::write(&path, content()).unwrap();
        let (memory, file) = (BytesSource::new(content()), FileSource::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        for source in [&memory as &dyn ByteSource, &file] {
            assert_eq!(source.size(), 300_000);
            assert_eq!(source.read(100..200).unwrap(), content().slice(100..200));
            assert!(source.read(0..300_001).is_err());
        }
    }
}
