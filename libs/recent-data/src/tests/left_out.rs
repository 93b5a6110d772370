//! Segments that the disk cannot read for a while, and what becomes of them meanwhile.

use std::os::unix::fs::FileExt;

use tactus_proto::tactus::v1::{FindTraceRequest, HoldingsRequest, SearchRequest, TagsRequest};
use tonic::Request;

use super::*;
use crate::segment::{Segment, SegmentError};

const HOUR: Duration = Duration::from_secs(3600);

/// How many spans of a tenant a query reads.
fn query(ingester: &Ingester, tenant: &TenantId) -> Result<usize, SegmentError> {
    ingester.read_recent(tenant, |view| {
        let mut spans = 0;
        view.collect_recent(Window::default(), false, |batch| spans += batch.len());
        spans
    })
}

fn only_segment(ingester: &Ingester, tenant: &TenantId) -> Arc<Segment> {
    let [segment] = ingester.tenant(tenant).unwrap().segments().try_into().unwrap();
    segment
}

#[tokio::test]
async fn answers_say_that_spans_are_left_out_however_many_copies_there_are() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.lifecycler.ring.replication_factor = 3);
    let ingester = bench.open_with(settings).unwrap();
    push_all(&ingester, 0..10);
    ingester.seal().await.unwrap();
    let segment = only_segment(&ingester, &tenant());
    let error = SegmentError::read(segment.path(), std::io::ErrorKind::NotFound.into());
    for is_left_out in [false, true] {
        if is_left_out {
            ingester.leave_out(&tenant(), &segment, &error);
        }
        let tenant = || "t1".to_owned();
        let search =
            SearchRequest { tenant: tenant(), query: "{}".into(), limit: 20, ..Default::default() };
        let search = Protocol::search(&*ingester, Request::new(search)).await.unwrap();
        let trace_id = trace_id(1).0.to_vec().into();
        let find = FindTraceRequest { tenant: tenant(), trace_id, ..Default::default() };
        let find = Protocol::find_trace(&*ingester, Request::new(find)).await.unwrap();
        let tags = TagsRequest { tenant: tenant(), ..Default::default() };
        let tags = Protocol::tags(&*ingester, Request::new(tags)).await.unwrap();
        let partial = [search.get_ref().partial, find.get_ref().partial, tags.get_ref().partial];
        assert_eq!(partial, [is_left_out; 3]);
        let holdings = HoldingsRequest { tenant: tenant(), ..Default::default() };
        let holdings = Protocol::holdings(&*ingester, Request::new(holdings)).await.unwrap();
        let holdings = holdings.get_ref();
        assert_eq!((holdings.lacks_spans, holdings.partial), (is_left_out, false));
    }
}

#[tokio::test]
async fn flushed_segment_is_left_out_until_it_is_read_again_or_released() {
    let bench = Bench::new();
    let ingester = bench.open_with(bench.settings_with(|it| it.hold_flushed = HOUR)).unwrap();
    push_all(&ingester, 0..10);
    ingester.flush_all().await.unwrap();
    let segment = only_segment(&ingester, &tenant());
    assert!(segment.is_flushed());
    let (file, away) = (segment.place().file.path(), bench.folder.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    let error = query(&ingester, &tenant()).unwrap_err();
    assert_eq!(query(&ingester, &tenant()).unwrap(), 0);
    assert!(ingester.unreadable.lacks(&tenant()), "queriers may not know its block yet");
    ingester.flush_all().await.unwrap();
    std::fs::rename(&away, &file).unwrap();
    ingester.read_again(true);
    assert_eq!(query(&ingester, &tenant()).unwrap(), 10);
    ingester.leave_out(&tenant(), &segment, &error);
    ingester.release_held(true).await.unwrap();
    assert!(!ingester.unreadable.lacks(&tenant()));
    ingester.read_again(true);
    assert!(ingester.unreadable.is_empty());
    // Its block may also be released while it is read again.
    let state = ingester.tenant(&tenant()).unwrap();
    state.add_segment(segment);
    assert!(state.segments().is_empty());
}

#[tokio::test]
async fn left_out_segment_that_is_damaged_is_released_once() {
    let bench = Bench::new();
    let ingester = bench.open();
    let tenants = ["one", "two", "three"].map(|name| TenantId::parse(name).unwrap());
    for tenant in &tenants {
        ingester.push(&push_of(tenant.as_str(), &[span(1, 1, 1)]), tenant).unwrap();
    }
    ingester.seal().await.unwrap();
    let segment = only_segment(&ingester, &tenants[0]);
    let error = SegmentError::read(segment.path(), std::io::ErrorKind::NotFound.into());
    ingester.leave_out(&tenants[0], &segment, &error);
    let (file, middle) = (segment.place().file.path(), segment.place().bytes / 2);
    let to_damage = std::fs::File::options().write(true).open(&file).unwrap();
    to_damage.write_all_at(&[0x5a; 64], segment.place().offset + middle).unwrap();
    ingester.read_again(true);
    assert!(ingester.unreadable.is_empty());
    assert_eq!(files(&bench.settings().directory.join("quarantine")), 1);
    // By a block that was being made of it.
    segment.release();
    drop(segment);
    ingester.flush_one(&tenants[1]).await.unwrap();
    drop(ingester);
    assert_eq!(query(&bench.open(), &tenants[2]).unwrap(), 1, "one needs the file");
}
