use std::{collections::BTreeMap, fs, sync::Arc};

use proptest::{collection::vec, prelude::*};
use tactus_model::{CutTraces, SpanBatch, merge::merge};

use super::*;
use crate::{
    origins::HeldOrigins,
    segment::{Place, Segment, SegmentCache, SegmentFile},
    test_spans::batch_of_spans,
};

/// Tenant, number and spans of each segment.
type Cut = BTreeMap<(String, u32), (bool, SpanBatch)>;

fn cut_of(sizes: &[(u16, bool)]) -> Cut {
    let segment = |(at, &(spans, is_pending)): (usize, &(u16, bool))| {
        // A tenant has one or two.
        let key = (format!("tenant-{}", at / 3 * 2 + at % 3 / 2), u32::from(at % 3 == 1));
        (key, (is_pending, merge(&[&batch_of_spans(1..spans + 2, 5)]).0))
    };
    sizes.iter().enumerate().map(segment).collect()
}

fn write(path: &Path, cut: &Cut) {
    let mut writer = CutWriter::create(path).unwrap();
    for ((tenant, number), (is_pending, batch)) in cut {
        let (origins, cut) = (HeldOrigins::default(), CutTraces::new());
        let segment = NewSegment { batch, block_times: (1, 2), origins: &origins, cut: &cut };
        let tenant = TenantId::parse(tenant).unwrap();
        writer.add(&tenant, *number, *is_pending, &segment).unwrap();
    }
    writer.finish(true).unwrap();
}

/// What is served of a file, and whether anything wrong with it is found.
fn read(path: &Path) -> (Cut, bool) {
    let Ok(found) = read_sections(path) else { return (Cut::new(), true) };
    let cache = SegmentCache::new(10, 1 << 20);
    let file = SegmentFile::new(path, found.sections.len(), cache.file_counter()).unwrap();
    let (mut cut, mut is_damaged) = (Cut::new(), found.damage.is_some());
    for Section { tenant, number, is_pending, offset, bytes } in found.sections {
        let place = Place { file: Arc::clone(&file), offset, bytes };
        match Segment::open(Path::new("name.seg"), place, true, &cache) {
            Ok(segment) => {
                let batch = segment.batch().unwrap();
                cut.insert((tenant, number), (is_pending, (**batch).clone()));
            }
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                is_damaged = true;
            }
        }
    }
    (cut, is_damaged)
}

/// The segments that lie at a byte, their heads included: one at most.
fn at(sections: &[Section], byte: u64) -> Vec<(String, u32)> {
    let lies_in = |section: &&Section| {
        // Heads are aligned, so what is before this one belongs to the section before.
        let head = section.offset - (HEAD_BYTES + section.tenant.len()) as u64;
        (head / ALIGNMENT * ALIGNMENT..section.offset + section.bytes).contains(&byte)
    };
    let key = |section: &Section| (section.tenant.clone(), section.number);
    sections.iter().filter(lies_in).map(key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_segments_are_read_back_and_damage_of_a_byte_costs_one_of_them_at_most(
        sizes in vec((0..60_u16, any::<bool>()), 1..12),
        damages in vec((any::<prop::sample::Index>(), 1..=255_u8), 24),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.seg");
        let cut = cut_of(&sizes);
        write(&path, &cut);
        prop_assert_eq!(read(&path), (cut.clone(), false));
        let sections = read_sections(&path).unwrap().sections;
        let whole = fs::read(&path).unwrap();
        for (index, flip) in damages {
            let mut damaged = whole.clone();
            let byte = index.index(whole.len());
            damaged[byte] ^= flip;
            fs::write(&path, damaged).unwrap();
            let (left, is_found) = read(&path);
            let mut expected = cut.clone();
            if left.len() < cut.len() {
                prop_assert!(is_found, "byte {}", byte);
                let hit = at(&sections, byte as u64);
                prop_assert_eq!(hit.len(), 1, "byte {}", byte);
                expected.remove(&hit[0]);
            }
            // Where nothing is missing it was padding, or stands twice.
            prop_assert_eq!(left, expected, "byte {}", byte);
        }
    }

    #[test]
    fn truncated_file_keeps_what_is_whole(
        sizes in vec((0..60_u16, any::<bool>()), 1..12),
        lengths in vec(any::<prop::sample::Index>(), 12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.seg");
        let cut = cut_of(&sizes);
        write(&path, &cut);
        let sections = read_sections(&path).unwrap().sections;
        let whole = fs::read(&path).unwrap();
        for length in lengths {
            let length = length.index(whole.len());
            fs::write(&path, &whole[..length]).unwrap();
            let mut expected = cut.clone();
            for section in &sections {
                if section.offset + section.bytes > length as u64 {
                    expected.remove(&(section.tenant.clone(), section.number));
                }
            }
            prop_assert_eq!(read(&path), (expected, true), "{} of {}", length, whole.len());
        }
    }

    #[test]
    fn foreign_bytes_are_no_segments(bytes in vec(any::<u8>(), 0..3000)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.seg");
        fs::write(&path, bytes).unwrap();
        prop_assert!(read_sections(&path).unwrap_err().is_damage());
    }
}

#[test]
fn cut_without_a_segment_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.seg");
    write(&path, &Cut::new());
    assert_eq!(read(&path), (Cut::new(), false));
}

#[test]
fn file_without_directory_and_with_a_damaged_head_gives_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.seg");
    let cut = cut_of(&[(50, false), (3, true), (40, false), (7, false)]);
    write(&path, &cut);
    let sections = read_sections(&path).unwrap().sections;
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 10);
    bytes[sections[1].offset as usize - sections[1].tenant.len() - 10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut expected = cut;
    expected.remove(&(sections[1].tenant.clone(), sections[1].number));
    assert_eq!(read(&path), (expected, true));
}

#[test]
fn file_of_which_most_is_a_hole_is_searched_where_it_has_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.seg");
    let cut = cut_of(&[(50, false), (3, true), (40, false)]);
    write(&path, &cut);
    // As an inode with a damaged size.
    File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read(&path), (cut, true));
}

#[test]
fn what_is_not_a_file_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("cut.seg");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &*pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for path in [&*pipe, folder.path()] {
        assert!(read_sections(path).unwrap_err().is_damage(), "{}", path.display());
    }
}
