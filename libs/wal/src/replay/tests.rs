use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::frame::{Header, MAX_PAYLOAD_BYTES};
use crate::{Error, Settings, Wal};

const SETTINGS: Settings = Settings { fsync_interval: None, part_bytes: 64 << 20 };

fn part_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016}.wal"))
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let header = Header::of(&[payload]).unwrap();
    [&header.encode()[..], payload].concat()
}

/// Replays a directory; the log stays open for a look at what is left.
fn replay(dir: &Path) -> (Wal, Vec<Vec<u8>>, ReplayReport) {
    let (wal, mut replay) = Wal::open(dir, SETTINGS).unwrap();
    let payloads = replay.by_ref().map(|frame| frame.payload.to_vec()).collect();
    let report = replay.report().clone();
    (wal, payloads, report)
}

#[test]
fn nothing_left_gives_an_empty_report() {
    let dir = tempfile::tempdir().unwrap();
    let (_wal, payloads, report) = replay(dir.path());
    assert_eq!((payloads.len(), report), (0, ReplayReport::default()));
}

#[test]
fn truncation_at_every_byte_keeps_the_frames_before_it() {
    let originals: [&[u8]; 3] = [b"first", b"second frame", b"x"];
    let bytes: Vec<u8> = originals.iter().flat_map(|payload| frame(payload)).collect();
    let ends = [13, 33, 42];
    assert_eq!(bytes.len(), 42);
    for cut in 0..=bytes.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(part_path(dir.path(), 1), &bytes[..cut]).unwrap();
        fs::write(part_path(dir.path(), 2), frame(b"next part")).unwrap();
        let (_wal, payloads, report) = replay(dir.path());
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let good = ends[..whole].last().copied().unwrap_or(0);
        let mut expected = originals[..whole].to_vec();
        expected.push(b"next part");
        assert_eq!(payloads, expected, "cut at {cut}");
        assert_eq!(report.parts, 2);
        assert_eq!(report.bytes as usize, good + 17);
        assert_eq!(report.dropped_bytes as usize, cut - good);
        assert_eq!(report.damaged_parts.len(), usize::from(cut != good));
        assert!(report.damaged_parts.iter().all(|part| part.offset as usize == good));
    }
}

#[test]
fn absurd_lengths_are_dropped_without_allocating() {
    for length in [0, 1 << 20, MAX_PAYLOAD_BYTES as u32, MAX_PAYLOAD_BYTES as u32 + 1, u32::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let header = Header { payload_bytes: length, crc32c: 0 }.encode();
        let bytes = [&frame(b"good")[..], &header, b"tail"].concat();
        fs::write(part_path(dir.path(), 1), bytes).unwrap();
        let (_wal, payloads, report) = replay(dir.path());
        assert_eq!(payloads, [b"good"]);
        assert_eq!(report.dropped_bytes, 12);
    }
}

#[test]
fn sparse_file_with_a_huge_frame_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let header = Header { payload_bytes: u32::MAX, crc32c: 0 }.encode();
    fs::write(part_path(dir.path(), 1), header).unwrap();
    let file = fs::OpenOptions::new().write(true).open(part_path(dir.path(), 1)).unwrap();
    file.set_len(1 << 40).unwrap();
    let (_wal, payloads, report) = replay(dir.path());
    assert_eq!(payloads.len(), 0);
    assert_eq!(report.dropped_bytes, 1 << 40);
}

#[test]
fn zeros_at_the_end_are_not_frames() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = [&frame(b"good")[..], &[0; 4096]].concat();
    fs::write(part_path(dir.path(), 1), bytes).unwrap();
    let (_wal, payloads, report) = replay(dir.path());
    assert_eq!(payloads, [b"good"]);
    assert_eq!(report.dropped_bytes, 4096);
}

#[test]
fn foreign_entries_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = ["1.wal", "notes.txt", "b1d0f2aa-0000-4000-8000-000000000000+t+vParquet4"];
    for name in foreign {
        fs::write(dir.path().join(name), "foreign").unwrap();
    }
    fs::create_dir(dir.path().join("blocks")).unwrap();
    fs::write(part_path(dir.path(), 3), frame(b"ours")).unwrap();
    let (_wal, payloads, report) = replay(dir.path());
    assert_eq!(payloads, [b"ours"]);
    assert_eq!((report.foreign_entries, report.parts, report.dropped_bytes), (4, 1, 0));
    assert!(foreign.iter().all(|name| dir.path().join(name).is_file()));
}

#[test]
fn names_are_never_those_of_tempo_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    wal.append(&[b"a"]).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        assert!(!entry.unwrap().file_name().to_string_lossy().contains('+'));
    }
}

#[test]
fn damaged_part_is_kept_until_released_and_then_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = [&frame(b"good")[..], b"garbage"].concat();
    fs::write(part_path(dir.path(), 7), &bytes).unwrap();
    for _ in 0..2 {
        let (wal, payloads, _) = replay(dir.path());
        assert_eq!(payloads, [b"good"]);
        assert!(wal.parts()[0].damaged);
    }
    let (wal, _, _) = replay(dir.path());
    wal.release(wal.parts()[0].id).unwrap();
    assert_eq!(wal.parts(), []);
    assert_eq!(fs::read(dir.path().join("0000000000000007.wal.damaged")).unwrap(), bytes);
    drop(wal);
    let (wal, payloads, report) = replay(dir.path());
    assert_eq!((payloads.len(), report), (0, ReplayReport::default()));
    assert_eq!(wal.append(&[b"a"]).unwrap().part, PartId(8), "its number is not used again");
}

#[test]
fn part_without_good_frames_is_released_by_replay() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(part_path(dir.path(), 1), "").unwrap();
    fs::write(part_path(dir.path(), 2), "garbage").unwrap();
    let (wal, _, report) = replay(dir.path());
    assert_eq!((wal.parts(), wal.total_bytes()), (vec![], 0));
    assert_eq!((report.parts, report.dropped_bytes), (2, 7));
    assert!(!part_path(dir.path(), 1).exists());
    assert!(dir.path().join("0000000000000002.wal.damaged").exists());
}

#[test]
fn damaged_parts_kept_aside_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for id in 1..=20 {
        fs::write(part_path(dir.path(), id), "garbage").unwrap();
    }
    let (_wal, _, report) = replay(dir.path());
    assert_eq!(report.damaged_parts.len(), 20);
    let kept = |id: u64| dir.path().join(format!("{id:016}.wal.damaged")).exists();
    assert!((1..=4).all(|id| !kept(id)) && (5..=20).all(kept));
}

#[test]
fn part_that_vanished_before_its_replay_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(part_path(dir.path(), 1), frame(b"gone")).unwrap();
    fs::write(part_path(dir.path(), 2), frame(b"kept")).unwrap();
    let (_wal, mut replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    fs::remove_file(part_path(dir.path(), 1)).unwrap();
    let payloads: Vec<_> = replay.by_ref().map(|frame| frame.payload).collect();
    assert_eq!(payloads, ["kept"]);
    assert_eq!(replay.report().dropped_bytes, 12);
}

/// A file that cannot be read until it was moved to a place again this often.
struct FailingDisk {
    file: std::io::Cursor<Vec<u8>>,
    failures: usize,
}

impl Read for FailingDisk {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self.failures {
            0 => self.file.read(bytes),
            _ => Err(std::io::Error::from_raw_os_error(5)),
        }
    }
}

impl Seek for FailingDisk {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.failures = self.failures.saturating_sub(1);
        self.file.seek(to)
    }
}

#[test]
fn frame_that_the_disk_cannot_read_for_a_moment_is_read_again() {
    let part = [frame(b"first"), frame(b"second")].concat();
    let file_bytes = part.len() as u64;
    let file = FailingDisk { file: std::io::Cursor::new(part), failures: 2 };
    let mut reader = Reader { part: PartId(1), file, file_bytes, offset: 0, frames: 0 };
    assert_eq!(reader.read_patiently().unwrap().unwrap(), "first");
    reader.file.failures = 1;
    assert_eq!(reader.read_patiently().unwrap().unwrap(), "second");
    assert!(reader.read_patiently().unwrap().is_none());
}

#[test]
fn part_that_cannot_be_read_keeps_its_name_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(part_path(dir.path(), 1), frame(b"later")).unwrap();
    fs::write(part_path(dir.path(), 2), frame(b"now")).unwrap();
    let (wal, mut replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    // A directory can be opened, but not read.
    let away = dir.path().join("away");
    fs::rename(part_path(dir.path(), 1), &away).unwrap();
    fs::create_dir(part_path(dir.path(), 1)).unwrap();
    fs::write(part_path(dir.path(), 1).join("entry"), "").unwrap();
    let payloads: Vec<_> = replay.by_ref().map(|frame| frame.payload).collect();
    assert_eq!(payloads, ["now"]);
    let damaged = &replay.report().damaged_parts;
    assert!(damaged.len() == 1 && damaged[0].is_kept, "{damaged:?}");
    assert!(matches!(wal.release(PartId(1)), Err(Error::PartInUse(_))));
    wal.release(PartId(2)).unwrap();
    fs::remove_dir_all(part_path(dir.path(), 1)).unwrap();
    fs::rename(&away, part_path(dir.path(), 1)).unwrap();
    drop((wal, replay));
    assert_eq!(replay_payloads(dir.path()), [b"later"]);
}

#[test]
fn part_is_in_use_until_replay_has_gone_past_it() {
    let dir = tempfile::tempdir().unwrap();
    for id in 1..=2 {
        fs::write(part_path(dir.path(), id), frame(b"a")).unwrap();
    }
    let (wal, mut replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    let first = replay.next().unwrap().position.part;
    assert!(matches!(wal.release(first), Err(Error::PartInUse(_))));
    let second = replay.next().unwrap().position.part;
    assert_eq!(wal.parts().iter().map(|part| part.in_use).collect::<Vec<_>>(), [false, true]);
    wal.release(first).unwrap();
    assert!(matches!(wal.release(second), Err(Error::PartInUse(_))));
    assert_eq!(replay.next(), None);
    wal.release(second).unwrap();
    assert_eq!(wal.total_bytes(), 0);
}

#[test]
fn appends_during_replay_are_not_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(part_path(dir.path(), 1), frame(b"old")).unwrap();
    let (wal, replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    wal.append(&[b"new"]).unwrap();
    wal.rotate();
    assert_eq!(replay.map(|frame| frame.payload).collect::<Vec<_>>(), ["old"]);
    drop(wal);
    assert_eq!(replay_payloads(dir.path()), [&b"old"[..], b"new"]);
}

#[test]
fn abandoned_replay_leaves_its_parts_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = [frame(b"a"), frame(b"b")].concat();
    fs::write(part_path(dir.path(), 1), bytes).unwrap();
    let (wal, mut replay) = Wal::open(dir.path(), SETTINGS).unwrap();
    replay.next().unwrap();
    drop((wal, replay));
    assert_eq!(replay_payloads(dir.path()), [b"a", b"b"]);
}

fn replay_payloads(dir: &Path) -> Vec<Vec<u8>> {
    replay(dir).1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_round_trip(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..40),
        pieces in 1_usize..50,
        part_bytes in 1_u64..2000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (wal, _) = Wal::open(dir.path(), Settings { part_bytes, ..SETTINGS }).unwrap();
        for payload in &frames {
            let slices: Vec<&[u8]> = payload.chunks(pieces).collect();
            wal.append(&slices).unwrap();
        }
        drop(wal);
        let (_wal, payloads, report) = replay(dir.path());
        prop_assert_eq!(report.dropped_bytes, 0);
        prop_assert_eq!(report.frames as usize, frames.len());
        prop_assert_eq!(payloads, frames);
    }

    #[test]
    fn bit_flip_drops_its_frame_and_what_follows_in_the_part(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..12),
        place: prop::sample::Index,
        bit in 0_u8..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let encoded: Vec<Vec<u8>> = frames.iter().map(|payload| frame(payload)).collect();
        let mut bytes = encoded.concat();
        let flipped = place.index(bytes.len());
        bytes[flipped] ^= 1 << bit;
        fs::write(part_path(dir.path(), 1), &bytes).unwrap();
        let (_wal, payloads, report) = replay(dir.path());
        let mut end = 0;
        let before = encoded.iter().take_while(|frame| { end += frame.len(); end <= flipped }).count();
        prop_assert_eq!(&payloads, &frames[..before]);
        prop_assert_eq!(report.bytes + report.dropped_bytes, bytes.len() as u64);
    }

    #[test]
    fn arbitrary_bytes_never_fail_a_start(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(part_path(dir.path(), 1), &bytes).unwrap();
        let (_wal, _, report) = replay(dir.path());
        prop_assert_eq!(report.bytes + report.dropped_bytes, bytes.len() as u64);
    }
}
