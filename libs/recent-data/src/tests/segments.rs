//! The files of segments: all tenants of a cut in one, and disks that fail.

use std::path::PathBuf;

use super::*;
use crate::{layout::CUT_FILE, segment::OpenSegment};

pub(super) fn name(number: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{number}")).unwrap()
}

/// A span of each of these tenants.
pub(super) fn push_of_each(ingester: &Ingester, tenants: std::ops::Range<usize>) {
    for number in tenants {
        let tenant = name(number);
        let mut push = push_of(tenant.as_str(), &[span(number as u16, number as u16, 1)]);
        push.runs[0].origin = number as u64 + 1;
        assert_eq!(ingester.push(&push, &tenant).unwrap().spans, 1);
    }
}

pub(super) fn spans_of(ingester: &Ingester, tenant: &TenantId) -> usize {
    let mut spans = 0;
    let read = ingester.read_recent(tenant, |view| {
        view.collect_recent(Window::default(), false, |batch| spans += batch.len());
    });
    read.unwrap();
    spans
}

impl Bench {
    fn segment_files(&self) -> Vec<PathBuf> {
        let root = self.settings().directory.join("segments");
        let cuts = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        cuts.flat_map(|cut| std::fs::read_dir(cut).unwrap().map(|it| it.unwrap().path())).collect()
    }

    fn quarantined(&self) -> Vec<String> {
        let directory = self.settings().directory.join("quarantine");
        let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Overwrites some bytes in the middle of a segment, wherever it lies.
pub(super) fn damage(segment: &crate::segment::Segment) {
    use std::os::unix::fs::FileExt;
    let place = segment.place();
    let file = std::fs::File::options().write(true).open(place.file.path()).unwrap();
    file.write_all_at(&[0x5a; 64], place.offset + place.bytes / 2).unwrap();
}

#[tokio::test]
async fn cut_of_many_tenants_is_one_file_that_goes_with_the_last_of_them() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..200);
    ingester.seal().await.unwrap();
    assert_eq!(bench.segment_files().len(), 1);
    for number in 0..199 {
        ingester.flush_one(&name(number)).await.unwrap();
    }
    assert_eq!(bench.segment_files().len(), 1, "one tenant needs it");
    assert_eq!(ingester.segment_cache.segments(), 1);
    drop(ingester);
    // What is in blocks does not come back.
    let ingester = bench.open();
    assert_eq!(ingester.segment_cache.segments(), 1);
    assert_eq!(spans_of(&ingester, &name(199)), 1);
    assert_eq!(spans_of(&ingester, &name(7)), 0);
    ingester.flush_all().await.unwrap();
    assert!(bench.segment_files().is_empty());
    for number in 0..200 {
        assert_eq!(bench.blocklist.tenant(name(number).as_str()).live().len(), 1, "{number}");
    }
}

#[tokio::test]
async fn place_of_a_large_segment_is_given_back_before_its_file_goes() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let ingester = bench.open();
    for ids in 0..60 {
        push_all(&ingester, ids * 100..ids * 100 + 100);
    }
    push_of_each(&ingester, 0..1);
    ingester.seal().await.unwrap();
    let [file] = bench.segment_files().try_into().unwrap();
    let before = (std::fs::metadata(&file).unwrap().blocks(), ingester.directory_bytes());
    ingester.flush_one(&tenant()).await.unwrap();
    let after = (std::fs::metadata(&file).unwrap().blocks(), ingester.directory_bytes());
    // A file system without holes keeps it until the file goes, and it counts as long.
    assert_eq!(after.0 < before.0 / 10, after.1 < before.1 / 10, "{before:?} {after:?}");
    assert_eq!(spans_of(&ingester, &name(0)), 1);
    drop(ingester);
    let ingester = bench.open();
    assert_eq!((spans_of(&ingester, &name(0)), spans_of(&ingester, &tenant())), (1, 0));
    assert!(bench.quarantined().is_empty());
}

#[tokio::test]
async fn damaged_segment_is_set_aside_at_the_start_and_the_rest_of_its_file_serves() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..20);
    ingester.seal().await.unwrap();
    damage(&ingester.tenant(&name(11)).unwrap().segments()[0]);
    drop(ingester);
    for _ in 0..2 {
        let ingester = bench.open();
        assert_eq!(bench.quarantined().len(), 1, "once: {:?}", bench.quarantined());
        assert!(bench.quarantined()[0].ends_with("tenant-11.0.seg"));
        for number in 0..20 {
            assert_eq!(spans_of(&ingester, &name(number)), usize::from(number != 11), "{number}");
        }
    }
    let ingester = bench.open();
    ingester.flush_all().await.unwrap();
    assert!(bench.segment_files().is_empty());
}

/// As if it was killed between the cut and the release of the log.
#[tokio::test]
async fn log_is_read_again_if_segments_that_were_made_of_it_are_damaged() {
    for damages_all in [false, true] {
        let bench = Bench::new();
        let ingester = bench.open();
        push_of_each(&ingester, 0..3);
        let log = bench.settings().directory.join("log");
        let logged: Vec<_> =
            std::fs::read_dir(&log).unwrap().map(|it| it.unwrap().path()).collect();
        let parts = logged.iter().map(|path| (path.clone(), std::fs::read(path).unwrap()));
        let parts: Vec<_> = parts.collect();
        ingester.seal().await.unwrap();
        match damages_all {
            true => std::fs::write(&bench.segment_files()[0], b"no segments").unwrap(),
            false => damage(&ingester.tenant(&name(1)).unwrap().segments()[0]),
        }
        drop(ingester);
        for (path, content) in &parts {
            std::fs::write(path, content).unwrap();
        }
        let spans = |ingester: &Ingester| [0, 1, 2].map(|tenant| spans_of(ingester, &name(tenant)));
        for _ in 0..2 {
            assert_eq!(spans(&bench.open()), [1, 1, 1]);
        }
        bench.open().flush_all().await.unwrap();
        for tenant in 0..3 {
            let blocks = bench.blocklist.tenant(name(tenant).as_str()).live().to_vec();
            assert_eq!(blocks.iter().map(|meta| meta.total_objects).sum::<u64>(), 1);
        }
        assert_eq!(spans(&bench.open()), [0, 0, 0]);
    }
}

#[tokio::test]
async fn segment_that_goes_bad_while_it_is_served_fails_one_query_and_is_set_aside() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..100);
    push_of_each(&ingester, 0..3);
    ingester.seal().await.unwrap();
    push_all(&ingester, 200..210);
    damage(&ingester.tenant(&tenant()).unwrap().segments()[0]);
    let read = |view: crate::recent_view::RecentView| {
        view.segments.iter().map(|segment| segment.batch().strings.display(1).len()).sum::<usize>()
            + view.segments.iter().map(OpenSegment::batch).filter(|it| it.heap_bytes() > 0).count()
            + view.scattered().count()
            + view.gather(&[trace_id(1)].into()).len()
            + format!("{:?}", view.segments.first().map(OpenSegment::batch)).len()
    };
    let error = ingester.read_recent(&tenant(), read).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("t1.0.seg"), "{error}");
    assert_eq!(bench.quarantined().len(), 1);
    ingester.read_recent(&tenant(), read).unwrap();
    assert_eq!(held(&ingester), once(200..210));
    assert_eq!(spans_of(&ingester, &name(2)), 1, "others in the file are as ever");
    drop(ingester);
    let ingester = bench.open();
    assert_eq!(held(&ingester), once(200..210));
    assert_eq!(bench.quarantined().len(), 1);
}

#[tokio::test]
async fn segments_that_the_disk_cannot_read_for_a_while_are_left_out_marked_and_come_back() {
    use tactus_proto::tactus::v1::SearchRequest;
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..3);
    ingester.seal().await.unwrap();
    let [file] = bench.segment_files().try_into().unwrap();
    let away = bench.folder.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    for tenant in [0, 1].map(name) {
        let read = |view: crate::recent_view::RecentView| {
            view.collect_recent(Window::default(), false, |_| {});
        };
        let error = ingester.read_recent(&tenant, read).unwrap_err();
        assert!(error.is_of_disk() && !error.is_damage(), "{error}");
        assert_eq!(spans_of(&ingester, &tenant), 0);
    }
    let is_partial = async |number: usize| {
        let tenant = name(number).as_str().to_owned();
        let request =
            SearchRequest { tenant, query: "{}".into(), limit: 20, ..SearchRequest::default() };
        let found = Protocol::search(&*ingester, tonic::Request::new(request)).await.unwrap();
        found.into_inner().partial
    };
    assert!(is_partial(0).await && is_partial(1).await);
    // The flush of the third tenant needs its segment, and goes on without it.
    ingester.flush_all().await.unwrap_err();
    let error = ingester.flush_all().await.unwrap_err().to_string();
    assert!((0..3).all(|number| error.contains(name(number).as_str())), "{error}");
    let error = ingester.flush_one(&name(1)).await.unwrap_err().to_string();
    assert!(error.contains("tenant-1.0.seg") && !error.contains("tenant-0"), "{error}");
    ingester.flush_one(&name(3)).await.unwrap();
    assert!(is_partial(2).await);
    assert!(bench.quarantined().is_empty());
    std::fs::rename(&away, &file).unwrap();
    ingester.read_again(true);
    for number in 0..3 {
        assert_eq!(spans_of(&ingester, &name(number)), 1);
        assert!(!is_partial(number).await);
    }
    ingester.flush_all().await.unwrap();
    for number in 0..3 {
        assert_eq!(bench.blocklist.tenant(name(number).as_str()).live().len(), 1, "{number}");
    }
    assert!(bench.segment_files().is_empty());
}

#[tokio::test]
async fn file_that_a_start_cannot_read_stays_for_the_next_one() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_of_each(&ingester, 0..3);
    ingester.seal().await.unwrap();
    drop(ingester);
    let [file] = bench.segment_files().try_into().unwrap();
    let away = bench.folder.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    std::os::unix::fs::symlink("nowhere", &file).unwrap();
    let ingester = bench.open();
    assert_eq!(spans_of(&ingester, &name(0)), 0);
    assert!(ingester.unreadable.lacks(&name(0)));
    ingester.flush_all().await.unwrap_err();
    drop(ingester);
    assert!(bench.quarantined().is_empty());
    std::fs::rename(&away, &file).unwrap();
    let ingester = bench.open();
    assert_eq!([0, 1, 2].map(|tenant| spans_of(&ingester, &name(tenant))), [1, 1, 1]);
    assert!(!ingester.unreadable.lacks(&name(0)));
}

#[tokio::test]
async fn file_that_is_truncated_under_the_ingester_ends_nothing() {
    let bench = Bench::new();
    let ingester = bench.open();
    push_all(&ingester, 0..1_000);
    ingester.seal().await.unwrap();
    assert_eq!(held(&ingester).len(), 1_000, "columns are in memory");
    push_of_each(&ingester, 0..3);
    ingester.seal().await.unwrap();
    for file in bench.segment_files() {
        assert_eq!(file.file_name().unwrap(), CUT_FILE);
        std::fs::File::options().write(true).open(file).unwrap().set_len(100).unwrap();
    }
    // A flush needs all of it.
    ingester.flush_all().await.unwrap_err();
    ingester.flush_all().await.unwrap();
    assert_eq!(bench.quarantined().len(), 4);
    assert_eq!(held(&ingester), once(0..0));
    assert_eq!(bench.segment_files(), Vec::<PathBuf>::new());
    assert!(bench.blocklist.tenant("t1").live().is_empty());
    push_all(&ingester, 0..10);
    assert_eq!(held(&ingester), once(0..10));
}

#[tokio::test]
async fn block_is_made_of_the_segments_that_can_be_read() {
    let bench = Bench::new();
    let ingester = bench.open();
    for cut in 0..3 {
        push_all(&ingester, cut * 100..cut * 100 + 50);
        ingester.seal().await.unwrap();
    }
    damage(&ingester.tenant(&tenant()).unwrap().segments()[1]);
    assert!(ingester.flush_all().await.unwrap_err().to_string().contains("damaged"));
    ingester.flush_all().await.unwrap();
    let blocks = bench.blocklist.tenant("t1");
    assert_eq!(blocks.live().iter().map(|meta| meta.total_objects).sum::<u64>(), 7);
    assert_eq!(blocks.live().len(), 1);
    assert_eq!(bench.quarantined().len(), 1);
    assert_eq!(files(&bench.settings().directory.join("flushing")), 0);
    drop(ingester);
    assert!(held(&bench.open()).is_empty());
}
