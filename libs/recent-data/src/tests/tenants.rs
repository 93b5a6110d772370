//! Many tenants: their number, their memory, their files.

use super::*;

fn name(number: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{number}")).unwrap()
}

fn push(ingester: &Ingester, number: usize) -> Result<u64, PushError> {
    let tenant = name(number);
    let push = push_of(tenant.as_str(), &[span(number as u16, number as u16, 1)]);
    ingester.push(&push, &tenant).map(|appended| appended.spans)
}

fn spans_of(ingester: &Ingester, number: usize) -> usize {
    let mut spans = 0;
    let view = ingester.recent_view(&name(number));
    view.collect_recent(Window::default(), false, |batch| spans += batch.len());
    spans
}

#[tokio::test]
async fn tenants_beyond_the_limit_are_refused_until_others_are_flushed_and_forgotten() {
    let bench = Bench::new();
    let mut settings = bench.settings_with(|it| it.ingester.max_tenants = 3);
    let ingester = bench.open_with(settings.clone()).unwrap();
    (0..3).for_each(|number| assert_eq!(push(&ingester, number).unwrap(), 1));
    let error = push(&ingester, 3).unwrap_err();
    assert!(matches!(error, PushError::TooManyTenants { limit: 3 }), "{error}");
    assert!(error.to_string().contains("ingester.max_tenants"), "{error}");
    assert!(ingester.tenant(&name(3)).is_none(), "nothing is kept of it");
    assert_eq!(push(&ingester, 0).unwrap(), 1, "those that are known go on");
    ingester.seal().await.unwrap();
    drop(ingester);
    // A start takes what a run accepted, whatever the limit says by now.
    settings.ingester.max_tenants = 1;
    let ingester = bench.open_with(settings).unwrap();
    // The span that was sent twice is there once.
    assert_eq!((0..3).map(|number| spans_of(&ingester, number)).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(push(&ingester, 3).is_err());
}

#[tokio::test]
async fn segments_of_many_tenants_need_few_maps_and_become_blocks() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.max_mapped_segments = 5);
    let ingester = bench.open_with(settings.clone()).unwrap();
    (0..60).for_each(|number| assert_eq!(push(&ingester, number).unwrap(), 1));
    ingester.seal().await.unwrap();
    drop(ingester);
    let ingester = bench.open_with(settings).unwrap();
    assert_eq!((ingester.segment_cache.segments(), ingester.segment_cache.kept()), (60, 0));
    (0..60).for_each(|number| assert_eq!(spans_of(&ingester, number), 1));
    assert!(ingester.segment_cache.kept() <= 5);
    ingester.flush_all().await.unwrap();
    for number in 0..60 {
        assert_eq!(bench.blocklist.tenant(name(number).as_str()).live().len(), 1, "{number}");
    }
    assert_eq!((ingester.segment_cache.segments(), ingester.segment_cache.file_bytes()), (0, 0));
}

#[tokio::test]
async fn memory_of_tenants_with_one_small_span_each_counts() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.max_live_bytes = 1 << 20);
    let ingester = bench.open_with(settings).unwrap();
    let accepted = (0..2_000).take_while(|&number| push(&ingester, number).is_ok()).count();
    // Five to twenty kilobytes each, of which the span is a hundred bytes.
    assert!((50..200).contains(&accepted), "{accepted}");
    assert!(ingester.measure_live_bytes() <= 1 << 20);
    ingester.seal().await.unwrap();
    assert!(push(&ingester, 2_000).is_ok());
}

#[tokio::test]
async fn tenant_that_holds_most_leaves_memory_to_others() {
    let bench = Bench::new();
    let settings = bench.settings_with(|it| it.ingester.max_live_bytes = 1 << 20);
    let ingester = bench.open_with(settings).unwrap();
    let large = name(100);
    let push_of_large = |id: u16| {
        ingester.measure_live_bytes();
        ingester.push(&push_of(large.as_str(), &[span(1, id, 1)]), &large)
    };
    push(&ingester, 1).unwrap();
    let refused = (0..60_000).find_map(|id| push_of_large(id).err());
    assert!(matches!(refused, Some(PushError::FullForTenant { .. })), "{refused:?}");
    for _ in 0..10 {
        push(&ingester, 1).unwrap();
    }
    assert!(push_of_large(1).is_err());
    ingester.seal().await.unwrap();
    push_of_large(1).unwrap();
}
