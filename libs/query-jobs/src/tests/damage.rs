//! Blocks that are damaged, deleted or unknown.

use super::*;

#[tokio::test]
async fn damaged_block_does_not_hide_the_others() {
    let sample = Sample::new(&[V4, V5]).await;
    let data = sample.file(V4, "data.parquet");
    let bytes = fs::read(&data).unwrap();
    fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
    let found = sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap();
    assert_eq!((span_count(&found.traces), found.damaged_blocks), (vec![4], 1));
    let status = sample.search(whole(V4), traceql("{}")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
    assert!(status.message().starts_with(&format!("block {V4} is damaged: ")), "{status}");
    assert_eq!(sample.tags(V4, "", "").await.unwrap_err().code(), Code::DataLoss);
    assert_eq!(sample.matched(whole(V5), "{}").await.1, 252);
}

#[tokio::test]
async fn traces_are_found_without_the_bloom_filter() {
    let damage: [fn(&std::path::Path); 2] =
        [|bloom| fs::remove_file(bloom).unwrap(), |bloom| fs::write(bloom, [0; 30]).unwrap()];
    for damage in damage {
        let sample = Sample::new(&[V4]).await;
        damage(sample.file(V4, "bloom-0").as_ref());
        for (id, spans) in [("463ac35c9f6413ad", vec![4]), ("463ac35c9f6413ae", vec![])] {
            let found = sample.find(id, &[V4]).await.unwrap();
            assert_eq!((span_count(&found.traces), found.damaged_blocks), (spans, 0));
        }
    }
}

#[tokio::test]
async fn damaged_pages_fail_the_job_only() {
    let sample = Sample::new(&[V4]).await;
    let data = sample.file(V4, "data.parquet");
    let mut bytes = fs::read(&data).unwrap();
    bytes[4..50_000].fill(0xa5);
    fs::write(&data, bytes).unwrap();
    let status = sample.search(whole(V4), traceql("{ name != nil }")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}

#[tokio::test]
async fn deleted_block_that_the_list_still_has_is_damage() {
    let sample = Sample::new(&[V4, V5]).await;
    fs::remove_dir_all(sample.directory.path().join(TENANT).join(V4)).unwrap();
    assert!(sample.blocklist.tenant(TENANT).has_live(Uuid::parse_str(V4).unwrap()));
    let found = sample.find("463ac35c9f6413ad", &[V4, V5]).await.unwrap();
    assert_eq!((span_count(&found.traces), found.damaged_blocks), (vec![4], 1));
    for block in [V4, "33333333-3333-4333-8333-333333333333"] {
        let status = sample.search(whole(block), traceql("{}")).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss, "{status}");
    }
}

#[tokio::test]
async fn missing_data_of_a_live_block_is_damage() {
    let sample = Sample::new(&[V4]).await;
    fs::remove_file(sample.file(V4, "data.parquet")).unwrap();
    let status = sample.search(whole(V4), traceql("{}")).await.unwrap_err();
    assert_eq!(status.code(), Code::DataLoss);
}

#[tokio::test]
async fn block_unknown_to_the_list_is_looked_up_in_the_bucket() {
    let sample = Sample::new(&[V4]).await;
    let querier = Querier::new(
        Settings::default(),
        sample.bucket.clone(),
        Arc::new(Blocklist::new()),
        &Registry::new(),
    );
    let sample = Sample { querier, ..sample };
    assert_eq!(sample.matched(whole(V4), "{}").await.1, 252);
    // Its meta is kept for the other jobs on it.
    fs::remove_file(sample.file(V4, "meta.json")).unwrap();
    assert_eq!(sample.matched(whole(V4), "{}").await.1, 252);
}
