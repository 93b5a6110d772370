//! The directory of a cut and its segments, whether they share one file or have their own.

use std::{collections::HashMap, path::Path, sync::Arc};

use tactus_model::TenantId;

use crate::{
    layout::{CUT_FILE, segment_file_name},
    segment::{
        Place, Segment, SegmentCache, SegmentError, SegmentFile,
        cut::{Section, read_sections},
    },
};

/// Opens the segments of a directory that was just written, by tenant, in order of their numbers.
///
/// Errors: something cannot be read, or is not what was written.
pub(crate) fn open_new(
    directory: &Path,
    cache: &SegmentCache,
) -> Result<HashMap<TenantId, Vec<Arc<Segment>>>, SegmentError> {
    let path = directory.join(CUT_FILE);
    let found = read_sections(&path)?;
    if let Some(damage) = found.damage {
        return Err(damage);
    }
    let count = found.sections.len();
    let file = SegmentFile::new(&path, count, cache.file_counter())
        .map_err(|source| SegmentError::read(&path, source))?;
    let mut segments: HashMap<_, Vec<_>> = HashMap::with_capacity(count);
    for section in found.sections {
        let (name, place) = locate(&section, &file);
        let segment = Segment::open(&directory.join(name), place, false, cache)?;
        let tenant = TenantId::parse(&section.tenant).map_err(|_| SegmentError::Corrupt {
            path: path.clone(),
            what: "the name of a tenant",
        })?;
        segments.entry(tenant).or_default().push(Arc::new(segment));
    }
    Ok(segments)
}

/// The name of a section in its directory, and its position in the file.
pub(crate) fn locate(section: &Section, file: &Arc<SegmentFile>) -> (String, Place) {
    let name = segment_file_name(&section.tenant, section.number, section.is_pending);
    (name, Place { file: Arc::clone(file), offset: section.offset, bytes: section.bytes })
}
